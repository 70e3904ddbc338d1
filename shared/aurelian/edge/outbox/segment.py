"""One SQLite file of the outbox: rows, what of them is released, counts, bookmarks. Used by
`outbox.py` and `salvage.py`.

A commit is durable when `write` returns: WAL mode with synchronous=FULL syncs the log before it
says so. The connection holds the file alone (locking_mode=EXCLUSIVE), so a second process on the
same folder is refused.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from aurelian.edge.outbox.damage import DamagedError, tell_damage
from aurelian.edge.outbox.file_format import note_format
from aurelian.edge.outbox.fresh import Fresh
from aurelian.edge.outbox.paths import Identity, identity_of, log_of, size_of, sync_folder
from aurelian.edge.outbox.rows import (
    Beyond,
    HourCount,
    OutboxRow,
    StreamKey,
    count_key,
    is_within,
)
from aurelian.edge.outbox.signal_table import SignalTable
from aurelian.edge.outbox.span import Span
from aurelian.edge.outbox.tables import (
    head_fits,
    insert_bookmarks,
    insert_counts,
    insert_last_commit,
    insert_released,
    insert_signals,
    lenient_text,
    prepare_tables,
    read_bookmarks,
    read_counts,
    read_last_commit,
    read_released,
    read_rows,
    read_signals,
    to_values,
)
from aurelian.edge.outbox.write_ahead_log import read_log

_PAGE_BYTES = 512
"""Of a file of batches. SQLite fills the pages of a row that is larger than one page, but leaves
the rest of a page empty where the next row does not fit: with its usual 4096 bytes a batch of 120
or 150 samples takes 34 or 27 bytes a sample, with 512 it takes 18. A file keeps the size it was
made with."""

_LOG_BYTES = 4 * 2**20


class Segment:
    """One file, opened when it is needed. All methods may raise `DamagedError`, where it is
    damaged, and `sqlite3.OperationalError`, where the disk refuses."""

    def __init__(self, path: Path) -> None:
        self.path, self.name = path, path.stem
        self._names = str(path), str(log_of(path))
        self.spans: dict[StreamKey, Span] = {}
        self.released: dict[StreamKey, int] = {}
        self.counts: dict[tuple[int, str, int], HourCount] = {}
        self.bookmarks: dict[str, str] = {}
        self.last_commit = 0
        self._began = 0
        self._size = 0
        self._checked = False
        self._says_format = False
        self._identities: tuple[Identity | None, Identity | None] = (None, None)
        self._db: sqlite3.Connection | None = None
        self._signals: SignalTable | None = None
        self._fresh = Fresh()

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

    @tell_damage
    def write(
        self,
        rows: Sequence[OutboxRow] = (),
        *,
        released: Mapping[StreamKey, int] | None = None,
        counts: Iterable[HourCount] = (),
        bookmarks: Mapping[str, str] | None = None,
        commit: int = 0,
        replacing: int | None = None,
        numbered: Sequence[tuple[OutboxRow, int]] = (),
        durable: bool,
    ) -> None:
        """Commit all of it at once; durable: the log is synced when this returns.

        `commit`: its number. `replacing`: rows of that commit are an attempt that failed and
        go away. `numbered`: rows with the numbers of the commits that they came with.
        """
        db = self._connect()
        db.execute(f"PRAGMA synchronous = {'FULL' if durable else 'NORMAL'}")
        changed = [
            (key, to) for key, to in (released or {}).items() if self.released.get(key) != to
        ]
        signals = self._signal_table()
        stored = [to_values(row, commit, signals) for row in rows]
        stored += [to_values(row, number, signals) for row, number in numbered]
        db.execute("BEGIN IMMEDIATE")
        try:
            if not self._says_format:
                note_format(db)
            if replacing is not None:
                db.execute("DELETE FROM row WHERE group_number = ?", (replacing,))
            if signals.added:
                insert_signals(db, signals.added)
            db.executemany("INSERT INTO row VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)", stored)
            insert_released(db, changed)
            insert_counts(db, counts)
            insert_bookmarks(db, bookmarks or {})
            if commit:
                insert_last_commit(db, commit)
            db.execute("COMMIT")
        except sqlite3.DatabaseError:
            signals.take_back()
            if db.in_transaction:
                db.execute("ROLLBACK")
            raise
        signals.added.clear()
        self._says_format = True
        self.released.update(changed)
        self._fresh.add(rows)
        for row in [*rows, *(row for row, _ in numbered)]:
            self._span(row.stream_key, row.sequence, row.sequence, row.appended_at, row.appended_at)

    @tell_damage
    def read(
        self,
        after: int,
        max_bytes: int,
        released: Mapping[StreamKey, int],
        commit: int,
        beyond: Beyond,
    ) -> tuple[list[OutboxRow], int]:
        """Unreleased rows after an id, up to `max_bytes` but at least one; and the last id
        looked at.

        Rows of a commit beyond `commit` do not count yet.
        """
        if not self._checked and not self.is_sound():
            raise DamagedError(f"{self.path.name} does not pass its check")
        self._checked = True
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
                key = StreamKey(boot, stream)
                if sequence > released.get(key, 0) and not (
                    beyond and is_within(sequence, beyond.get(key, ()))
                ):
                    fresh = self._fresh.take(key, sequence, row_id)
                    rows += (
                        [fresh]
                        if fresh is not None
                        else read_rows(db, row_id, self._signal_table())
                    )
                    size += len(rows[-1].data)
                after = row_id
                if size >= max_bytes:
                    break
        return rows, after

    @tell_damage
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

    @tell_damage
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

    @property
    def is_open(self) -> bool:
        """Whether SQLite has it open."""
        return self._db is not None

    def is_in_place(self) -> bool:
        """Whether the file, and its log, are those that were opened; one that is closed: whether it
        is there."""
        if self._db is None:
            return identity_of(self._names[0]) is not None
        file, file_log = map(identity_of, self._names)
        if self._identities[1] is None:
            self._identities = (self._identities[0], file_log)
        return (file, file_log) == self._identities

    @tell_damage
    def copy_into_place(self) -> None:
        """Write all that the open file holds, deleted or not, to a new file at its path."""
        copy = self.path.with_suffix(".unfinished")
        for old in (copy, log_of(copy)):
            old.unlink(missing_ok=True)
        target = sqlite3.connect(copy, isolation_level=None)
        try:
            self._connect().backup(target)  # in one commit, synced
        except sqlite3.DatabaseError:
            copy.unlink(missing_ok=True)
            raise
        finally:
            target.close()
        self.close()  # before the new one has the name: closing may delete the log there
        log_of(self.path).unlink(missing_ok=True)
        copy.replace(self.path)
        sync_folder(self.path.parent)
        self._connect()

    def begin_anew(self) -> None:
        """Forget what stood in the file."""
        self.spans.clear()
        self.released.clear()
        self._says_format, self._checked = False, True

    @tell_damage
    def shrink(self) -> None:
        """Move the log into the file and cut it to nothing."""
        self._connect().execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchall()

    @tell_damage
    def delete_uncommitted(self, commit: int) -> None:
        """Remove the rows of commits that were never completed."""
        db = self._connect()
        if db.execute("DELETE FROM row WHERE group_number > ?", (commit,)).rowcount:
            self._survey(check=False)

    @tell_damage
    def newest_id(self) -> int:
        """The highest id that a row here had, also of one that was deleted since."""
        found = self._connect().execute("SELECT max(seq) FROM sqlite_sequence").fetchone()[0]
        return int(found or 0)

    @tell_damage
    def highest_commit(self) -> int:
        """The highest number of a commit here."""
        return int(
            self._connect().execute("SELECT coalesce(max(group_number), 0) FROM row").fetchone()[0]
        )

    def waiting(self, released: Mapping[StreamKey, int], beyond: Beyond) -> tuple[int, int]:
        """How many rows are unreleased, and about when the oldest of them was appended
        (microseconds)."""
        rows, oldest = 0, 0
        for stream, span in self.spans.items():
            more, at = span.without(released.get(stream, 0), beyond.get(stream, ()))
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
            return self._passes_check()
        except DamagedError:
            return False

    @tell_damage
    def _passes_check(self) -> bool:
        # The index of records.db says which rows a release deletes.
        check = "integrity_check" if self.name.startswith("records") else "quick_check"
        found = self._connect().execute(f"PRAGMA {check}(1)").fetchone()[0]
        self._signal_table()
        return bool(found == "ok")

    def size(self) -> int:
        """Bytes on the disk, log included."""
        if self._db is not None or not self._size:
            self._size = sum(map(size_of, self._names))
        return self._size

    def close(self) -> None:
        """Close the file; it opens again when it is needed."""
        if self._db is not None:
            db, self._db = self._db, None
            self._signals = None
            self._fresh.clear()
            db.close()
            self._size = 0

    def drop(self) -> None:
        """Delete the file."""
        self.close()
        self.path.unlink(missing_ok=True)
        log_of(self.path).unlink(missing_ok=True)

    def _connect(self) -> sqlite3.Connection:
        if self._db is None:
            if self.spans and not self.path.exists():
                raise FileNotFoundError(f"{self.path} is gone")  # SQLite would make an empty one
            self._check_log()
            db = sqlite3.connect(
                self.path, isolation_level=None, check_same_thread=False, timeout=1
            )
            self._db = db
            db.text_factory = lenient_text
            db.execute("PRAGMA locking_mode = EXCLUSIVE").fetchall()
            if not self.name.startswith("records"):
                db.execute(f"PRAGMA page_size = {_PAGE_BYTES}")
                db.execute(f"PRAGMA wal_autocheckpoint = {_LOG_BYTES // _PAGE_BYTES}").fetchall()
            db.execute("PRAGMA auto_vacuum = INCREMENTAL")
            db.execute("PRAGMA journal_mode = WAL").fetchall()
            db.execute("PRAGMA synchronous = FULL")
            prepare_tables(db, indexed=self.name.startswith("records"))
            self._identities = identity_of(self._names[0]), identity_of(self._names[1])
        return self._db

    def _signal_table(self) -> SignalTable:
        if self._signals is None:
            entries, complete = read_signals(self._connect())
            if not complete:
                raise DamagedError(f"{self.path.name}: its table of signals is damaged")
            self._signals = SignalTable(entries)
        return self._signals

    def _check_log(self) -> None:
        # Before SQLite sees it: SQLite would drop what stands behind a damaged frame.
        log = log_of(self.path)
        if log.exists() and read_log(log.read_bytes()).loses_commits:
            raise DamagedError(f"{log.name}: commits stand behind a damaged frame")

    @tell_damage
    def _survey(self, check: bool) -> None:
        self._checked = not self.path.exists()
        if check and not self._checked and not self.is_sound():
            raise DamagedError(f"{self.path.name} does not pass its check")
        self._checked = self._checked or check
        db = self._connect()
        self.spans.clear()
        self.released = read_released(db)
        self.counts = {count_key(count): count for count in read_counts(db)}
        self.bookmarks = read_bookmarks(db)
        self.last_commit = read_last_commit(db)
        self._began = before = 0
        for values in db.execute(
            "SELECT id, lane, boot, stream, sequence, key, samples, appended_at, group_number,"
            " checksum FROM row ORDER BY id"
        ):
            row_id, _, boot, stream, sequence, _, _, at, commit, _ = values
            # A row's number of commit is never above the last one: both are written together.
            if not head_fits(values) or row_id <= before or commit > self.last_commit > 0:
                raise DamagedError(f"{self.path.name}: row {row_id} is damaged")
            self._span(StreamKey(boot, stream), sequence, sequence, at, at)
            before = row_id

    def _span(self, stream: StreamKey, first: int, last: int, first_at: int, last_at: int) -> None:
        self._began = min(self._began, first_at) if self._began else first_at
        span = self.spans.get(stream)
        if span is None:
            self.spans[stream] = Span(first, last, first_at, last_at)
        else:
            span.first, span.last = min(span.first, first), max(span.last, last)
            span.first_at, span.last_at = min(span.first_at, first_at), max(span.last_at, last_at)
