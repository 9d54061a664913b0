"""Train models of your own: training and search."""
