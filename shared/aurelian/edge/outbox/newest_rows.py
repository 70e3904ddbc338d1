"""How far the files that are written to had come when somebody looked last, so that a log that was
cut off is noticed: SQLite takes the cut for the end. Used by `files.py`.

A small file beside them, written now and then and not synced: after a power cut it may be older
than they are, which only notices less.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

_NAME = "newest-rows.json"


def note_newest(folder: Path, rows: Mapping[str, int]) -> None:
    """Note the id of the newest row of files by their names; a disk that refuses is not told."""
    new = folder / f"{_NAME}-unfinished"
    with suppress(OSError):
        new.write_text(json.dumps(rows))
        new.rename(folder / _NAME)


def read_newest(folder: Path) -> dict[str, int]:
    """What was noted; empty where nothing was, or it cannot be read."""
    with suppress(OSError, ValueError, AttributeError):
        found = json.loads((folder / _NAME).read_text())
        return {name: row for name, row in found.items() if type(row) is int}
    return {}
