"""One's own models: training and search."""
