"""The parts of the HTML file that shows a report: figures as inline SVG, sections, checklist, style."""
