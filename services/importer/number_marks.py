"""How a column writes its numbers: decimal mark, thousands separator. Pure."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property

SPACES = " \u00a0\u202f\u2009'\u2019"
"""Thousands separators that are no decimal mark anywhere."""

_PLAIN = re.compile(r"^[+-]?\d+([eE][+-]?\d+)?$")
_NUMBER_LIKE = re.compile(rf"^[+-]?[\d.,{SPACES}]*\d[\d.,{SPACES}]*([eE][+-]?\d+)?$")
_OPEN = re.compile(r"^[+-]?[1-9]\d{0,2}([.,])\d{3}$")


class UndecidedMark(ValueError):
    """What stands in a column can be read in two ways; the text has an example."""


@dataclass(frozen=True)
class Marks:
    """How numbers are written. `decimal`: "." or ","; the other one, blanks and apostrophes may
    stand between groups of three digits."""

    decimal: str = "."

    @cached_property
    def pattern(self) -> str:
        """Regular expression (RE2) of a number."""
        group = "[" + re.escape("." if self.decimal == "," else ",") + SPACES + "]"
        mark = re.escape(self.decimal)
        return (
            rf"^[+-]?(?:(?:\d+|[1-9]\d{{0,2}}(?:{group}\d{{3}})+)(?:{mark}\d*)?|{mark}\d+)"
            r"(?:[eE][+-]?\d+)?$"
        )

    @property
    def separators(self) -> str:
        """Characters between groups of digits."""
        return ("." if self.decimal == "," else ",") + SPACES


def decide_marks(cells: Iterable[str]) -> Marks:
    """Decide by all of some cells; those that are no numbers say nothing.

    Raises:
        UndecidedMark: only cells such as `1.234` beside whole numbers, or cells of both kinds.
    """
    votes: dict[str, str] = {}
    open_cell, whole, fixed = "", False, True
    for cell in map(str.strip, cells):
        if not _NUMBER_LIKE.match(cell):
            continue
        if _PLAIN.match(cell):
            whole = True
            continue
        found = _OPEN.match(cell)
        if found:
            open_cell = open_cell or cell
            fixed = fixed and found[1] == open_cell.lstrip("+-0123456789")[:1]
            continue
        for mark in _possible(cell):
            votes.setdefault(mark, cell)
    if len(votes) == 1:
        return Marks(next(iter(votes)))
    if len(votes) == 2:
        raise UndecidedMark(f"{votes['.']!r} has a decimal point, {votes[',']!r} a decimal comma")
    if not open_cell:
        return Marks()
    if whole or not fixed:
        raise UndecidedMark(f"{open_cell!r} may have decimals, or thousands")
    # All have three digits behind the mark: whole numbers below a thousand would have none.
    return Marks("," if "," in open_cell else ".")


def _possible(cell: str) -> tuple[str, ...]:
    """The decimal mark with which a cell is a number; empty where none or both would do."""
    fitting = [mark for mark in ".," if re.match(Marks(mark).pattern, cell)]
    return tuple(fitting) if len(fitting) == 1 else ()
