"""The SQL tables of one outbox file: rows, signals, releases, counts and bookmarks. Used by
`segment.py` and `salvage.py`."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from typing import Any, cast

from aurelian.edge.outbox.compact import CompactError, pack, unpack
from aurelian.edge.outbox.damage import DamagedError
from aurelian.edge.outbox.rows import HourCount, OutboxRow, RecordKind, StreamKey
from aurelian.edge.outbox.signal_table import SignalTable
from aurelian.model.codec import dictionary_entries

_SIGNAL_TABLES = ("signals", "signals_copy")
_BOOKMARKS = (
    "CREATE TABLE bookmark (source TEXT PRIMARY KEY, text TEXT NOT NULL, checksum INTEGER NOT NULL)"
    " WITHOUT ROWID"
)
TABLES = (
    # Rows of records.db go away one by one: without AUTOINCREMENT a new row could get an id that
    # readers are past.
    "CREATE TABLE row (id INTEGER PRIMARY KEY AUTOINCREMENT, lane INTEGER NOT NULL, "
    "boot INTEGER NOT NULL,"
    " stream TEXT NOT NULL, sequence INTEGER NOT NULL, key TEXT NOT NULL, samples INTEGER NOT NULL,"
    " appended_at INTEGER NOT NULL, group_number INTEGER NOT NULL, checksum INTEGER NOT NULL, "
    "data BLOB NOT NULL)",
    "CREATE TABLE released (boot INTEGER, stream TEXT, up_to INTEGER NOT NULL, checksum INTEGER "
    "NOT NULL, PRIMARY KEY (boot, stream)) WITHOUT ROWID",
    "CREATE TABLE counted (boot INTEGER, source TEXT, hour INTEGER, owner TEXT NOT NULL,"
    " received INTEGER NOT NULL, dropped INTEGER NOT NULL, skipped INTEGER NOT NULL, rejected "
    "INTEGER NOT NULL, checksum INTEGER NOT NULL,"
    " PRIMARY KEY (boot, source, hour)) WITHOUT ROWID",
    *(
        f"CREATE TABLE {table} (first INTEGER PRIMARY KEY, data BLOB NOT NULL,"
        " checksum INTEGER NOT NULL)"
        for table in _SIGNAL_TABLES
    ),
    "CREATE TABLE last_commit (id INTEGER PRIMARY KEY, number INTEGER NOT NULL, checksum INTEGER "
    "NOT NULL)",
    _BOOKMARKS,
)
INDEX = "CREATE INDEX row_sequence ON row (boot, stream, sequence)"
_OWN_TABLE = "CREATE TABLE sqlite_sequence(name,seq)"
_WITH_HEAD = 1 << 62
"""Set in the checksum of a row whose head has one of its own (30 bits above the 32 of all of it);
rows of the versions before have the 32 bits only, without time and commit."""


def prepare_tables(db: sqlite3.Connection, indexed: bool) -> None:
    """Make the tables in a new file, bring those of an older version up to date.

    Raises:
        DamagedError: the schema is neither.
    """
    wanted = {*TABLES, _OWN_TABLE, *([INDEX] if indexed else [])}
    found = {sql for (sql,) in db.execute("SELECT sql FROM sqlite_schema WHERE sql IS NOT NULL")}
    if found == wanted:
        return
    names = {name for (name,) in db.execute("SELECT name FROM sqlite_schema WHERE type = 'table'")}
    older = {"row", "mark", "count", "state", "sqlite_sequence"}
    # Version 0.1 has no tables of signals; a power cut may have kept it from making them all.
    is_last_version = found == wanted - {_BOOKMARKS}
    if found and not is_last_version and not names <= older | set(_SIGNAL_TABLES):
        raise DamagedError("its schema is damaged")
    db.execute("BEGIN IMMEDIATE")
    try:
        for statement in (*TABLES, INDEX) if indexed else TABLES:
            if statement not in found:
                db.execute(_if_missing(statement))
        _move_older(db, names)
        db.execute("COMMIT")
    except sqlite3.DatabaseError:
        if db.in_transaction:
            db.execute("ROLLBACK")
        raise


def _if_missing(statement: str) -> str:
    create, kind, rest = statement.split(" ", 2)
    return f"{create} {kind} IF NOT EXISTS {rest}"


def _move_older(db: sqlite3.Connection, names: set[str]) -> None:
    if "mark" in names:
        marks = db.execute("SELECT boot, stream, up_to FROM mark").fetchall()
        insert_released(db, [(StreamKey(boot, stream), up_to) for boot, stream, up_to in marks])
        db.execute("DROP TABLE mark")
    if "count" in names:
        insert_counts(
            db,
            [
                HourCount(source, hour, owner, received, dropped, skipped, rejected, boot)
                for boot, source, hour, owner, received, dropped, skipped, rejected in db.execute(
                    "SELECT boot, source, hour, owner, received, dropped, skipped, rejected "
                    "FROM count"
                ).fetchall()
            ],
        )
        db.execute("DROP TABLE count")
    if "state" in names:
        for (number,) in db.execute("SELECT value FROM state WHERE name = 'group'").fetchall():
            insert_last_commit(db, number)
        db.execute("DROP TABLE state")


def read_rows(db: sqlite3.Connection, row_id: int, signals: SignalTable) -> list[OutboxRow]:
    """The row with that id; `DamagedError` where it is not there or its checksum does not fit."""
    found = db.execute("SELECT * FROM row WHERE id = ?", (row_id,)).fetchall()
    if not found:
        raise DamagedError(f"row {row_id} is in the list of rows and not in the table")
    return [to_row(row_id, values, signals)[0] for values in found]


def to_row(row_id: int, values: Sequence[object], signals: SignalTable) -> tuple[OutboxRow, int]:
    """The row of these columns, and the number of its commit; `DamagedError` where its checksum
    does not fit."""
    head, checksum, data = values[1:9], values[9], values[10]
    if not isinstance(data, bytes) or not isinstance(checksum, int) or not head_fits(values):
        raise DamagedError(f"row {row_id}: the checksum does not fit")
    covered = head if checksum >= _WITH_HEAD else head[:6]
    if zlib.crc32(data, _crc(covered)) != checksum % 2**32:
        raise DamagedError(f"row {row_id}: the checksum does not fit")
    kind, boot, stream, sequence, key, samples, at, commit = head
    if kind == RecordKind.SAMPLES:
        key = key or stream
        try:
            data = unpack(data, signals)
        except CompactError as error:
            raise DamagedError(f"row {row_id}: {error}") from error
    row: Any = (row_id, RecordKind(cast(int, kind)), boot, stream, sequence, key, samples, at, data)
    return OutboxRow(*row), cast(int, commit)


def to_broken_row(row_id: int, values: Sequence[object]) -> tuple[OutboxRow, int]:
    """What a row says whose checksum does not fit: any of it may be wrong. ValueError or TypeError
    where it is no row at all."""
    kind, boot, stream, sequence, key, samples, at, commit = values[1:9]
    data = values[10]
    numbers = (boot, sequence, samples, at, commit)
    if not all(type(each) is int for each in numbers) or not isinstance(stream, str):
        raise ValueError(f"row {row_id} is none")
    if not isinstance(data, bytes):
        raise ValueError(f"row {row_id} has no data")
    key = key or stream
    row: Any = (row_id, RecordKind(cast(int, kind)), boot, stream, sequence, key, samples, at, data)
    return OutboxRow(*row), cast(int, commit)


def head_fits(values: Sequence[object]) -> bool:
    """Whether the columns of a row before its data are those that were written. Those of a row of
    an older version cannot be told without its data."""
    checksum = values[9]
    if not isinstance(checksum, int):
        return False
    if not checksum >= _WITH_HEAD:
        return 0 <= checksum < 2**32
    return _crc(values[1:9]) % 2**30 == (checksum >> 32) % 2**30


def to_values(row: OutboxRow, commit: int, signals: SignalTable) -> tuple[object, ...]:
    """The values of a row's columns. A batch is compact, and its key is left out where it is the
    stream's name, as it nearly always is."""
    key, data = row.key, row.data
    if row.kind is RecordKind.SAMPLES:
        key, data = "" if key == row.stream else key, pack(data, signals, row.samples)
    name = (int(row.kind), row.boot, row.stream, row.sequence, key, row.samples)
    head = (*name, row.appended_at, commit)
    crc = _crc(head)
    checksum = _WITH_HEAD | crc % 2**30 << 32 | zlib.crc32(data, crc)
    return (row.id or None, *head, checksum, data)


def _crc(values: Iterable[object]) -> int:
    return zlib.crc32("|".join(map(str, values)).encode())


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
                found = to_signals(first, (None, data, checksum))
                if found:
                    good.add(first)
                    entries |= found
    return entries, good == seen


def insert_released(db: sqlite3.Connection, released: Iterable[tuple[StreamKey, int]]) -> None:
    """Note up to which sequence streams are released."""
    db.executemany(
        "INSERT OR REPLACE INTO released VALUES (?, ?, ?, ?)",
        [(*key, up_to, _crc((*key, up_to))) for key, up_to in released],
    )


def read_released(db: sqlite3.Connection) -> dict[StreamKey, int]:
    """Up to which sequence each stream of a file is released."""
    return dict(map(to_released, db.execute("SELECT * FROM released")))


def to_released(values: Sequence[Any]) -> tuple[StreamKey, int]:
    """A stream and up to which sequence it is released; `DamagedError` as `to_row`."""
    *content, checksum = values
    if _crc(content) != checksum:
        raise DamagedError("a release: the checksum does not fit")
    boot, stream, up_to = content
    return StreamKey(boot, stream), up_to


def insert_counts(db: sqlite3.Connection, counts: Iterable[HourCount]) -> None:
    """Note counts, each in place of an earlier one."""
    listed = [
        (c.boot, c.source, c.hour, c.owner, c.received, c.dropped, c.skipped, c.rejected)
        for c in counts
    ]
    db.executemany(
        "INSERT OR REPLACE INTO counted VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)",
        [(*each, _crc(each)) for each in listed],
    )


def read_counts(db: sqlite3.Connection) -> list[HourCount]:
    """All counts of a file."""
    return [to_count(values) for values in db.execute("SELECT * FROM counted")]


def to_count(values: Sequence[Any]) -> HourCount:
    """A count; `DamagedError` as `to_row`."""
    *content, checksum = values
    if _crc(content) != checksum:
        raise DamagedError("a count: the checksum does not fit")
    boot, source, hour, owner, received, dropped, skipped, rejected = content
    return HourCount(source, hour, owner, received, dropped, skipped, rejected, boot)


def insert_last_commit(db: sqlite3.Connection, number: int) -> None:
    """Note the number of the last commit."""
    db.execute("INSERT OR REPLACE INTO last_commit VALUES (1, ?, ?)", (number, _crc((number,))))


def read_last_commit(db: sqlite3.Connection) -> int:
    """The number of the last commit, 0 where there was none."""
    return max(map(to_last_commit, db.execute("SELECT * FROM last_commit")), default=0)


def to_last_commit(values: Sequence[Any]) -> int:
    """The number of a commit; `DamagedError` as `to_row`."""
    _, number, checksum = values
    if _crc((number,)) != checksum:
        raise DamagedError("the last commit: the checksum does not fit")
    return int(number)


def insert_bookmarks(db: sqlite3.Connection, bookmarks: Mapping[str, str]) -> None:
    """Note how far sources are, each in place of an earlier text."""
    db.executemany(
        "INSERT OR REPLACE INTO bookmark VALUES (?, ?, ?)",
        [(*each, _crc(each)) for each in bookmarks.items()],
    )


def read_bookmarks(db: sqlite3.Connection) -> dict[str, str]:
    """How far each source of a file is; one whose checksum does not fit is left out, which its
    adapter takes for not known."""
    found = db.execute("SELECT source, text, checksum FROM bookmark")
    return {source: text for source, text, crc in found if _crc((source, text)) == crc}


def to_signals(first: int, values: Sequence[object]) -> dict[int, bytes]:
    """Dictionary entries by number; empty where the checksum does not fit."""
    _, data, checksum = values
    if not isinstance(data, bytes) or zlib.crc32(data, first % 2**32) != checksum:
        return {}
    found = dictionary_entries(zlib.decompress(data))
    return {first + n: entry for n, (entry, _) in enumerate(found)}


def lenient_text(stored: bytes) -> str:
    """A text column; damaged text must not raise, the checksum finds it."""
    return stored.decode(errors="replace")
