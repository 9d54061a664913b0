"""A lesion of the set or an uploaded one."""
