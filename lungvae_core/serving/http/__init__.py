"""All routes and the layers in front of them: sockets, limits, sign-in, logs."""
