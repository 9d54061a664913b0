"""The Predict page: a lesion of the set or an uploaded one."""
