"""What a map shows, and maps with a person's own parameters."""
