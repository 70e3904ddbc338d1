"""Failures of the database, by SQLSTATE: what waits, what is refused, what stops."""

import psycopg
import pytest
from psycopg import errors
from sqlalchemy.exc import DBAPIError

from aurelian.db.errors import Failure, classify

STATES = {
    Failure.DATA: ["22001", "22003", "22021", "22P02", "22P05", "23502", "23505", "54000", "54001"],
    Failure.AWAY: [
        "08006", "40001", "40P01", "53100", "53300", "55P03", "57P01",
        "57P02", "57P03", "57P05", "58030", "25006", "25P02", "25P03",
    ],
    Failure.LATE: ["53400"],
    Failure.TOO_MUCH: ["53200", "57014", "25P04"],
    Failure.SETUP: ["28000", "28P01", "3D000", "3F000", "42501", "42P01", "42703", "42883"],
    Failure.BUG: ["0A000", "21000", "42601", "42804", "XX000", "XX001", "XX002", "P0001", "F0000"],
}  # fmt: skip


@pytest.mark.parametrize(
    ("failure", "state"), [(kind, state) for kind, states in STATES.items() for state in states]
)
def test_each_sqlstate_has_its_class(failure: Failure, state: str) -> None:
    try:
        error: psycopg.Error = errors.lookup(state)("it failed")
    except KeyError:  # a state that psycopg does not know
        error = psycopg.DatabaseError("it failed")
        error.sqlstate = state
    assert classify(error) is failure
    assert classify(DBAPIError("SELECT 1", {}, error)) is failure


def test_failures_without_a_sqlstate() -> None:
    assert classify(psycopg.OperationalError("the connection is closed")) is Failure.AWAY
    assert classify(psycopg.InterfaceError("the connection is closed")) is Failure.AWAY
    assert classify(psycopg.DataError("text fields cannot contain NUL bytes")) is Failure.DATA
    try:
        "\ud800".encode()
    except UnicodeEncodeError as error:
        assert classify(error) is Failure.DATA
    assert classify(KeyError("x")) is Failure.BUG
    assert classify(AssertionError()) is Failure.BUG
