"""Pure: which batches of a gateway's stream are settled: proves completeness and knows a batch that
comes again as a whole (D6).

A stream is (gateway, boot, line); its batches are numbered from 1 without holes. A batch is settled
when its rows are stored or it was refused with its bytes. Used by processor.py.
"""

from __future__ import annotations

import uuid
from bisect import bisect_left
from dataclasses import dataclass, field
from typing import NamedTuple

from aurelian.model.plant_parts import NAMESPACE


class BatchStream(NamedTuple):
    """What is numbered together."""

    gateway: str
    boot: int
    line: str

    @property
    def key(self) -> str:
        """Key of its record on `aurelian.stored.v1`."""
        return f"{self.gateway}/{self.boot}/{self.line}"

    def hole_id(self, after: int) -> str:
        """Id of the gap record of the hole that begins after sequence `after`."""
        return str(uuid.uuid5(NAMESPACE, f"hole|{self.gateway}|{self.boot}|{self.line}|{after}"))


class Settled(NamedTuple):
    """How far a stream is settled: every sequence up to `stored_to`, and the closed ranges of
    `beyond`: first, last, first, last, ..."""

    stored_to: int
    beyond: tuple[int, ...] = ()


@dataclass(slots=True)
class StreamProgress:
    """How far a stream is settled.

    Attributes:
        owner: company of its batches; empty: not known yet.
        stored_to: every sequence up to here is settled.
        beyond: settled ranges above a hole, flat: first, last, first, last, ... ascending, never
            touching.
        given_up: ranges that never came and count as settled, flat; what still comes of them is
            stored.
        closed: `stored_to` values whose hole was filled since `take_closed` was asked.
    """

    owner: str
    stored_to: int = 0
    beyond: list[int] = field(default_factory=list)
    given_up: list[int] = field(default_factory=list)
    closed: list[int] = field(default_factory=list)

    @property
    def settled(self) -> Settled:
        """What is announced of it."""
        return Settled(self.stored_to, tuple(self.beyond))

    def accept(self, sequence: int) -> bool:
        """Mark a batch as settled; False when it was already."""
        if self.given_up and self._take_back(sequence):
            return True
        if sequence <= self.stored_to:
            return False
        if sequence == self.stored_to + 1:
            if self.beyond:
                self._fill_hole(sequence)
            else:
                self.stored_to = sequence
            return True
        return self._mark_beyond(sequence)

    def give_up(self) -> tuple[int, int] | None:
        """Close the first hole although its batches did not come; return the first and the last of
        them, None where there is no hole."""
        if not self.beyond:
            return None
        lost = self.stored_to + 1, self.beyond[0] - 1
        self.given_up += lost
        self.stored_to = self.beyond[1]
        del self.beyond[:2]
        return lost

    def give_up_range(self, first: int, last: int) -> None:
        """Count a range as settled that its gateway says is lost; what came of it stays."""
        # Between the settled ranges lie the holes: from behind the end of one to before the next.
        ends = [self.stored_to, *self.beyond[1::2]]
        begins = [*self.beyond[::2], last + 1]
        lost = [
            (max(end + 1, first), min(begin - 1, last))
            for end, begin in zip(ends, begins, strict=True)
        ]
        lost = [(low, high) for low, high in lost if low <= high]
        settled = sorted(
            [*zip(self.beyond[::2], self.beyond[1::2], strict=True), *lost, (0, self.stored_to)]
        )
        merged: list[list[int]] = []
        for low, high in settled:
            if merged and low <= merged[-1][1] + 1:
                merged[-1][1] = max(merged[-1][1], high)
            else:
                merged.append([low, high])
        self.stored_to = merged[0][1]
        self.beyond = [number for pair in merged[1:] for number in pair]
        self.given_up = sorted([*self.given_up, *(number for pair in lost for number in pair)])

    def copy(self) -> StreamProgress:
        """As it is now."""
        return StreamProgress(
            self.owner, self.stored_to, list(self.beyond), list(self.given_up), []
        )

    def take_closed(self) -> list[int]:
        """The holes that were filled since the last call, each by the sequence before it."""
        closed, self.closed = self.closed, []
        return closed

    def missing(self) -> int:
        """Batches that have not come although later ones have."""
        if not self.beyond:
            return 0
        stored = sum(
            last - first + 1
            for first, last in zip(self.beyond[::2], self.beyond[1::2], strict=True)
        )
        return self.beyond[-1] - self.stored_to - stored

    def _fill_hole(self, sequence: int) -> None:
        if self.beyond[0] == sequence + 1:
            self.closed.append(self.stored_to)
            self.stored_to = self.beyond[1]
            del self.beyond[:2]
        else:
            self.closed.append(self.stored_to)
            self.stored_to = sequence

    def _mark_beyond(self, sequence: int) -> bool:
        place = bisect_left(self.beyond, sequence)
        ranges = self.beyond
        if place % 2 == 1 or (place < len(ranges) and ranges[place] == sequence):
            return False
        joins_left = place > 0 and ranges[place - 1] == sequence - 1
        joins_right = place < len(ranges) and ranges[place] == sequence + 1
        if joins_left and joins_right:
            del ranges[place - 1 : place + 1]
        elif joins_left:
            ranges[place - 1] = sequence
        elif joins_right:
            ranges[place] = sequence
        else:
            ranges[place:place] = [sequence, sequence]
        return True

    def _take_back(self, sequence: int) -> bool:
        """A batch that was given up comes after all; False: it was stored."""
        for place in range(0, len(self.given_up), 2):
            first, last = self.given_up[place], self.given_up[place + 1]
            if first <= sequence <= last:
                rest = [first, sequence - 1] if first < sequence else []
                rest += [sequence + 1, last] if sequence < last else []
                self.given_up[place : place + 2] = rest
                self.closed.append(first - 1)
                return True
        return False
