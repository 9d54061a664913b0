"""Walks through a latent space: live, as films, strips and files; and comparisons of two models."""
