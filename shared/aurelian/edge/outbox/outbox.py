"""The gateway's write-ahead store: what is appended here is on the disk before a machine gets its
acknowledgement.

Owned by `gateway.run_gateway`; one thread at a time calls it, never the event loop (it blocks on
the disk). One row per encoded record. Batches of samples stand in segment files, in the form of
`compact.py`, each file dropped whole when all its rows are released; life-cycle records, alarms and
rejected bytes stand in a file of their own. SQLite in WAL mode, synchronous=FULL: when `append`
returns, the log that holds the rows is synced.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from sqlite3 import DatabaseError, OperationalError

from aurelian.edge.outbox.files import Files
from aurelian.edge.outbox.hour_counts import HourCounts
from aurelian.edge.outbox.limits import Level, Limits, OutboxFull, ReachedLimit, free_share
from aurelian.edge.outbox.newer import newer_files
from aurelian.edge.outbox.refusal import refusal_of
from aurelian.edge.outbox.reports import SetAside, unreported
from aurelian.edge.outbox.rows import (
    START,
    HourCount,
    OutboxEntry,
    OutboxRow,
    Position,
    RecordKind,
    StreamKey,
    number_rows,
)
from aurelian.edge.outbox.thin import Loss, thin


class Outbox:
    """One gateway's outbox. Not thread safe; a context manager. `boot` numbers this run, see
    `open`."""

    def __init__(self, folder: Path, boot: int, limits: Limits, clock: Callable[[], int]) -> None:
        self.folder, self.boot, self.limits, self._clock = folder, boot, limits, clock
        self._sequences: dict[str, int] = {}
        self._files = Files(folder, clock)
        self._counts = HourCounts(boot)
        self._bookmarks: dict[str, str] = {}
        self._uncommitted_records = False
        self._thinned: set[str] = set()

    @classmethod
    def open(
        cls,
        folder: Path,
        boot: int,
        limits: Limits | None = None,
        clock: Callable[[], int] = lambda: time.time_ns() // 1000,
    ) -> Outbox:
        """Open or make the outbox in `folder`. A damaged file is set aside (`unreported`), never
        an error.

        `boot`: microseconds since 1970 at process start; sequences begin at 1 in each boot, rows of
        older boots keep theirs. `clock` gives microseconds since 1970.

        Raises:
            OutboxFull: the disk has no room; OutboxNotWritable: it lets nobody write.
        """
        self = cls(folder, boot, limits or Limits(), clock)
        try:
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
        self._files.close()

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
            self._files.restore_missing(all_files=False)
            self._check_limits(entries)
            limits, newest = self.limits, self._files.segments[-1]
            if newest.is_due(limits.segment_bytes, limits.segment_age_s, self._clock()):
                self._roll_over()
            self._commit(entries, list(counts), bookmarks or {})
        except (OperationalError, OSError) as error:
            raise refusal_of(self.folder, error) from error
        except DatabaseError as error:
            with suppress(OperationalError, OSError):  # a full disk: found again with the next one
                self._files.replace_damaged()
            raise OutboxFull(f"outbox {self.folder}: {error}; a file is damaged") from error

    def unsent(
        self, after: Position = START, max_bytes: int = 2**20
    ) -> tuple[list[OutboxRow], Position]:
        """Rows that nobody has stored, in the order of appending, from `after` on; and where to go
        on.

        Ends after `max_bytes` (at least one row is given if there is one). Life-cycle records come
        first. Begin at `START` again to have everything that is unreleased sent again.
        """
        rows, record = self._files.read(self._files.records, after.record, max_bytes)
        left = max_bytes - sum(len(row.data) for row in rows)
        place, row_id = after.segment, after.row
        for segment in [each for each in self._files.segments if each.name >= after.segment]:
            if left <= 0:
                break
            found, reached = self._files.read(
                segment, row_id if segment.name == after.segment else 0, left
            )
            rows += found
            left -= sum(len(row.data) for row in found)
            place, row_id = segment.name, reached
        for segment in self._files.segments[:-1]:
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
        if self._files.has(key):
            self._files.release(key, up_to, beyond)

    def level(self) -> Level:
        """How full the outbox is, and whether it takes samples."""
        rows, oldest_age_s = self._files.waiting()
        return Level(
            rows=rows,
            bytes=self._files.used(),
            oldest_age_s=oldest_age_s,
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
        for segment in reversed(self._files.segments):
            if len(rows) >= max_rows:  # looking into all of them would open all of them
                break
            with suppress(DatabaseError):
                rows = segment.last(max_rows - len(rows)) + rows
        return rows

    def look_after_files(self) -> None:
        """Make new what was deleted, moved away or replaced while it was in use, and note how far
        the files are. `append` looks only at those that it writes to, so call this now and then.

        Raises:
            OutboxFull: the disk refuses.
        """
        try:
            self._files.restore_missing(all_files=True)
            self._files.note_newest()
        except (DatabaseError, OSError) as error:
            raise refusal_of(self.folder, error) from error

    def thin_oldest(
        self,
        report: Callable[[Sequence[Loss]], tuple[Sequence[OutboxEntry], Sequence[HourCount]]],
    ) -> int:
        """Leave values out of the oldest file that has some to spare, see `thin.py`; life-cycle
        records, alarms and rejected bytes stay. Returns how many values; 0: there is no such file.

        `report`: makes the records and counts of what will be left out. They are on the disk before
        the values go, whatever the limits are.

        Raises:
            OutboxFull: the disk refuses; nothing was left out.
        """
        files = self._files
        try:
            for segment in files.segments[:-1]:
                if segment.name in self._thinned:
                    continue
                rows, _ = files.read(segment, 0, 2**62)
                thinned, losses = thin(rows)
                if losses:
                    entries, counts = report(losses)
                    self._commit(entries, list(counts), {})
                    files.rewrite(segment, thinned)
                self._thinned.add(segment.name)
                if losses:
                    return sum(loss.count for loss in losses)
        except (DatabaseError, OSError) as error:
            raise refusal_of(self.folder, error) from error
        return 0

    def unreported(self) -> list[SetAside]:
        """Files that were set aside or are gone and have no gap record yet; see
        `confirm_reported`."""
        return unreported(self.folder)

    def newer_files(self) -> list[Path]:
        """Files that a newer version wrote: they wait for it, whether there is a gap record of them
        or not."""
        return newer_files(self.folder)

    def _load(self) -> None:
        self._files.open()
        for segment in self._files.segments:
            self._counts.keep(segment.counts)
        # Each file begins with all of them: those of the ones before are old.
        self._bookmarks = dict(self._files.segments[-1].bookmarks)
        self._files.drop_released()

    def _roll_over(self) -> None:
        files = self._files
        files.add_segment()
        with suppress(DatabaseError):
            files.segments[-2].close()
        files.released = {key: up_to for key, up_to in files.released.items() if files.has(key)}
        files.segments[-1].write(
            released=files.released,
            counts=self._counts.all(),
            bookmarks=self._bookmarks,
            commit=files.last_commit,
            durable=True,
        )
        files.drop_released()

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
            attempt = self._files.last_commit + 1
            self._files.records.write(
                records,
                commit=attempt if paired else 0,
                replacing=attempt if self._uncommitted_records else None,
                durable=True,
            )
            self._uncommitted_records = paired
        if paired:
            self._files.segments[-1].write(
                samples,
                released=self._files.released,
                counts=totals.values(),
                bookmarks=bookmarks,
                commit=self._files.last_commit + 1,
                durable=True,
            )
            self._files.last_commit += 1
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
        files = self._files
        free, (_, oldest_age_s) = free_share(self.folder), files.waiting()
        return self.limits.reached(files.used(), free, oldest_age_s, reserved=reserved)

    def _reclaim(self) -> None:
        """Give back what is only kept for a restart: at a limit, room counts more."""
        files = self._files
        newest = files.segments[-1]
        if newest.spans and not newest.waiting(files.released, files.beyond)[0]:
            self._roll_over()
        files.drop_released(keep=1)
        with suppress(DatabaseError):
            files.records.shrink()
            files.segments[-1].shrink()
