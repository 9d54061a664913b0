"""Trained models in a registry, background jobs and the HTTP routes that the pages call."""
