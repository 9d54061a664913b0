"""A model's explorer as one HTML file that needs no server, for a talk or a paper's supplement."""
