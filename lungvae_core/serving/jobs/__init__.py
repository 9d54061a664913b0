"""Jobs that outlive tab and server, and the progress of what they make."""
