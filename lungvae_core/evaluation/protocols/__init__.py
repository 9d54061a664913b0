"""Evaluation protocols: which patients are used to fit and which to test."""
