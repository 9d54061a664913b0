"""Evaluation protocols: what is fitted on whom, and what is tested on whom."""
