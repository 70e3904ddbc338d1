"""The SQL tables of one outbox file: rows, signals, releases and counts. Used by `segment.py`
and `salvage.py`."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Mapping
from contextlib import suppress

from aurelian.edge.outbox.compact import CompactError, SignalTable, pack, unpack
from aurelian.edge.outbox.rows import HourCount, OutboxRow, RecordKind, StreamKey
from aurelian.model.codec import dictionary_entries

_SIGNAL_TABLES = ("signals", "signals_copy")
TABLES = (
    # Rows of records.db go away one by one: without AUTOINCREMENT a new row could get an id that
    # readers are past.
    "CREATE TABLE IF NOT EXISTS row (id INTEGER PRIMARY KEY AUTOINCREMENT, lane INTEGER NOT NULL, "
    "boot INTEGER NOT NULL,"
    " stream TEXT NOT NULL, sequence INTEGER NOT NULL, key TEXT NOT NULL, samples INTEGER NOT NULL,"
    " appended_at INTEGER NOT NULL, group_number INTEGER NOT NULL, checksum INTEGER NOT NULL, "
    "data BLOB NOT NULL)",
    "CREATE TABLE IF NOT EXISTS mark (boot INTEGER, stream TEXT, up_to INTEGER NOT NULL, PRIMARY "
    "KEY (boot, stream))"
    " WITHOUT ROWID",
    "CREATE TABLE IF NOT EXISTS count (boot INTEGER, source TEXT, hour INTEGER, owner TEXT NOT "
    "NULL,"
    " received INTEGER NOT NULL, dropped INTEGER NOT NULL, skipped INTEGER NOT NULL, rejected "
    "INTEGER NOT NULL,"
    " PRIMARY KEY (boot, source, hour)) WITHOUT ROWID",
    *(
        f"CREATE TABLE IF NOT EXISTS {table} (first INTEGER PRIMARY KEY, data BLOB NOT NULL,"
        " checksum INTEGER NOT NULL)"
        for table in _SIGNAL_TABLES
    ),
    "CREATE TABLE IF NOT EXISTS state (name TEXT PRIMARY KEY, value INTEGER NOT NULL) WITHOUT "
    "ROWID",
)


def read_rows(db: sqlite3.Connection, row_id: int, signals: SignalTable) -> list[OutboxRow]:
    """The row with that id, if there is one; `DatabaseError` where its checksum does not fit."""
    found = db.execute(
        "SELECT lane, boot, stream, sequence, key, samples, appended_at, data, checksum FROM row"
        " WHERE id = ?",
        (row_id,),
    ).fetchall()
    rows = []
    for kind, boot, stream, sequence, key, samples, at, data, checksum in found:
        sound = isinstance(data, bytes)
        if not sound or _checksum(kind, boot, stream, sequence, key, samples, data) != checksum:
            raise sqlite3.DatabaseError(f"row {row_id}: the checksum does not fit")
        if kind == RecordKind.SAMPLES:
            key = key or stream
            try:
                data = unpack(data, signals)
            except CompactError as error:
                raise sqlite3.DatabaseError(f"row {row_id}: {error}") from error
        rows.append(
            OutboxRow(row_id, RecordKind(kind), boot, stream, sequence, key, samples, at, data)
        )
    return rows


def to_values(row: OutboxRow, commit: int, signals: SignalTable) -> tuple[object, ...]:
    """The values of a row's columns. A batch is compact, and its key is left out where it is the
    stream's name, as it nearly always is."""
    key, data = row.key, row.data
    if row.kind is RecordKind.SAMPLES:
        key, data = "" if key == row.stream else key, pack(data, signals)
    name = (row.kind, row.boot, row.stream, row.sequence, key, row.samples)
    return (row.id or None, *name, row.appended_at, commit, _checksum(*name, data), data)


def _checksum(
    kind: int, boot: int, stream: str, sequence: int, key: str, samples: int, data: bytes
) -> int:
    return zlib.crc32(
        data, zlib.crc32(f"{int(kind)}|{boot}|{stream}|{sequence}|{key}|{samples}".encode())
    )


def insert_signals(db: sqlite3.Connection, added: Mapping[int, bytes]) -> None:
    """Add dictionary entries, numbered without holes."""
    # Two tables, so on two pages: a damaged page must not take all batches that name its signals.
    joined = zlib.compress(b"".join(added.values()))
    line = (min(added), joined, zlib.crc32(joined, min(added)))
    for table in _SIGNAL_TABLES:
        db.execute(f"INSERT INTO {table} VALUES (?, ?, ?)", line)


def read_signals(db: sqlite3.Connection) -> tuple[dict[int, bytes], bool]:
    """The dictionary entries that a file's batches name, from whichever table can be read; and
    whether that is all of them."""
    entries: dict[int, bytes] = {}
    good, seen = set(), set()
    for table in _SIGNAL_TABLES:
        with suppress(sqlite3.DatabaseError):
            for first, data, checksum in db.execute(f"SELECT first, data, checksum FROM {table}"):
                seen.add(first)
                if isinstance(data, bytes) and zlib.crc32(data, first) == checksum:
                    good.add(first)
                    found = dictionary_entries(zlib.decompress(data))
                    entries |= {first + n: entry for n, (entry, _) in enumerate(found)}
    return entries, good == seen


def read_released(db: sqlite3.Connection) -> dict[StreamKey, int]:
    """Up to which sequence each stream of a file is released."""
    return {
        StreamKey(boot, stream): up_to
        for boot, stream, up_to in db.execute("SELECT boot, stream, up_to FROM mark")
    }


def read_counts(db: sqlite3.Connection) -> list[HourCount]:
    """All counts of a file."""
    return [
        HourCount(source, hour, owner, received, dropped, skipped, rejected, boot)
        for boot, source, hour, owner, received, dropped, skipped, rejected in db.execute(
            "SELECT boot, source, hour, owner, received, dropped, skipped, rejected FROM count"
        )
    ]


def lenient_text(stored: bytes) -> str:
    """A text column; damaged text must not raise, the checksum finds it."""
    return stored.decode(errors="replace")
