"""Trained models behind a registry, background jobs and the HTTP routes that the pages call."""
