"""`lungvae directions`."""
