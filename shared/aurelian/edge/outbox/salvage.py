"""What becomes of a damaged file of the outbox: set aside, and all that can be read of it kept.
Called by `outbox.py`."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

from aurelian.edge.outbox.paths import log_of, sync_folder
from aurelian.edge.outbox.raw_pages import Record, read_records
from aurelian.edge.outbox.rows import HourCount, OutboxRow, StreamKey, count_key
from aurelian.edge.outbox.segment import Segment
from aurelian.edge.outbox.signal_table import SignalTable
from aurelian.edge.outbox.span import Span
from aurelian.edge.outbox.substitutes import make_substitutes
from aurelian.edge.outbox.tables import (
    to_broken_row,
    to_count,
    to_last_commit,
    to_released,
    to_row,
    to_signals,
)
from aurelian.edge.outbox.write_ahead_log import PAGE_SIZES, read_log

_DAMAGED = ".damaged"
_ROW_COLUMNS, _RELEASE_COLUMNS, _COUNT_COLUMNS, _SIGNAL_COLUMNS = 11, 4, 9, 3
_UNREADABLE = (sqlite3.DatabaseError, ValueError, TypeError, IndexError, OverflowError, zlib.error)


def salvage(
    path: Path, least_commit: int = 0, spans: Mapping[StreamKey, Span] | None = None
) -> Segment:
    """Rename a damaged file to `*.corrupt` and make a new one in its place of all that can still be
    read. Nothing is renamed where the disk refuses; one that was cut off is finished by
    `finish_salvages`.

    Each row that cannot be read has a substitute with its sequence, see `substitutes.py`.

    `least_commit`: the last commit was this one or a later one. `spans`: what stood in the file,
    where that is known.
    """
    damaged = path.with_suffix(_DAMAGED)
    path.rename(damaged)
    try:
        if log_of(path).exists():
            log_of(path).rename(log_of(damaged))
        return _make_sound(damaged, least_commit, spans or {})
    except BaseException:
        if damaged.exists():
            log_of(path).unlink(missing_ok=True)
            damaged.replace(path)
            if log_of(damaged).exists():
                log_of(damaged).rename(log_of(path))
        raise


def finish_salvages(folder: Path) -> None:
    """Finish what a process that ended in the middle of it began."""
    for damaged in sorted(folder.glob(f"*{_DAMAGED}")):
        path = damaged.with_suffix(".db")
        if path.exists():  # the new file is complete
            _set_aside(damaged)
            continue
        if log_of(path).exists():
            log_of(path).rename(log_of(damaged))
        _make_sound(damaged, 0, {}).close()


def _make_sound(damaged: Path, least_commit: int, spans: Mapping[StreamKey, Span]) -> Segment:
    path, unfinished = damaged.with_suffix(".db"), damaged.with_suffix(".unfinished")
    found = read_damaged(damaged)
    known = {stream: (span.first, span.last) for stream, span in spans.items()}
    substitutes = make_substitutes(found.rows, found.broken, known, found.released)
    for old in (unfinished, log_of(unfinished)):
        old.unlink(missing_ok=True)
    segment = Segment.open(unfinished)
    segment.write(
        numbered=_in_order([*found.rows, *substitutes]),
        released=found.released,
        counts=found.counts,
        commit=max(found.last_commit, least_commit),
        durable=True,
    )
    segment.close()  # SQLite moves the log into the file and syncs it
    unfinished.rename(path)
    _set_aside(damaged)
    sync_folder(path.parent)
    return Segment.open(path)


def _set_aside(damaged: Path) -> None:
    aside = damaged.with_suffix(".corrupt")
    if log_of(damaged).exists():
        log_of(damaged).rename(log_of(aside))
    damaged.rename(aside)


@dataclass(frozen=True, slots=True)
class Found:
    """What could be read of a damaged file: rows with the numbers of their commits, those whose
    checksum does not fit, and the rest of it."""

    rows: list[tuple[OutboxRow, int]]
    broken: list[tuple[OutboxRow, int]]
    released: dict[StreamKey, int]
    counts: list[HourCount]
    last_commit: int


def read_damaged(path: Path) -> Found:
    """Read all that has a checksum that fits."""
    log = read_log(log_of(path).read_bytes() if log_of(path).exists() else b"")
    content = path.read_bytes()
    named = int.from_bytes(content[16:18], "big")
    found = Found([], [], {}, [], 0)
    for size in dict.fromkeys((named, log.page_size, 512, 4096)):
        if size in PAGE_SIZES and not found.rows:
            found = _sorted_out(read_records(content, log, size))
    return found


def _sorted_out(records: Sequence[Record]) -> Found:
    entries: dict[int, bytes] = {}
    rows: dict[tuple[StreamKey, int], tuple[OutboxRow, int]] = {}
    released: dict[StreamKey, int] = {}
    counts: dict[tuple[int, str, int], HourCount] = {}
    broken: list[tuple[OutboxRow, int]] = []
    last_commit = 0
    for record in records:
        with suppress(*_UNREADABLE):
            if len(record.values) == _SIGNAL_COLUMNS:
                entries |= to_signals(record.row_id, record.values)
    signals = SignalTable(entries)
    for record in records:
        with suppress(*_UNREADABLE):
            if len(record.values) == _ROW_COLUMNS:
                try:
                    row, commit = to_row(record.row_id, record.values, signals)
                except _UNREADABLE:
                    broken.append(to_broken_row(record.row_id, record.values))
                    continue
                rows[row.stream_key, row.sequence] = row, commit
            elif len(record.values) == _RELEASE_COLUMNS:
                stream, up_to = to_released(record.values)
                released[stream] = max(up_to, released.get(stream, 0))
            elif len(record.values) == _COUNT_COLUMNS:
                count = to_count(record.values)
                before = counts.get(count_key(count))
                if before is None or count.received >= before.received:
                    counts[count_key(count)] = count
            elif len(record.values) == _SIGNAL_COLUMNS and record.row_id == 1:
                last_commit = max(last_commit, to_last_commit(record.values))
    last_commit = max([last_commit, *(commit for _, commit in rows.values())])
    return Found(_in_order(rows.values()), broken, released, [*counts.values()], last_commit)


def _in_order(rows: Iterable[tuple[OutboxRow, int]]) -> list[tuple[OutboxRow, int]]:
    """Rows in the order of appending, with the ids that they had; with new ones where ids are
    damaged, beyond them all, so that no reader is past them."""
    ordered = sorted(rows, key=lambda each: (each[0].boot, each[1], each[0].sequence, each[0].id))
    by_id = sorted(ordered, key=lambda each: each[0].id)
    ids = [row.id for row, _ in by_id]
    last: dict[StreamKey, int] = {}
    sound = len(set(ids)) == len(ids) and all(0 < each < 2**48 for each in ids)
    for row, _ in by_id:
        sound = sound and row.sequence > last.get(row.stream_key, 0)
        last[row.stream_key] = row.sequence
    if sound:
        return by_id
    first = max([0, *(each for each in ids if each < 2**48)]) + 1
    return [(replace(row, id=first + n), commit) for n, (row, commit) in enumerate(ordered)]
