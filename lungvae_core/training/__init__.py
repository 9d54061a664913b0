"""From a SliceSet to a run folder: fitting, checkpoints, encoding and the classifier on the codes."""
