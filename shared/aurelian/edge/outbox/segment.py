"""One SQLite file of the outbox: rows, what of them is released, counts. Used by `outbox.py` and
`salvage.py`.

A commit is durable when `write` returns: WAL mode with synchronous=FULL syncs the log before it
says so. The connection holds the file alone (locking_mode=EXCLUSIVE), so a second process on the
same folder is refused.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aurelian.edge.outbox.compact import SignalTable
from aurelian.edge.outbox.rows import HourCount, OutboxRow, StreamKey, count_key
from aurelian.edge.outbox.tables import (
    TABLES,
    insert_signals,
    lenient_text,
    read_counts,
    read_released,
    read_rows,
    read_signals,
    to_values,
)

_PAGE_BYTES = 512
"""Of a file of batches. SQLite fills the pages of a row that is larger than one page, but leaves
the rest of a page empty where the next row does not fit: with its usual 4096 bytes a batch of 120
or 150 samples takes 34 or 27 bytes a sample, with 512 it takes 18. A file keeps the size it was
made with."""

_LOG_BYTES = 4 * 2**20


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
        share = (self.last - self.first + 1 - rows) / (self.last - self.first + 1)
        return rows, self.first_at + int((self.last_at - self.first_at) * share)


class Segment:
    """One file, opened when it is needed. All methods may raise `sqlite3.DatabaseError`, where it
    is damaged or full."""

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, path.stem
        self.spans: dict[StreamKey, Span] = {}
        self.released: dict[StreamKey, int] = {}
        self.counts: dict[tuple[int, str, int], HourCount] = {}
        self.last_commit = 0
        self._began = 0
        self._size = 0
        self._db: sqlite3.Connection | None = None
        self._signals: SignalTable | None = None

    @classmethod
    def open(cls, path: Path, *, check: bool = True) -> Segment:
        """Open or make a file and read what stands in it; `check` looks through its structure."""
        self = cls(path)
        try:
            self._survey(check)
        except sqlite3.DatabaseError:
            self.close()
            raise
        return self

    def write(
        self,
        rows: Sequence[OutboxRow] = (),
        *,
        released: Mapping[StreamKey, int] | None = None,
        counts: Iterable[HourCount] = (),
        commit: int = 0,
        replacing: int | None = None,
        durable: bool,
    ) -> None:
        """Commit all of it at once; durable: the log is synced when this returns.

        `commit`: its number. `replacing`: rows of that commit are an attempt that failed and
        go away.
        """
        db = self._connect()
        db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        changed = [
            (boot, stream, to)
            for (boot, stream), to in (released or {}).items()
            if self.released.get(StreamKey(boot, stream)) != to
        ]
        signals = self._signal_table()
        stored = [to_values(row, commit, signals) for row in rows]
        db.execute("BEGIN IMMEDIATE")
        try:
            if replacing is not None:
                db.execute("DELETE FROM row WHERE group_number = ?", (replacing,))
            if signals.added:
                insert_signals(db, signals.added)
            db.executemany("INSERT INTO row VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", stored)
            db.executemany("INSERT OR REPLACE INTO mark VALUES (?, ?, ?)", changed)
            db.executemany(
                "INSERT OR REPLACE INTO count VALUES (?, ?, ?, ?, ?, ?, ?, ?)",
                [
                    (
                        c.boot,
                        c.source,
                        c.hour,
                        c.owner,
                        c.received,
                        c.dropped,
                        c.skipped,
                        c.rejected,
                    )
                    for c in counts
                ],
            )
            if commit:
                db.execute("INSERT OR REPLACE INTO state VALUES ('group', ?)", (commit,))
            db.execute("COMMIT")
        except sqlite3.DatabaseError:
            signals.take_back()
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        signals.added.clear()
        self.released.update({StreamKey(boot, stream): to for boot, stream, to in changed})
        for row in rows:
            self._span(row.stream_key, row.sequence, row.sequence, row.appended_at, row.appended_at)

    def read(
        self, after: int, max_bytes: int, released: Mapping[StreamKey, int], commit: int
    ) -> tuple[list[OutboxRow], int]:
        """Unreleased rows after an id, up to `max_bytes` but at least one; and the last id
        looked at.

        Rows of a commit beyond `commit` do not count yet.
        """
        db = self._connect()
        rows: list[OutboxRow] = []
        size = 0
        while size < max_bytes:
            found = db.execute(
                "SELECT id, boot, stream, sequence FROM row WHERE id > ? AND group_number <= ? "
                "ORDER BY id LIMIT 200",
                (after, commit),
            ).fetchall()
            if not found:
                break
            for row_id, boot, stream, sequence in found:
                if sequence > released.get(StreamKey(boot, stream), 0):
                    rows += read_rows(db, row_id, self._signal_table())
                    size += len(rows[-1].data)
                after = row_id
                if size >= max_bytes:
                    break
        return rows, after

    def last(self, max_rows: int) -> list[OutboxRow]:
        """Its newest rows, oldest first."""
        db = self._connect()
        ids = db.execute(
            "SELECT id FROM row ORDER BY id DESC LIMIT ?", (max(0, max_rows),)
        ).fetchall()
        return [
            row
            for (row_id,) in reversed(ids)
            for row in read_rows(db, row_id, self._signal_table())
        ]

    def delete(self, stream: StreamKey, up_to: int) -> None:
        """Remove the rows of a stream up to a sequence and give their pages back."""
        db = self._connect()
        db.execute("PRAGMA synchronous = NORMAL")
        db.execute(
            "DELETE FROM row WHERE boot = ? AND stream = ? AND sequence <= ?", (*stream, up_to)
        )
        db.executescript("PRAGMA incremental_vacuum")  # execute() would stop after one page
        span = self.spans.get(stream)
        if span is not None and up_to >= span.last:
            del self.spans[stream]

    def shrink(self) -> None:
        """Move the log into the file and cut it to nothing."""
        self._connect().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    def delete_uncommitted(self, commit: int) -> None:
        """Remove the rows of commits that were never completed."""
        db = self._connect()
        if db.execute("DELETE FROM row WHERE group_number > ?", (commit,)).rowcount:
            self._survey(check=False)

    def highest_commit(self) -> int:
        """The highest number of a commit here."""
        return int(
            self._connect().execute("SELECT coalesce(max(group_number), 0) FROM row").fetchone()[0]
        )

    def waiting(self, released: Mapping[StreamKey, int]) -> tuple[int, int]:
        """How many rows are unreleased, and about when the oldest of them was appended
        (microseconds)."""
        rows, oldest = 0, 0
        for stream, span in self.spans.items():
            more, at = span.after(released.get(stream, 0))
            if more:
                oldest = min(oldest, at) if rows else at
                rows += more
        return rows, oldest

    def is_due(self, max_bytes: int, max_age_s: float, now: int) -> bool:
        """Whether a new segment should follow this one."""
        return bool(self.spans) and (
            self.size() >= max_bytes or now - self._began > max_age_s * 1e6
        )

    def is_sound(self) -> bool:
        """Look through the structure of the file and the signals that its batches name."""
        try:
            found = self._connect().execute("PRAGMA quick_check(1)").fetchone()[0]
            self._signal_table()
            return bool(found == "ok")
        except sqlite3.OperationalError:
            raise  # locked by another process, or the disk refuses: says nothing about the file
        except sqlite3.DatabaseError:
            return False

    def size(self) -> int:
        """Bytes on the disk, log included."""
        if self._db is not None or not self._size:
            self._size = sum(
                path.stat().st_size
                for path in (self.path, self.path.with_name(f"{self.path.name}-wal"))
                if path.exists()
            )
        return self._size

    def close(self) -> None:
        """Close the file; it opens again when it is needed."""
        if self._db is not None:
            db, self._db = self._db, None
            self._signals = None
            db.close()
            self._size = 0

    def drop(self) -> None:
        """Delete the file."""
        self.close()
        self.path.unlink(missing_ok=True)
        self.path.with_name(f"{self.path.name}-wal").unlink(missing_ok=True)

    def _connect(self) -> sqlite3.Connection:
        if self._db is None:
            db = sqlite3.connect(
                self.path, isolation_level=None, check_same_thread=False, timeout=1
            )
            self._db = db
            db.text_factory = lenient_text
            db.execute("PRAGMA locking_mode = EXCLUSIVE").fetchall()
            if self.name != "records":
                db.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
                db.execute(f"PRAGMA wal_autocheckpoint = {_LOG_BYTES // _PAGE_BYTES}").fetchall()
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
            db.execute("PRAGMA journal_mode = WAL").fetchall()
            db.execute("PRAGMA synchronous = FULL")
            for statement in TABLES:
                db.execute(statement)
            if self.name == "records":
                db.execute(
                    "CREATE INDEX IF NOT EXISTS row_sequence ON row (boot, stream, sequence)"
                )
        return self._db

    def _signal_table(self) -> SignalTable:
        if self._signals is None:
            entries, complete = read_signals(self._connect())
            if not complete:
                raise sqlite3.DatabaseError(f"{self.path.name}: its table of signals is damaged")
            self._signals = SignalTable(entries)
        return self._signals

    def _survey(self, check: bool) -> None:
        if check and self.path.exists() and not self.is_sound():
            raise sqlite3.DatabaseError(f"{self.path.name} does not pass its check")
        db = self._connect()
        self.spans.clear()
        self.released, self.counts = (
            read_released(db),
            {count_key(count): count for count in read_counts(db)},
        )
        found = db.execute("SELECT value FROM state WHERE name = 'group'").fetchone()
        self.last_commit = found[0] if found else 0
        self._began = 0
        for boot, stream, *span in db.execute(
            "SELECT boot, stream, min(sequence), max(sequence), min(appended_at), "
            "max(appended_at) FROM row GROUP BY boot, stream"
        ):
            self._span(StreamKey(boot, stream), *span)

    def _span(self, stream: StreamKey, first: int, last: int, first_at: int, last_at: int) -> None:
        self._began = min(self._began, first_at) if self._began else first_at
        span = self.spans.get(stream)
        if span is None:
            self.spans[stream] = Span(first, last, first_at, last_at)
        else:
            span.first, span.last = min(span.first, first), max(span.last, last)
            span.first_at, span.last_at = min(span.first_at, first_at), max(span.last_at, last_at)
