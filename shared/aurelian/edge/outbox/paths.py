"""Names, sizes and identities of files. Used by all of `outbox/`.

What is asked at each commit takes names as text: a Path takes several times as long.
"""

from __future__ import annotations

import os
from pathlib import Path

Identity = tuple[int, int]
"""What a file is, whatever its name: device and inode."""


def log_of(path: Path) -> Path:
    """Where SQLite keeps the write-ahead log of a file."""
    return path.with_name(f"{path.name}-wal")


def identity_of(path: str) -> Identity | None:
    """What stands at a path; None: nothing does."""
    found = _status(path)
    return None if found is None else (found.st_dev, found.st_ino)


def size_of(path: str) -> int:
    """Bytes of what stands at a path; 0: nothing does."""
    found = _status(path)
    return 0 if found is None else found.st_size


def _status(path: str) -> os.stat_result | None:
    try:
        return os.stat(path)  # noqa: PTH116
    except FileNotFoundError:
        return None


def sync_folder(folder: Path) -> None:
    """Let the names in a folder be on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
