"""Structures and enumerations of the server's own types."""
