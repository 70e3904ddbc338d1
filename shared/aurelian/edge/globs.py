"""Patterns that choose signals by their path, such as `Line1/**/Temp*`: of an OPC UA browse path,
an MQTT topic or a Sparkplug metric. Pure; used by the gateways' selections."""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

_MOST_BRACES = 200
"""Ways that the braces of one pattern may multiply to; more are a mistake or an attack."""


class PatternError(ValueError):
    """A pattern that nobody can have meant; the text says what is wrong with it."""


def matches(path: str, pattern: str) -> bool:
    """Whether a path is chosen by a pattern, not minding case.

    `*` is any text and `?` one character within one level, `**` as a whole level any number of
    levels, none too; `{a,b}` one of several texts; a backslash takes the next character as it is.
    A pattern without `/` is about the last level alone, as a file name is.

    Raises:
        PatternError: a brace is not closed, or the braces are too many.
    """
    return _compiled(_folded(pattern)).fullmatch(_folded(path).strip("/")) is not None


def check_pattern(pattern: str) -> None:
    """Raise PatternError where `matches` would."""
    _compiled(_folded(pattern))


def chosen(path: str, include: tuple[str, ...], exclude: tuple[str, ...] = ()) -> bool:
    """Whether a path is one of those included (none named: all) and none of those excluded."""
    if any(matches(path, each) for each in exclude):
        return False
    return not include or any(matches(path, each) for each in include)


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", text).casefold()


@lru_cache(maxsize=512)
def _compiled(pattern: str) -> re.Pattern[str]:
    ways = []
    for each in _without_braces(pattern):
        levels = [level for level in _levels(each) if level]
        if levels:
            ways.append(_expression(levels if "/" in each else ["**", *levels]))
    return re.compile("|".join(ways) or "(?!)", re.DOTALL)


def _levels(pattern: str) -> list[str]:
    """Split at `/`, but not after a backslash."""
    return re.split(r"(?<!\\)/", pattern)


def _expression(levels: list[str]) -> str:
    """Each level with the `/` that parts it from the next; `**` takes levels with their `/`."""
    made, parted = "", True
    levels = [
        each for n, each in enumerate(levels) if n == 0 or each != "**" or levels[n - 1] != each
    ]
    for number, level in enumerate(levels):
        last = number == len(levels) - 1
        if level == "**":
            if last:
                # Below what stands before it; that itself too: `Line1/**` has the variable Line1.
                made += ".*" if parted else "(?:/.*)?"
            else:
                made += "(?:[^/]+/)*" if parted else "/(?:[^/]+/)*"
                parted = True
            continue
        made += ("" if parted else "/") + _level(level)
        parted = False
    return f"(?:{made})"


def _level(level: str) -> str:
    made, number = "", 0
    while number < len(level):
        char = level[number]
        if char == "\\" and number + 1 < len(level):
            number += 1
            made += re.escape(level[number])
        elif char == "*":
            while number + 1 < len(level) and level[number + 1] == "*":
                number += 1
            made += "[^/]*"
        elif char == "?":
            made += "[^/]"
        else:
            made += re.escape(char)
        number += 1
    return made


def _without_braces(pattern: str) -> list[str]:
    """The patterns that the braces of one stand for."""
    done: list[str] = []
    waiting = [pattern]
    while waiting:
        each = waiting.pop()
        inner = _innermost(each)
        if inner is None:
            done.append(each)
        else:
            begin, end = inner
            for choice in _choices(each[begin + 1 : end]):
                waiting.append(each[:begin] + choice + each[end + 1 :])
        if len(waiting) + len(done) > _MOST_BRACES:
            raise PatternError(f"{pattern[:80]!r}: its braces stand for too many patterns")
    return done


def _innermost(pattern: str) -> tuple[int, int] | None:
    """Where the first pair of braces without another one inside begins and ends."""
    begin: int | None = None
    escaped = False
    for number, char in enumerate(pattern):
        if escaped:
            escaped = False
        elif char == "\\":
            escaped = True
        elif char == "{":
            begin = number
        elif char == "}":
            if begin is None:
                raise PatternError(f"{pattern[:80]!r}: a }} without its {{; write \\}} for itself")
            return begin, number
    if begin is not None:
        raise PatternError(f"{pattern[:80]!r}: a {{ without its }}; write \\{{ for itself")
    return None


def _choices(text: str) -> list[str]:
    return re.split(r"(?<!\\),", text)
