"""Trained models: listed, opened once, shared; where their scores come from."""
