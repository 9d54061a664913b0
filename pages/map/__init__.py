"""The latent map, and the panel of the selected group."""
