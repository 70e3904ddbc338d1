"""What the edge says to names and texts that cannot be kept. Pure.

Called for every reading by `assembly`, so that no adapter can forget it. The bounds of names are
those of `model/names.py`, which the historian holds too: it does not trust who writes to Kafka.
"""

from __future__ import annotations

from aurelian.model import names

NAME_ERROR, TEXT_ERROR = "name", "encoding"
"""Error classes of the rejects that stand for a bad name and for a bad text value."""


def path_fault(path: str) -> str | None:
    """Say why a text can be no path of levels, split by "/"; None: it can."""
    if path == "" or path[0] == "/" or path[-1] == "/" or "//" in path:
        return "a level of its name is empty"
    return names.path_fault(path)


def label_fault(text: str) -> str | None:
    """Say why a text can be no unit of measure or id; None: it can, also empty."""
    return names.path_fault(text)


def text_fault(text: str) -> str | None:
    """Say why a text value cannot be stored; None: it can."""
    if "\0" in text:
        return "a text with a NUL cannot be stored"
    if not text.isascii():
        try:
            text.encode()
        except UnicodeEncodeError:
            return "a text with half of a surrogate pair is no Unicode"
    return None


def readable(text: str, characters: int = 2000) -> str:
    """Return a text, cut off, in which whatever cannot be stored is written as an escape."""
    escaped = text[:characters].encode(errors="backslashreplace").decode()
    return escaped.replace("\0", "\\x00") if "\0" in escaped else escaped
