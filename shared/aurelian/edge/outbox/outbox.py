"""The gateway's write-ahead store: what is appended here is on the disk before a machine gets its
acknowledgement.

Owned by `gateway.run_gateway`; one thread at a time calls it, never the event loop (it blocks on
the disk). One row per encoded record. Batches of samples stand in segment files, in the form of
`compact.py`, each file dropped whole when all its rows are released; life-cycle records, alarms and
rejected bytes stand in a file of their own. SQLite in WAL mode, synchronous=FULL: when `append`
returns, the log that holds the rows is synced.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from sqlite3 import DatabaseError, OperationalError

from aurelian.edge.outbox.damage import DamagedError
from aurelian.edge.outbox.hour_counts import HourCounts
from aurelian.edge.outbox.limits import Level, Limits, OutboxFull, ReachedLimit, free_share
from aurelian.edge.outbox.lock import hold_folder
from aurelian.edge.outbox.refusal import refusal_of
from aurelian.edge.outbox.rows import (
    EVENTS,
    REJECTED,
    START,
    Beyond,
    HourCount,
    OutboxEntry,
    OutboxRow,
    Position,
    RecordKind,
    StreamKey,
    number_rows,
    settle,
)
from aurelian.edge.outbox.salvage import DamagedFile, find_damaged, finish_salvages, salvage
from aurelian.edge.outbox.segment import Segment


class Outbox:
    """One gateway's outbox. Not thread safe; a context manager. `boot` numbers this run, see
    `open`."""

    def __init__(self, folder: Path, boot: int, limits: Limits, clock: Callable[[], int]) -> None:
        self.folder, self.boot, self.limits, self._clock = folder, boot, limits, clock
        self._sequences: dict[str, int] = {}
        self._released: dict[StreamKey, int] = {}
        self._beyond: Beyond = {}
        self._counts = HourCounts(boot)
        self._bookmarks: dict[str, str] = {}
        self._segments: list[Segment] = []
        self._records = Segment(folder / "records.db")
        self._uncommitted_records = False
        self._last_commit = 0
        self._lock: int | None = None

    @classmethod
    def open(
        cls,
        folder: Path,
        boot: int,
        limits: Limits | None = None,
        clock: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> Outbox:
        """Open or make the outbox in `folder`. A damaged file is set aside (`damaged_files`), never
        an error.

        `boot`: microseconds since 1970 at process start; sequences begin at 1 in each boot, rows of
        older boots keep theirs. `clock` gives microseconds since 1970.

        Raises:
            OutboxFull: the disk has no room; OutboxNotWritable: it lets nobody write.
        """
        self = cls(folder, boot, limits or Limits(), clock)
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._lock = hold_folder(folder)
            self._load()
        except (OperationalError, OSError) as error:
            self.close()
            raise refusal_of(folder, error) from error
        return self

    def __enter__(self) -> Outbox:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """Write what is released and close the files."""
        if self._segments:
            with suppress(DatabaseError):
                self._segments[-1].write(released=self._released, durable=False)
        for segment in self._files():
            segment.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def append(
        self,
        entries: Sequence[OutboxEntry],
        counts: Iterable[HourCount] = (),
        bookmarks: Mapping[str, str] | None = None,
    ) -> None:
        """Number, encode and commit all entries, counts and bookmarks as one; they are on the disk
        when this returns. All or nothing also across a crash.

        `counts` are added to what this boot has counted. `bookmarks`: see `bookmark`.

        Raises:
            OutboxFull: a limit is reached or the disk refuses (OutboxNotWritable: for another
                reason than room); nothing was appended.
        """
        try:
            self._check_limits(entries)
            limits = self.limits
            if self._segments[-1].is_due(limits.segment_bytes, limits.segment_age_s, self._clock()):
                self._roll_over()
            self._commit(entries, list(counts), bookmarks or {})
        except (OperationalError, OSError) as error:
            raise refusal_of(self.folder, error) from error
        except DatabaseError as error:
            with suppress(OperationalError, OSError):  # a full disk: found again with the next one
                self._replace_damaged()
            raise OutboxFull(f"outbox {self.folder}: {error}; a file is damaged") from error

    def unsent(
        self, after: Position = START, max_bytes: int = 2**20
    ) -> tuple[list[OutboxRow], Position]:
        """Rows that nobody has stored, in the order of appending, from `after` on; and where to go
        on.

        Ends after `max_bytes` (at least one row is given if there is one). Life-cycle records come
        first. Begin at `START` again to have everything that is unreleased sent again.
        """
        rows, record = self._read(self._records, after.record, max_bytes)
        left = max_bytes - sum(len(row.data) for row in rows)
        place, row_id = after.segment, after.row
        for segment in [each for each in self._segments if each.name >= after.segment]:
            if left <= 0:
                break
            found, reached = self._read(
                segment, row_id if segment.name == after.segment else 0, left
            )
            rows += found
            left -= sum(len(row.data) for row in found)
            place, row_id = segment.name, reached
        for segment in self._segments[:-1]:
            if segment.name != place:
                segment.close()
        return rows, Position(record, place, row_id)

    def release(
        self, boot: int, stream: str, up_to: int, beyond: Sequence[tuple[int, int]] = ()
    ) -> None:
        """Release the rows of a stream up to a sequence: they are stored. Never goes back.

        `beyond`: closed ranges after it that are stored too, with holes between them.

        The release is written with the next append: one that is lost only means sending again.
        """
        key = StreamKey(boot, stream)
        if not self._has(key):
            return
        before = self._released.get(key, 0)
        up_to, ranges = settle([*self._beyond.get(key, ()), *beyond], max(before, up_to))
        self._beyond[key] = ranges
        # A disk without room for the log refuses: they are not read again, and go later.
        if up_to > before:
            self._released[key] = up_to
            if stream in (EVENTS, REJECTED):
                self._delete_records(key, up_to)
        with suppress(DatabaseError):
            self._drop_released()

    def level(self) -> Level:
        """How full the outbox is, and whether it takes samples."""
        return Level(
            rows=sum(segment.waiting(self._released, self._beyond)[0] for segment in self._files()),
            bytes=sum(segment.size() for segment in self._files()),
            oldest_age_s=self._oldest_age_s(),
            free=free_share(self.folder),
            reached_limit=self._limit(reserved=False),
        )

    def counts(self) -> list[HourCount]:
        """What was counted by source and hour, of this boot and of those before it that are still
        here."""
        return self._counts.all()

    def forget_counts(self, before_hour: int) -> None:
        """Forget the counts of older boots before an hour (microseconds): the ledger has had them
        for long."""
        self._counts.forget(before_hour)

    def bookmark(self, source: str) -> str:
        """What an adapter noted with the newest of its rows that are on the disk, in its own words;
        empty: nothing, or it was in a file that was damaged."""
        return self._bookmarks.get(source, "")

    def newest(self, max_rows: int) -> list[OutboxRow]:
        """The newest batches on the disk, released or not, oldest first: what a restart may meet
        again."""
        rows: list[OutboxRow] = []
        for segment in reversed(self._segments):
            with suppress(DatabaseError):
                rows = segment.last(max_rows - len(rows)) + rows
        return rows

    def damaged_files(self) -> list[DamagedFile]:
        """Damaged files that were set aside and have no gap record yet; see `confirm_reported`."""
        return find_damaged(self.folder)

    def _load(self) -> None:
        finish_salvages(self.folder)
        self._records = self._opened(self.folder / "records.db")
        paths = sorted(self.folder.glob("samples-*.db"))
        self._segments = [self._opened(path, check=path in paths[-2:]) for path in paths]
        for segment in self._segments:
            for stream, up_to in segment.released.items():
                self._released[stream] = max(up_to, self._released.get(stream, 0))
            self._counts.keep(segment.counts)
            self._last_commit = max(self._last_commit, segment.last_commit)
        if damaged := self.damaged_files():
            # The number of the last commit may have been in the damaged file: keep every record
            # then.
            self._last_commit = max(self._last_commit, self._records.highest_commit())
        self._records.delete_uncommitted(self._last_commit)
        for segment in self._segments[:-1]:
            segment.close()
        if not self._segments:
            self._new_segment()
        # Each file begins with all of them: those of the ones before are old.
        self._bookmarks = dict(self._segments[-1].bookmarks)
        if damaged:  # the next start must not delete what this one kept
            self._segments[-1].write(commit=self._last_commit, durable=True)
        self._drop_released()

    def _opened(self, path: Path, *, check: bool = True) -> Segment:
        try:
            return Segment.open(path, check=check)
        except DamagedError:
            return salvage(path)

    def _replace_damaged(self) -> None:
        files = (self._records, self._segments[-1])
        for segment in [each for each in files if not each.is_sound()] or files:
            self._replace(segment)

    def _replace(self, damaged: Segment) -> Segment:
        damaged.close()
        sound = salvage(damaged.path, self._last_commit, damaged.spans)
        if damaged is self._records:
            self._records = sound
        else:
            self._segments[self._segments.index(damaged)] = sound
        return sound

    def _new_segment(self) -> None:
        after = int(self._segments[-1].name.split("-")[1]) if self._segments else 0
        path = self.folder / f"samples-{max(self._clock(), after + 1):017d}.db"
        try:
            self._segments.append(Segment.open(path))
        except OperationalError:  # a full disk: leave no stub behind at each attempt
            Segment(path).drop()
            raise

    def _roll_over(self) -> None:
        self._new_segment()
        with suppress(DatabaseError):
            self._segments[-2].close()
        here = {stream: up_to for stream, up_to in self._released.items() if self._has(stream)}
        self._released = here
        self._segments[-1].write(
            released=here,
            counts=self._counts.all(),
            bookmarks=self._bookmarks,
            commit=self._last_commit,
            durable=True,
        )
        self._drop_released()

    def _commit(
        self,
        entries: Sequence[OutboxEntry],
        counts: list[HourCount],
        bookmarks: Mapping[str, str],
    ) -> None:
        # Sequences count only what is on the disk: a commit that fails must leave no hole.
        sequences = dict(self._sequences)
        rows = number_rows(entries, self.boot, sequences, self._clock())
        totals = self._counts.plus(counts)
        samples = [row for row in rows if row.kind is RecordKind.SAMPLES]
        records = [row for row in rows if row.kind is not RecordKind.SAMPLES]
        paired = bool(samples or totals or bookmarks)
        if records or self._uncommitted_records:
            # Two files cannot be synced in one step. The records go first, under the number of a
            # commit that exists only once the segment has it too: a start deletes records beyond
            # the segment's last commit, and reads leave them out. An attempt whose segment then
            # failed left its records here under the same number, so this one replaces them.
            attempt = self._last_commit + 1
            self._records.write(
                records,
                commit=attempt if paired else 0,
                replacing=attempt if self._uncommitted_records else None,
                durable=True,
            )
            self._uncommitted_records = paired
        if paired:
            self._segments[-1].write(
                samples,
                released=self._released,
                counts=totals.values(),
                bookmarks=bookmarks,
                commit=self._last_commit + 1,
                durable=True,
            )
            self._last_commit += 1
        self._uncommitted_records = False
        self._sequences = sequences
        self._counts.keep(totals)
        self._bookmarks |= bookmarks

    def _check_limits(self, entries: Sequence[OutboxEntry]) -> None:
        reserved = all(entry.kind is RecordKind.EVENTS for entry in entries)
        reached = self._limit(reserved)
        if reached is not ReachedLimit.NONE:
            self._reclaim()
            reached = self._limit(reserved)
        if reached is not ReachedLimit.NONE:
            raise OutboxFull(f"outbox {self.folder}: {reached.cause}", reached.step)

    def _limit(self, reserved: bool) -> ReachedLimit:
        """The limit that is reached; `reserved` may use all of the disk, the others leave it a
        tenth."""
        used = sum(segment.size() for segment in self._files())
        return self.limits.reached(
            used, free_share(self.folder), self._oldest_age_s(), reserved=reserved
        )

    def _files(self) -> tuple[Segment, ...]:
        return (self._records, *self._segments)

    def _oldest_age_s(self) -> float:
        waiting = (each.waiting(self._released, self._beyond) for each in self._files())
        oldest = [at for rows, at in waiting if rows]
        return max(0, self._clock() - min(oldest)) / 1e6 if oldest else 0.0

    def _read(self, segment: Segment, after: int, max_bytes: int) -> tuple[list[OutboxRow], int]:
        try:
            return self._rows_of(segment, after, max_bytes)
        except OperationalError as error:
            raise OutboxFull(f"outbox {segment.path}: {error}") from error
        except DatabaseError:
            try:
                return self._rows_of(self._replace(segment), after, max_bytes)
            except DatabaseError as error:
                raise OutboxFull(f"outbox {segment.path}: {error}") from error

    def _rows_of(self, segment: Segment, after: int, max_bytes: int) -> tuple[list[OutboxRow], int]:
        return segment.read(after, max_bytes, self._released, self._last_commit, self._beyond)

    def _delete_records(self, stream: StreamKey, up_to: int) -> None:
        # Only gives back room: reads leave out what is released.
        try:
            self._records.delete(stream, up_to)
        except OperationalError:
            pass
        except DatabaseError:
            self._replace(self._records)

    def _has(self, stream: StreamKey) -> bool:
        return any(stream in segment.spans for segment in self._files())

    def _reclaim(self) -> None:
        """Give back what is only kept for a restart: at a limit, room counts more."""
        newest = self._segments[-1]
        if newest.spans and not newest.waiting(self._released, self._beyond)[0]:
            self._roll_over()
        self._drop_released(keep=1)
        with suppress(DatabaseError):
            self._records.shrink()
            self._segments[-1].shrink()

    def _drop_released(self, keep: int = 2) -> None:
        # The newest two stay: a restart looks there for values that a machine may send again.
        for segment in self._segments[:-keep]:
            if not segment.waiting(self._released, self._beyond)[0]:
                segment.drop()
                self._segments.remove(segment)
        for key in [key for key, ranges in self._beyond.items() if not ranges]:
            del self._beyond[key]
