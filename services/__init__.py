"""The server side of Markbook."""
