"""One process at a time has an outbox: a lock on its folder. Used by `files.py`."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path
from sqlite3 import OperationalError


def hold_folder(folder: Path) -> int:
    """Lock a folder against other processes; the lock ends with the descriptor.

    Raises:
        sqlite3.OperationalError: another process has it.
    """
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(descriptor)
        raise OperationalError("locked by another process") from error
    return descriptor


def renew_folder(folder: Path, descriptor: int) -> int:
    """Hold a folder that was deleted, which is made again, or replaced by another one; the
    descriptor before is closed then.

    Raises:
        FileNotFoundError: it was moved away, and whoever did that may bring it back.
        sqlite3.OperationalError: another process has it.
    """
    held = os.fstat(descriptor)
    try:
        found = folder.stat()
    except FileNotFoundError:
        if held.st_nlink:
            raise
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    else:
        if (found.st_dev, found.st_ino) == (held.st_dev, held.st_ino):
            return descriptor
    new = hold_folder(folder)
    os.close(descriptor)
    return new
