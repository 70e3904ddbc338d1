"""The control API of a gateway: connecting a source from a page or another program."""
