"""The files of one outbox: life-cycle records in one, batches in segments, and what of them is
released. Used by `outbox.py`, which numbers and commits.
"""

from __future__ import annotations

import logging
import os
from collections.abc import Callable, Sequence
from contextlib import suppress
from pathlib import Path
from sqlite3 import DatabaseError, OperationalError

from aurelian.edge.outbox.damage import DamagedError
from aurelian.edge.outbox.limits import OutboxFull
from aurelian.edge.outbox.lock import hold_folder, renew_folder
from aurelian.edge.outbox.missing import restore
from aurelian.edge.outbox.newer import sort_out_newer
from aurelian.edge.outbox.newest_rows import note_newest, read_newest
from aurelian.edge.outbox.paths import sync_folder
from aurelian.edge.outbox.reports import note_lost, unreported
from aurelian.edge.outbox.rows import EVENTS, REJECTED, Beyond, OutboxRow, StreamKey, settle
from aurelian.edge.outbox.salvage import finish_salvages, salvage
from aurelian.edge.outbox.segment import Segment

log = logging.getLogger(__name__)


class Files:
    """Not thread safe. `clock` gives microseconds since 1970.

    Attributes:
        folder: where they stand.
        records: the file of life-cycle records, alarms and rejected bytes.
        segments: the files of batches, oldest first; the newest takes what comes.
        released: up to which sequence each stream is stored.
        beyond: what of each stream is stored after a hole.
        last_commit: number of the newest commit that is complete.
    """

    def __init__(self, folder: Path, clock: Callable[[], int]) -> None:
        self.folder, self._clock = folder, clock
        self.records = Segment(folder / "records.db")
        self.segments: list[Segment] = []
        self.released: dict[StreamKey, int] = {}
        self.beyond: Beyond = {}
        self.last_commit = 0
        self._noted: dict[str, int] = {}
        self._lock: int | None = None

    def open(self) -> None:
        """Hold the folder, and open or make what stands in it; what is damaged or of a newer
        version is set aside."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        self._lock = hold_folder(self.folder)
        is_changed = sort_out_newer(self.folder)
        finish_salvages(self.folder)
        self.records = self._opened(self.folder / "records.db")
        paths = sorted(self.folder.glob("samples-*.db"))
        self.segments = [self._opened(path, check=path in paths[-2:]) for path in paths]
        for segment in self.segments:
            for stream, up_to in segment.released.items():
                self.released[stream] = max(up_to, self.released.get(stream, 0))
            self.last_commit = max(self.last_commit, segment.last_commit)
        if not is_changed and not unreported(self.folder):
            self._find_cut_off()
        if is_changed := is_changed or bool(unreported(self.folder)):
            # The number of the last commit may have been in the file that is not here: keep every
            # record then.
            self.last_commit = max(self.last_commit, self.records.highest_commit())
        self.records.delete_uncommitted(self.last_commit)
        for segment in self.segments[:-1]:
            segment.close()
        if not self.segments:
            self.add_segment()
        if is_changed:  # the next start must not delete what this one kept
            self.segments[-1].write(commit=self.last_commit, durable=True)

    def close(self) -> None:
        """Note what is released and close them."""
        if self.segments:
            with suppress(DatabaseError, OSError):
                self.segments[-1].write(released=self.released, durable=False)
            with suppress(DatabaseError, OSError):
                self.note_newest()
        for segment in self.all():
            segment.close()
        if self._lock is not None:
            os.close(self._lock)
            self._lock = None

    def all(self) -> tuple[Segment, ...]:
        """All of them, the records first."""
        return (self.records, *self.segments)

    def has(self, stream: StreamKey) -> bool:
        """Whether rows of a stream stand in one of them."""
        return any(stream in segment.spans for segment in self.all())

    def used(self) -> int:
        """Bytes on the disk."""
        return sum(segment.size() for segment in self.all())

    def waiting(self) -> tuple[int, float]:
        """How many rows nobody has stored, and the age of the oldest in seconds, about."""
        found = [segment.waiting(self.released, self.beyond) for segment in self.all()]
        oldest = [at for rows, at in found if rows]
        age_s = max(0, self._clock() - min(oldest)) / 1e6 if oldest else 0.0
        return sum(rows for rows, _ in found), age_s

    def read(self, segment: Segment, after: int, max_bytes: int) -> tuple[list[OutboxRow], int]:
        """Unreleased rows of one of them, see `Segment.read`; a damaged one is replaced before.

        Raises:
            OutboxFull: the disk refuses.
        """
        for attempt in (1, 2):
            try:
                return segment.read(after, max_bytes, self.released, self.last_commit, self.beyond)
            except (OperationalError, OSError, DamagedError) as error:
                if attempt == 2:
                    raise OutboxFull(f"outbox {segment.path}: {error}") from error
                segment = self._mended(segment, error)
                if segment not in self.all():
                    break
        return [], after

    def rewrite(self, segment: Segment, rows: Sequence[OutboxRow]) -> None:
        """Let a file that is not written to any more hold these rows, under the ids that they
        have."""
        new = Segment(segment.path.with_suffix(".unfinished"))
        new.drop()
        try:
            new.write(
                numbered=[(row, 0) for row in rows],
                released=segment.released,
                counts=segment.counts.values(),
                bookmarks=segment.bookmarks,
                commit=segment.last_commit,
                durable=True,
            )
        except (DatabaseError, OSError):
            new.drop()
            raise
        new.close()
        segment.close()
        new.path.replace(segment.path)
        sync_folder(self.folder)
        self.segments[self.segments.index(segment)] = Segment.open(segment.path, check=False)

    def release(self, key: StreamKey, up_to: int, beyond: Sequence[tuple[int, int]]) -> None:
        """See `Outbox.release`."""
        before = self.released.get(key, 0)
        up_to, ranges = settle([*self.beyond.get(key, ()), *beyond], max(before, up_to))
        self.beyond[key] = ranges
        # A disk without room for the log refuses: they are not read again, and go later.
        if up_to > before:
            self.released[key] = up_to
            if key.stream in (EVENTS, REJECTED):
                self._delete_records(key, up_to)
        with suppress(DatabaseError):
            self.drop_released()

    def add_segment(self) -> None:
        """Begin a new segment."""
        # Also after one that was set aside: it may come back under its name.
        names = [path.name.split(".")[0] for path in self.folder.glob("samples-*")]
        after = max((int(name.split("-")[1]) for name in names), default=0)
        path = self.folder / f"samples-{max(self._clock(), after + 1):017d}.db"
        try:
            self.segments.append(Segment.open(path))
        except OperationalError:  # a full disk: leave no stub behind at each attempt
            Segment(path).drop()
            raise

    def drop_released(self, keep: int = 2) -> None:
        """Delete segments whose rows are all stored."""
        # The newest two stay: a restart looks there for values that a machine may send again.
        for segment in self.segments[:-keep]:
            if not segment.waiting(self.released, self.beyond)[0]:
                segment.drop()
                self.segments.remove(segment)
        for key in [key for key, ranges in self.beyond.items() if not ranges]:
            del self.beyond[key]

    def replace_damaged(self) -> None:
        """Replace whichever of the two that are written to does not pass its check."""
        files = (self.records, self.segments[-1])
        for segment in [each for each in files if not each.is_sound()] or files:
            self._replace(segment)

    def restore_missing(self, *, all_files: bool) -> None:
        """Make new what was deleted, moved away or replaced while it was in use, see `missing.py`.
        Not `all_files`: look at the two that are written to, which is cheap."""
        looked_at = self.all() if all_files else (self.records, self.segments[-1])
        if self._lock is None or all(each.is_in_place() for each in looked_at):
            return
        self._lock = renew_folder(self.folder, self._lock)
        missing = [each for each in self.all() if not each.is_in_place()]
        gone = restore(missing, self.segments[-1], self.released, self.beyond, self.last_commit)
        self.segments = [each for each in self.segments if each not in gone]
        self.note_newest()

    def note_newest(self) -> None:
        """Note how far the files are, for a start that finds less."""
        rows = {each.name: each.newest_id() for each in (self.records, self.segments[-1])}
        if rows != self._noted:
            note_newest(self.folder, rows)
            self._noted = rows

    def _find_cut_off(self) -> None:
        """Note the loss where a file ends before what was known to be in it."""
        noted = read_newest(self.folder)
        for segment in self.all():
            rows = noted.get(segment.name, 0) - segment.newest_id() if segment.name in noted else 0
            # A commit that was cut off by a crash leaves its records, under the next number.
            if segment in self.segments[-1:] and not rows:
                rows = max(0, self.records.highest_commit() - self.last_commit - 1)
            if rows > 0:
                ends = [span.last_at for span in segment.spans.values()]
                reason = (
                    f"outbox file {segment.path.name} is cut off: it had {rows} more records, or "
                    "commits, when it was written last"
                )
                begin = max(ends, default=0)
                note_lost(self.folder, segment.name, begin, self._clock(), reason, rows)
                fields = {"file": str(segment.path), "error": reason}
                log.error("outbox file is cut off", extra={"fields": fields})

    def _opened(self, path: Path, *, check: bool = True) -> Segment:
        try:
            return Segment.open(path, check=check)
        except DamagedError:
            return salvage(path)

    def _mended(self, segment: Segment, error: Exception) -> Segment:
        """What a file that cannot be read is replaced by."""
        try:
            match error:
                case DamagedError():
                    return self._replace(segment)
                case FileNotFoundError():
                    self.restore_missing(all_files=True)
                    return segment
        except (DatabaseError, OSError) as why:
            raise OutboxFull(f"outbox {segment.path}: {why}") from why
        raise OutboxFull(f"outbox {segment.path}: {error}") from error

    def _replace(self, damaged: Segment) -> Segment:
        damaged.close()
        sound = salvage(damaged.path, self.last_commit, damaged.spans)
        if damaged is self.records:
            self.records = sound
        else:
            self.segments[self.segments.index(damaged)] = sound
        return sound

    def _delete_records(self, stream: StreamKey, up_to: int) -> None:
        # Only gives back room: reads leave out what is released.
        try:
            self.records.delete(stream, up_to)
        except (OperationalError, OSError):
            pass
        except DatabaseError:
            self._replace(self.records)
