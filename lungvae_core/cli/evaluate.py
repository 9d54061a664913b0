"""`lungvae evaluate` and `lungvae report`."""
