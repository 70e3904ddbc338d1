"""The number of the format of the outbox's files, so that an older version leaves those of a newer
one alone. Used by `tables.py`, `segment.py` and `newer.py`.

It stands in SQLite's `user_version` with a check value: a damaged number is not taken for a newer
format. A file without one is of the time before there were numbers.
"""

from __future__ import annotations

import sqlite3
import zlib
from pathlib import Path

from aurelian.edge.outbox.paths import log_of
from aurelian.edge.outbox.write_ahead_log import read_log

FORMAT = 1
"""Raise it with each change of tables, row forms or checksums that the version before cannot read;
`tests/contract/edge/test_outbox_newer.py` fails where that was forgotten."""

_AT = 60
"""Where `user_version` stands in the first page."""


def format_of(path: Path) -> int:
    """The format of a file, read without SQLite, which would change it; 0: it says none, or none
    that can be believed."""
    page = b""
    log = log_of(path)
    if log.exists():
        found = read_log(log.read_bytes())
        first = [frame.data for frame in found.frames[: found.taken] if frame.page == 1]
        page = first[-1] if first else b""
    if not page and path.exists():
        with path.open("rb") as file:
            page = file.read(100)
    return _number(int.from_bytes(page[_AT : _AT + 4], "big"))


def note_format(db: sqlite3.Connection) -> None:
    """Let a file say the format of what is written to it now, in the transaction that is open."""
    if db.execute("PRAGMA user_version").fetchone()[0] != _coded(FORMAT):
        db.execute(f"PRAGMA user_version = {_coded(FORMAT)}")


def _coded(number: int) -> int:
    return number << 16 | zlib.crc32(b"aurelian outbox %d" % number) & 0xFFFF


def _number(coded: int) -> int:
    number = coded >> 16
    return number if coded == _coded(number) else 0
