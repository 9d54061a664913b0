"""The latent map, and the panel of what is selected on it."""
