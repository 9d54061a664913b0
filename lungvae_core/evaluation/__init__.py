"""How good a model is, with its unit, interval and baselines."""
