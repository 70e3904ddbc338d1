"""Which rows stand in a file of the outbox, by their numbers. Used by `segment.py`, `salvage.py`
and `missing.py`. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(slots=True)
class Span:
    """The rows of one stream in one file: sequences without holes, and when the first and last
    came."""

    first: int
    last: int
    first_at: int
    last_at: int

    def after(self, up_to: int) -> tuple[int, int]:
        """How many rows lie beyond a sequence, and about when the oldest of them came
        (microseconds)."""
        rows = self.last - max(up_to, self.first - 1)
        if rows <= 0:
            return 0, 0
        return rows, self._came(max(up_to, self.first - 1) + 1)

    def without(self, up_to: int, ranges: Sequence[tuple[int, int]]) -> tuple[int, int]:
        """As `after`, less what lies in the ranges."""
        rows, at = self.after(up_to)
        first = max(up_to + 1, self.first)
        for begin, end in ranges:
            common = min(end, self.last) - max(begin, first) + 1
            if common > 0:
                rows -= common
                if begin <= first:
                    first = end + 1
                    at = self._came(first)
        return (rows, at) if rows > 0 else (0, 0)

    def _came(self, sequence: int) -> int:
        share = (sequence - self.first) / (self.last - self.first + 1)
        return self.first_at + int((self.last_at - self.first_at) * share)
