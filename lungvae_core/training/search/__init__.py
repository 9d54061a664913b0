"""Hyperparameter search: many trainings, compared on patients that none of them was trained on."""
