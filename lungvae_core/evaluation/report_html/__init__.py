"""Parts of a report's HTML file: figures as inline SVG, the template and its style."""
