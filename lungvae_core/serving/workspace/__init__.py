"""The server's folders and database, the audit log, and access rights."""
