"""The sections of a report as plain objects, which the page and the HTML file only draw."""
