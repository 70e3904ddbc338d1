"""What a gap missed, read out of the history of the server."""
