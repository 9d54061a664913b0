"""The server's folders and database, what was done by whom, and who may do what."""
