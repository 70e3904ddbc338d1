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


@dataclass(frozen=True, slots=True)
class Evidence:
    """What cells say of the decimal mark.

    Attributes:
        sure: the mark with which alone some of them are numbers; empty: none says it.
        likely: all have three digits behind this mark, so that whole numbers below a thousand
            would be missing; empty: it is not so.
        open: a cell that may have decimals, or thousands; empty: none.
    """

    sure: str = ""
    likely: str = ""
    open: str = ""

    @property
    def mark(self) -> str:
        """The mark by these cells alone; empty: there is nothing to read with it.

        Raises:
            UndecidedMark: it stays open.
        """
        if self.open and not self.sure and not self.likely:
            raise UndecidedMark(f"{self.open!r} may have decimals, or thousands")
        return self.sure or self.likely


def find_evidence(cells: Iterable[str]) -> Evidence:
    """Look through cells; those that are no numbers say nothing.

    Raises:
        UndecidedMark: some have decimal points and some decimal commas.
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
            fixed = fixed and found[1] in open_cell
            continue
        for mark in _possible(cell):
            votes.setdefault(mark, cell)
    if len(votes) == 2:
        raise UndecidedMark(f"{votes['.']!r} has a decimal point, {votes[',']!r} a decimal comma")
    likely = "" if not open_cell or whole or not fixed else "," if "," in open_cell else "."
    return Evidence(next(iter(votes), ""), likely, open_cell)


def _possible(cell: str) -> tuple[str, ...]:
    """The decimal mark with which a cell is a number; empty where none or both would do."""
    fitting = [mark for mark in ".," if re.match(Marks(mark).pattern, cell)]
    return tuple(fitting) if len(fitting) == 1 else ()
