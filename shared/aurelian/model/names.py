"""Names that the store can hold. Pure; asked by the gateways for what machines call their values,
and by the historian, because who else writes to Kafka is not trusted.

A name is any text that becomes a part of a path: a level of a topic, a member of a payload, a
metric. PostgreSQL holds no NUL and no half of a surrogate pair, and an index row has its limit.
"""

from __future__ import annotations

import unicodedata

MOST_LEVEL_CHARACTERS = 200
MOST_LEVEL_BYTES = 600
MOST_PATH_BYTES = 1_500
MOST_ID_BYTES = 1_600
"""Together below 2,704 bytes, the most that an index of PostgreSQL takes, where two make a key."""


MOST_PLAIN_CHARACTERS = 150
"""A text so short is within all bounds, whatever its characters."""


class NameFault(ValueError):
    """A name that nobody could store; the text says which one and why."""


def path_fault(text: str) -> str | None:
    """Why a path (or a name, which is a path of one level) cannot be stored; None: it can."""
    if _is_plain(text):
        return None
    fault = text_fault(text, MOST_PATH_BYTES)
    if fault is not None:
        return fault
    for level in text.split("/"):
        if len(level) > MOST_LEVEL_CHARACTERS or len(level.encode()) > MOST_LEVEL_BYTES:
            return (
                f"{shorten(level)!r} has {len(level)} characters, "
                f"a level of a name at most {MOST_LEVEL_CHARACTERS}"
            )
    return None


def owner_fault(owner: str, *paths: str) -> str | None:
    """Why paths are not `owner`'s to write of; None: they are. The first level of a path is the
    company whose data it names: a line, a signal, a source's key."""
    for path in paths:
        whose = path.partition("/")[0]
        if whose != owner:
            return f"{shorten(path)!r} belongs to {shorten(whose)!r}, not to {shorten(owner)!r}"
    return None


def text_fault(text: str, most_bytes: int = MOST_ID_BYTES) -> str | None:
    """Why a text cannot be an id or a unit; None: it can."""
    if _is_plain(text):
        return None
    try:
        size = len(text.encode())
    except UnicodeEncodeError:
        return f"{shorten(text)!r} has half a surrogate"
    if size > most_bytes:
        return f"{shorten(text)!r} has {size} bytes, at most {most_bytes} may be"
    if any(unicodedata.category(character) == "Cc" for character in text):
        return f"{shorten(text)!r} has a control character"
    return None


def _is_plain(text: str) -> bool:
    """True for what nearly every name is: nothing further to look at."""
    return len(text) <= MOST_PLAIN_CHARACTERS and text.isprintable()


def check_paths(*paths: str) -> None:
    """Check names and paths.

    Raises:
        NameFault: one of them cannot be stored.
    """
    for path in paths:
        fault = path_fault(path)
        if fault is not None:
            raise NameFault(fault)


def shorten(text: str, most: int = 80) -> str:
    """The beginning of a text, for a sentence."""
    return text if len(text) <= most else text[: most - 1] + "…"
