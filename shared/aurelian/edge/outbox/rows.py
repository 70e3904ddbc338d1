"""What the outbox keeps: rows, the streams that number them, counts for the ledger. Used by all of
`outbox/` and by the gateway. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
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


Beyond = dict[StreamKey, list[tuple[int, int]]]
"""What of each stream is stored beyond its first hole: closed ranges of sequences, ascending."""


def joined(ranges: Iterable[tuple[int, int]], up_to: int) -> list[tuple[int, int]]:
    """The closed ranges in order, joined where they touch, without what lies up to a sequence."""
    out: list[tuple[int, int]] = []
    for first, last in sorted(ranges):
        first = max(first, up_to + 1)
        if last < first:
            continue
        if out and first <= out[-1][1] + 1:
            out[-1] = out[-1][0], max(out[-1][1], last)
        else:
            out.append((first, last))
    return out


def settle(ranges: Iterable[tuple[int, int]], up_to: int) -> tuple[int, list[tuple[int, int]]]:
    """How far a stream is settled without a hole, and the ranges beyond the first one."""
    beyond = joined(ranges, up_to)
    if beyond and beyond[0][0] == up_to + 1:
        up_to = beyond.pop(0)[1]
    return up_to, beyond


def is_within(sequence: int, ranges: Sequence[tuple[int, int]]) -> bool:
    """Whether a sequence lies in one of the ranges."""
    return any(first <= sequence <= last for first, last in ranges)


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


def unreadable(data: bytes, reason: str, most: int = 512 * 1024) -> bytes:
    """Bytes for a record that stands for one which cannot be sent as it is.

    No protobuf message begins with 0x07, so the historian rejects it with its bytes and takes its
    sequence, which the record's headers say, as settled.
    """
    return b"\x07" + reason.encode() + b": " + data[:most]


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


def number_rows(
    entries: Iterable[OutboxEntry], boot: int, sequences: dict[str, int], now: int
) -> list[OutboxRow]:
    """The rows of entries, each with the next sequence of its stream; `sequences` has the last ones
    and is changed. `now`: microseconds since 1970."""
    rows = []
    for entry in entries:
        sequence = sequences[entry.stream] = sequences.get(entry.stream, 0) + 1
        data = entry.encode(sequence)
        rows.append(
            OutboxRow(
                0, entry.kind, boot, entry.stream, sequence, entry.key, entry.samples, now, data
            )
        )
    return rows


@dataclass(frozen=True, slots=True, order=True)
class Position:
    """How far a reader of the outbox has come; the default is the start."""

    record: int = 0
    segment: str = ""
    row: int = 0


START = Position()
