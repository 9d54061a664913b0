"""`lungvae validate`: a trained model on other data."""
