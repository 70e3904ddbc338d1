"""Replace a file whole or not at all, unless somebody changed it meanwhile. Called by commands and
gateways that write plant files. Blocking."""

from __future__ import annotations

import os
import stat
from contextlib import suppress
from pathlib import Path


class ChangedMeanwhileError(Exception):
    """The file is not what was read; the text names it and says what to do."""


def replace_file(path: Path, new: bytes, was: bytes | None) -> None:
    """Write a file: as a new one beside it, synced, put in its place, and the folder synced. Mode,
    owner and symbolic links stay. After a power cut it is the old or the new one.

    Args:
        was: what was read and the new content follows from; None: there was no file.

    Raises:
        ChangedMeanwhileError: the file has another content now, came or went.
        OSError: it cannot be written; the old one is there.
    """
    path = path.resolve()
    known = _as_was(path, was)
    part = path.with_name(f".{path.name}.{os.getpid()}.part")
    part.unlink(missing_ok=True)
    mode = 0o666 if known is None else stat.S_IMODE(known.st_mode)
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, mode & 0o666)
    try:
        with os.fdopen(descriptor, "wb") as file:
            file.write(new)
            if known is not None:
                _keep_owner(file.fileno(), known)
                os.fchmod(file.fileno(), mode)
            file.flush()
            os.fsync(file.fileno())
        _as_was(path, was)
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def _as_was(path: Path, was: bytes | None) -> os.stat_result | None:
    """What is known of the file; None: there is none, as there was none."""
    try:
        now = path.read_bytes()
    except FileNotFoundError:
        if was is None:
            return None
        raise ChangedMeanwhileError(f"{path} is gone: nothing is written; begin again") from None
    if was is None:
        raise ChangedMeanwhileError(f"{path} is there already: nothing is written; read it first")
    if now != was:
        raise ChangedMeanwhileError(
            f"{path} was changed since it was read: nothing is written; begin again"
        )
    return path.stat()


def _keep_owner(descriptor: int, known: os.stat_result) -> None:
    own = os.fstat(descriptor)
    if (own.st_uid, own.st_gid) == (known.st_uid, known.st_gid):
        return
    try:
        os.fchown(descriptor, known.st_uid, known.st_gid)
    except PermissionError:  # only root gives files away; a group of one's own can be kept
        with suppress(PermissionError):
            os.fchown(descriptor, -1, known.st_gid)
