"""Pages that show what a latent space has learned."""
