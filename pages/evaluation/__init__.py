"""The Evaluation page: how good the models are."""
