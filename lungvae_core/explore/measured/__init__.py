"""Measured traversals: what each latent dimension does to a decoded lesion, in HU and pixels."""
