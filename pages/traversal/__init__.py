"""Walks through the latent space."""
