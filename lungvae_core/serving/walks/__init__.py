"""Walks through a latent space: live, as films, strips and files; and two models beside each other."""
