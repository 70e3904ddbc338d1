"""Rows that stand for those that a damaged or deleted file lost, so that the historian settles
their sequences and no hole stays. Used by `salvage.py` and `missing.py`. Pure."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence

from aurelian.edge.outbox.rows import (
    EVENTS,
    REJECTED,
    OutboxRow,
    RecordKind,
    StreamKey,
    unreadable,
)

MOST = 100_000
"""Substitutes for one stream at most."""

_KINDS = {EVENTS: RecordKind.EVENTS, REJECTED: RecordKind.REJECTED}

NumberedRow = tuple[OutboxRow, int]
"""A row and the number of its commit."""


def make_substitutes(
    rows: Sequence[NumberedRow],
    broken: Sequence[NumberedRow],
    spans: Mapping[StreamKey, tuple[int, int]],
    released: Mapping[StreamKey, int],
    reason: str = "the outbox's file was damaged",
) -> list[NumberedRow]:
    """Make a row for each sequence that is missing between those that are there.

    Args:
        rows: what could be read.
        broken: what a row says that does not fit its checksum; any of it may be wrong, its
            sequence too, so that one counts only right beside a sound row or between two.
        spans: first and last sequence of each stream that stood in the file, where known.
        released: what is settled already has no substitute.
        reason: why they are missing.
    """
    there: dict[StreamKey, dict[int, NumberedRow]] = {}
    for row, commit in rows:
        there.setdefault(row.stream_key, {})[row.sequence] = row, commit
    raw = {(row.stream_key, row.sequence): (row, commit) for row, commit in broken}
    beside = {(key, each) for key, found in there.items() for n in found for each in (n - 1, n + 1)}
    wanted = {place for place in raw if place in beside}
    for key in {*there, *spans}:
        known = [*there.get(key, ()), *spans.get(key, ())]
        wanted |= {(key, n) for n in range(min(known), max(known) + 1)[:MOST]}
    return [
        _substitute(key, sequence, raw.get((key, sequence)), there.get(key, {}), reason)
        for key, sequence in sorted(wanted)
        if sequence not in there.get(key, {}) and sequence > released.get(key, 0)
    ]


def _substitute(
    key: StreamKey,
    sequence: int,
    raw: NumberedRow | None,
    found: Mapping[int, NumberedRow],
    reason: str,
) -> NumberedRow:
    before = max((n for n in found if n < sequence), default=min(found, default=0))
    near = found.get(before)
    kind = _KINDS.get(key.stream, RecordKind.SAMPLES)
    return (
        OutboxRow(
            raw[0].id if raw is not None else 0,
            kind,
            key.boot,
            key.stream,
            sequence,
            key.stream if kind is RecordKind.SAMPLES or near is None else near[0].key,
            raw[0].samples if raw is not None else 0,
            near[0].appended_at if near is not None else time.time_ns() // 1000,
            unreadable(raw[0].data if raw is not None else b"", reason),
        ),
        found[before][1] if before in found else 0,
    )
