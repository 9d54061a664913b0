"""What a latent space knows."""
