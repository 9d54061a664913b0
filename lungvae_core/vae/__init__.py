"""The models: networks, latent distributions and the objective."""
