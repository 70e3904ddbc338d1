"""Files of a newer version: set aside as they are, and taken back by a version that can read them.
Called by `outbox.py` before it opens any file.

A file and its log are two renames. Whatever a power cut left between them is one state, the file
aside and its log not, and `_finish` ends it.
"""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from aurelian.edge.outbox import file_format
from aurelian.edge.outbox.damage import DamagedError
from aurelian.edge.outbox.file_format import format_of
from aurelian.edge.outbox.paths import log_of
from aurelian.edge.outbox.rows import OutboxRow
from aurelian.edge.outbox.salvage import read_damaged
from aurelian.edge.outbox.segment import Segment

log = logging.getLogger(__name__)

NEWER_STEP = "Run the newer version again to send what is in it"
_NEWER = ".newer"
NEWER_REPORTED = ".newer-reported"
"""Beside a file of a newer version, which keeps its name: its gap record is on the disk."""


def sort_out_newer(folder: Path) -> bool:
    """Take back what is of our format or an older one, then set aside what a newer version wrote:
    nobody of ours opens, changes or deletes it. True where any file was moved."""
    _finish(folder)
    return any([*_take_back(folder), *_set_aside(folder)])


def newer_files(folder: Path) -> list[Path]:
    """Files of a newer version that wait for it."""
    return sorted(folder.glob(f"*{_NEWER}"))


def newer_reason(path: Path) -> str:
    """Why a file was set aside, in words."""
    number, ours = format_of(path), file_format.FORMAT
    return (
        f"outbox file {path.name} is of a newer version (format {number}, this one reads {ours}); "
        "its values wait in it"
    )


def _set_aside(folder: Path) -> Iterator[Path]:
    found = [*folder.glob("records*.db"), *folder.glob("samples-*.db"), *folder.glob("*.damaged")]
    for path in sorted(found):
        if format_of(path) <= file_format.FORMAT:
            continue
        aside = path.with_suffix(_NEWER)
        number = 1
        while aside.exists():  # records.db where the version was changed to and fro
            number += 1
            aside = path.with_name(f"{path.stem}.{number}{_NEWER}")
        path.rename(aside)
        if log_of(path).exists():
            log_of(path).rename(log_of(aside))
        fields = {"file": str(aside), "error": newer_reason(aside), "step": NEWER_STEP}
        log.error("outbox file of a newer version set aside", extra={"fields": fields})
        yield aside


def _take_back(folder: Path) -> Iterator[Path]:
    for aside in newer_files(folder):
        if format_of(aside) > file_format.FORMAT:
            continue
        path = _origin(aside)
        if path.exists():
            _add_records(aside, path)
        else:
            if log_of(aside).exists():
                log_of(aside).rename(log_of(path))
            aside.rename(path)
        aside.with_suffix(NEWER_REPORTED).unlink(missing_ok=True)
        log.info("outbox file taken back", extra={"fields": {"file": str(path)}})
        yield path


def _finish(folder: Path) -> None:
    for aside in reversed(newer_files(folder)):
        path = _origin(aside)
        if log_of(path).exists() and not path.exists() and not log_of(aside).exists():
            log_of(path).rename(log_of(aside))


def _origin(aside: Path) -> Path:
    return aside.with_name(f"{aside.name.split('.')[0]}.db")


def _add_records(aside: Path, path: Path) -> None:
    """Add the records of a file to those of another, once: a process may end in the middle."""
    ours = Segment.open(path)
    try:
        there = {(row.stream_key, row.sequence) for row in _rows(ours)}
        # Commit 0 is always complete. So may be a record here whose commit was not: its source
        # sends it again, and it is there twice.
        added = [
            (replace(row, id=0), 0)
            for row in _rows_of(aside)
            if (row.stream_key, row.sequence) not in there
        ]
        ours.write(numbered=added, durable=True)
    finally:
        ours.close()
    Segment(aside).drop()


def _rows_of(aside: Path) -> list[OutboxRow]:
    theirs = Segment(aside)
    try:
        return list(_rows(theirs))
    except DamagedError:
        theirs.close()
        return [row for row, _ in read_damaged(aside).rows]
    finally:
        theirs.close()


def _rows(segment: Segment) -> Iterator[OutboxRow]:
    after = 0
    while True:
        rows, after = segment.read(after, 2**20, {}, 2**62, {})
        if not rows:
            return
        yield from rows
