"""Why bytes are no message of the contract. Raised by codec.py and asset.py."""

from __future__ import annotations


class DecodeError(ValueError):
    """The bytes are no readable message of the contract; the text says why."""


class NewerSchema(DecodeError):
    """The message is of a schema version that this reader does not know: a later one reads it."""


class UnknownKind(DecodeError):
    """The event is of a kind that this reader does not know."""
