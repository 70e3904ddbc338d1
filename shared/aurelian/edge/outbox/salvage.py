"""What becomes of a damaged file of the outbox: set aside, and all that can be read of it kept.
Called by `outbox.py`."""

from __future__ import annotations

import sqlite3
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path

from aurelian.edge.outbox.compact import SignalTable
from aurelian.edge.outbox.rows import HourCount, OutboxRow, StreamKey
from aurelian.edge.outbox.segment import Segment
from aurelian.edge.outbox.tables import (
    lenient_text,
    read_counts,
    read_released,
    read_rows,
    read_signals,
)

_KEEP_REPORTED = 3
_BEYOND = 2000
"""How many ids are tried one by one where the list of ids breaks off."""


@dataclass(frozen=True, slots=True)
class DamagedFile:
    """A damaged file that was set aside. What could be read of it was kept; times in
    microseconds."""

    path: Path
    from_time: int
    to_time: int
    reason: str


def find_damaged(folder: Path) -> list[DamagedFile]:
    """Damaged files of a folder that were set aside and have no gap record yet."""
    found = []
    for path in sorted(folder.glob("*.corrupt")):
        begin = int(path.name.split("-")[1].split(".")[0]) if "-" in path.name else 0
        reason = f"outbox file {path.name} was damaged"
        found.append(DamagedFile(path, begin, int(path.stat().st_mtime * 1e6), reason))
    return found


def confirm_reported(damaged: DamagedFile) -> None:
    """Rename a damaged file whose gap record is on the disk; the newest three of them are kept."""
    folder = damaged.path.parent
    damaged.path.rename(damaged.path.with_suffix(".reported"))
    reported = [*folder.glob("*.reported"), *folder.glob("*.told")]  # .told: release 0.1
    reported.sort(key=lambda path: path.stat().st_mtime)
    for old in reported[:-_KEEP_REPORTED]:
        old.unlink()


def salvage(path: Path) -> Segment:
    """Rename a damaged file to `*.corrupt` and make a new one in its place of all that can still be
    read."""
    aside = path.with_suffix(".corrupt")
    path.rename(aside)
    wal = path.with_name(f"{path.name}-wal")
    if wal.exists():
        wal.rename(aside.with_name(f"{aside.name}-wal"))
    rows: list[OutboxRow] = []
    released: dict[StreamKey, int] = {}
    counts: list[HourCount] = []
    with closing(sqlite3.connect(aside, isolation_level=None)) as db:
        db.text_factory = lenient_text
        with suppress(sqlite3.DatabaseError):
            released = read_released(db)
        with suppress(sqlite3.DatabaseError):
            counts = read_counts(db)
        signals = SignalTable(read_signals(db)[0])
        for row_id in _ids(db):
            with suppress(sqlite3.DatabaseError):
                rows += read_rows(db, row_id, signals)
    segment = Segment.open(path)
    segment.write(rows, released=released, counts=counts, durable=True)
    return segment


def _ids(db: sqlite3.Connection) -> list[int]:
    ids: list[int] = []
    try:
        for (row_id,) in db.execute("SELECT id FROM row ORDER BY id"):
            ids.append(row_id)
    except sqlite3.DatabaseError:
        last = ids[-1] if ids else 0
        ids += range(last + 1, last + _BEYOND)
    return ids
