"""`lungvae disentanglement`."""
