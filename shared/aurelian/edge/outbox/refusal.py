"""Why a disk refuses the outbox, in words for people: SQLite says `disk I/O error` of a folder that
may not be written. Used by `outbox.py` and `gateway.py`."""

from __future__ import annotations

import errno
import os
from pathlib import Path

from aurelian.edge.outbox.limits import OutboxFull, OutboxNotWritable

NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
"""Errors of a disk that is full, which is waited for."""

_PROBE = ".may-be-written"
_STEPS = {
    errno.EROFS: "Is the disk broken, or mounted read-only? Mount it to be written",
    errno.EIO: "Look at the disk: the kernel's log says more",
    errno.ENOENT: "Make the folder again, owned by the user of the gateway",
    errno.ENOTDIR: "Make it a folder, owned by the user of the gateway",
    errno.EEXIST: "Make it a folder, owned by the user of the gateway",
}


def refusal_of(folder: Path, error: Exception) -> OutboxFull:
    """The error to raise where the disk refused a write in `folder` with `error`, the kernel's or
    SQLite's."""
    if isinstance(error, OutboxFull):
        return error
    what = str(error)
    if isinstance(error, OSError):
        found: OSError | None = error
    else:
        name = getattr(error, "sqlite_errorname", None)
        if name == "SQLITE_FULL":
            return _no_room(folder, what)
        if name is None:  # ours: another process has it
            return OutboxNotWritable(f"outbox {folder}: {what}", "End the other gateway of it")
        found = write_error(folder)
    if found is None:
        return OutboxNotWritable(f"outbox {folder}: {what}", _STEPS[errno.EIO])
    if found.errno in NO_ROOM:
        return _no_room(folder, found.strerror or what)
    return not_writable("outbox", folder, found)


def not_writable(what: str, folder: Path, error: OSError) -> OutboxNotWritable:
    """The error that says of a folder, its use being `what`, that it cannot be written."""
    reason = error.strerror or str(error)
    user = f"Let the user of the gateway (id {os.geteuid()}) write in it"
    step = _STEPS.get(error.errno or 0, f"{user}: see ls -ld and lsattr -d")
    return OutboxNotWritable(f"{what} {folder} cannot be written: {reason}", step)


def write_error(folder: Path) -> OSError | None:
    """What the kernel says to writing in a folder and its newest file; None: it may be written."""
    try:
        probe = folder / _PROBE
        os.close(os.open(probe, os.O_WRONLY | os.O_CREAT, 0o600))
        probe.unlink()
        for file in folder.glob("*.db*"):
            os.close(os.open(file, os.O_WRONLY))
    except OSError as error:
        return error
    return None


def _no_room(folder: Path, what: str) -> OutboxFull:
    return OutboxFull(f"outbox {folder}: {what}", "Free space on its disk")
