"""What is shown of a report: its sections as plain objects, which the page and the HTML file only draw."""
