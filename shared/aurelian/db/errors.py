"""Pure: what a failure of the database means for who wrote: wait, refuse the data, or stop. Called
by every loop that writes.

Classes of SQLSTATE: PostgreSQL's documentation, appendix A. psycopg's own exception classes do not
tell them apart: 54000 (a name too long for an index) is an `OperationalError` like a lost
connection, 25006 (read-only after a fail-over) an `InternalError` like a bug.
"""

from __future__ import annotations

from enum import Enum

import psycopg


class Failure(Enum):
    """What to do about a failed statement or transaction."""

    DATA = "data"
    """The rows themselves: refuse those that are at fault and go on."""

    AWAY = "away"
    """The database, its disk, a lock or the session: roll back, wait, do the same again."""

    LATE = "late"
    """Rows that the store cannot take beside live ones (TimescaleDB's limit of what one statement
    may decompress); to others as `AWAY`."""

    TOO_MUCH = "too much"
    """The server took too long for it or had no memory: the same in smaller parts, or later."""

    SETUP = "setup"
    """Rights, schema or login: nothing of this kind can be written until a person mends it."""

    BUG = "bug"
    """Anything else: ours or the server's."""


_DATA = ("22", "23", "54", "42P21", "42P22")
_AWAY = ("08", "40", "53", "57", "58", "55P03", "55006", "25006", "25P02", "25P03")
_LATE = ("53400",)
_TOO_MUCH = ("57014", "25P04", "53200")
_SETUP = ("28", "3D", "3F", "42501", "42P01", "42703", "42883", "0L", "0P")


def classify(error: BaseException) -> Failure:
    """Tell what a failure means, by its SQLSTATE.

    Without one: a lost or refused connection is `AWAY`; a value that psycopg could not send (a null
    character, half a surrogate) is `DATA`.
    """
    state = getattr(error, "sqlstate", None)
    if state is None and isinstance(orig := getattr(error, "orig", None), BaseException):
        return classify(orig)  # SQLAlchemy wraps the driver's error
    if isinstance(state, str):
        for failure, prefixes in (
            (Failure.DATA, _DATA),
            (Failure.LATE, _LATE),
            (Failure.TOO_MUCH, _TOO_MUCH),
            (Failure.AWAY, _AWAY),
            (Failure.SETUP, _SETUP),
        ):
            if state.startswith(prefixes):
                return failure
        return Failure.BUG
    if isinstance(error, psycopg.DataError | UnicodeError | OverflowError):
        return Failure.DATA
    if isinstance(error, psycopg.OperationalError | psycopg.InterfaceError):
        return Failure.AWAY
    return Failure.BUG


def is_away(error: BaseException) -> bool:
    """True where the same work may be done again with a new connection."""
    return classify(error) in (Failure.AWAY, Failure.LATE, Failure.TOO_MUCH)
