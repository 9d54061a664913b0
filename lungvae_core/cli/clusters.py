"""`lungvae clusters`."""
