"""Which errors of SQLite say that a file is damaged, and which that the disk refuses. Used by all
of `outbox/`."""

from __future__ import annotations

import functools
import os
import sqlite3
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Concatenate, ParamSpec, Protocol, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

_REFUSALS = {
    sqlite3.SQLITE_BUSY,
    sqlite3.SQLITE_LOCKED,
    sqlite3.SQLITE_FULL,
    sqlite3.SQLITE_IOERR,
    sqlite3.SQLITE_READONLY,
    sqlite3.SQLITE_CANTOPEN,
    sqlite3.SQLITE_PERM,
    sqlite3.SQLITE_NOMEM,
    sqlite3.SQLITE_INTERRUPT,
}


class DamagedError(sqlite3.DatabaseError):
    """What stands in the file cannot be what was written to it."""


class _HasPath(Protocol):
    path: Path


S = TypeVar("S", bound=_HasPath)


def tell_damage(method: Callable[Concatenate[S, P], T]) -> Callable[Concatenate[S, P], T]:
    """Let a method that reads or writes a file (its `path`) raise `sqlite3.OperationalError` only
    where the disk refuses, and `DamagedError` where the file is damaged."""

    @functools.wraps(method)
    def told(self: S, /, *args: P.args, **kwargs: P.kwargs) -> T:
        try:
            return method(self, *args, **kwargs)
        except DamagedError:
            raise
        except sqlite3.OperationalError as error:
            if _refuses(error, self.path):
                raise
            raise DamagedError(f"{self.path.name}: {error}") from error
        except (sqlite3.DatabaseError, UnicodeError, OverflowError, zlib.error) as error:
            # UnicodeError: the message of SQLite quotes a damaged schema.
            raise DamagedError(f"{self.path.name}: {error}") from error

    return told


def _refuses(error: sqlite3.OperationalError, path: Path) -> bool:
    code = getattr(error, "sqlite_errorcode", sqlite3.SQLITE_ERROR) & 0xFF
    if code == sqlite3.SQLITE_READONLY and path.exists() and "query_only" not in str(error):
        # A damaged number of the format makes SQLite call a file read-only that is not.
        return not os.access(path, os.W_OK) or _format_is_known(path)
    return code in _REFUSALS


def _format_is_known(path: Path) -> bool:
    with path.open("rb") as file:
        return file.read(20)[18:] in (b"\1\1", b"\2\2")
