"""Work that outlives tab and server, and how what it makes is doing."""
