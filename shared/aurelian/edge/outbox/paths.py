"""Names and identities of files. Used by all of `outbox/`."""

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
    try:
        found = os.stat(path)  # noqa: PTH116 - at each commit: a Path would take twice as long
    except FileNotFoundError:
        return None
    return found.st_dev, found.st_ino


def sync_folder(folder: Path) -> None:
    """Let the names in a folder be on the disk."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
