"""The write-ahead store of a gateway."""
