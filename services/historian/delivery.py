"""Pure: which batches of a gateway's stream are stored: proves completeness and knows a whole-batch
redelivery (D6).

A stream is (gateway, boot, line); its batches are numbered from 1 without holes. Used by
processor.py.
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


@dataclass(slots=True)
class StreamProgress:
    """How far a stream is stored.

    Attributes:
        owner: company of its batches.
        stored_to: every sequence up to here is stored.
        beyond: stored ranges above a hole, flat: first, last, first, last, ... ascending, never
            touching.
        closed: `stored_to` values whose hole was filled since `take_closed` was asked.
    """

    owner: str
    stored_to: int = 0
    beyond: list[int] = field(default_factory=list)
    closed: list[int] = field(default_factory=list)

    def accept(self, sequence: int) -> bool:
        """Mark a batch as stored; False when it was already."""
        if sequence <= self.stored_to:
            return False
        if sequence == self.stored_to + 1:
            if self.beyond:
                self._fill_hole(sequence)
            else:
                self.stored_to = sequence
            return True
        return self._mark_beyond(sequence)

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
