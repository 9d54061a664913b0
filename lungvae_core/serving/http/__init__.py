"""All routes, and what stands in front of them: sockets, limits, sign-in, logs."""
