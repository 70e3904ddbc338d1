"""What the outbox keeps: rows, the streams that number them, counts for the ledger. Used by all of
`outbox/` and by the gateway. Pure."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from enum import IntEnum
from typing import NamedTuple

EVENTS = "@events"
"""The stream that source events are numbered in."""

REJECTED = "@rejected"
"""The stream that rejected bytes are numbered in."""


class RecordKind(IntEnum):
    """What a row holds, and so which topic it is for."""

    SAMPLES = 1
    EVENTS = 2
    REJECTED = 3


class StreamKey(NamedTuple):
    """What sequences count in: a stream (line, or one of the two others) of one boot."""

    boot: int
    stream: str


@dataclass(frozen=True, slots=True)
class OutboxRow:
    """One encoded record. `id`: its place in its file, 0 for a new one; `appended_at`: microseconds
    since 1970."""

    id: int
    kind: RecordKind
    boot: int
    stream: str
    sequence: int
    key: str
    samples: int
    appended_at: int
    data: bytes = field(repr=False)

    @property
    def stream_key(self) -> StreamKey:
        """The stream that it is numbered in."""
        return StreamKey(self.boot, self.stream)


@dataclass(frozen=True, slots=True)
class HourCount:
    """Values of one source counted in one hour of receipt (its start in microseconds), for the
    ledger."""

    source: str
    hour: int
    owner: str
    received: int = 0
    dropped: int = 0
    skipped: int = 0
    rejected: int = 0
    boot: int = 0

    def plus(self, other: HourCount) -> HourCount:
        """The sum; source, hour, owner and boot are the same."""
        return replace(
            self,
            received=self.received + other.received,
            dropped=self.dropped + other.dropped,
            skipped=self.skipped + other.skipped,
            rejected=self.rejected + other.rejected,
        )


def count_key(count: HourCount) -> tuple[int, str, int]:
    """What a later count replaces an earlier one by."""
    return (count.boot, count.source, count.hour)


@dataclass(frozen=True, slots=True)
class OutboxEntry:
    """One record to append. `encode(sequence)` gives its final bytes and is called in the outbox's
    thread."""

    kind: RecordKind
    stream: str
    key: str
    samples: int
    encode: Callable[[int], bytes]


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """How far a reader of the outbox has come; the default is the start."""

    record: int = 0
    segment: str = ""
    row: int = 0


START = Position()
