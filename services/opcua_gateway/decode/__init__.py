"""Bytes of a Publish response to columns and values."""
