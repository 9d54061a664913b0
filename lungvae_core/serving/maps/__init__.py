"""The data of maps, and maps with custom parameters."""
