"""What each dimension encodes: disentanglement scores against known factors, with their null.

Units are nodules, since a lesion's slices share their factors. On the phantom, where each slice has its own
factors, units are slices.
"""
