"""What each dimension carries: scores of disentanglement against known factors, with their null.

Units are nodules (a lesion's slices share their factors); on the phantom, slices with factors of their own.
"""
