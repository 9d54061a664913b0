"""Lesions, from a data set or uploaded: slices, facts, scores, selections, and their images over HTTP."""
