"""Scans become slices: annotations, pixels, SliceSets and patient-grouped splits."""
