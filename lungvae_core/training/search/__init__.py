"""Hyperparameter search: many trainings, chosen by what patients say that none of them was trained on."""
