"""What the HTML file of a report is drawn with: figures as inline SVG, the template and its style."""
