"""One process at a time has an outbox: a lock on its folder. Used by `outbox.py`."""

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
