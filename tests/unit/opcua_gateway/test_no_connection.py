"""Why there is no connection: the next step stands behind what the system says."""

from __future__ import annotations

import errno
import socket

import pytest

from opcua_gateway.no_connection import why

CASES: list[tuple[BaseException, str]] = [
    (socket.gaierror(-2, "Name or service not known"), "spelled right"),
    (ConnectionRefusedError(111, "Connect call failed ('10.0.0.7', 4840)"), "is the port right"),
    (TimeoutError(), "firewall"),
    (TimeoutError("timed out"), "timed out: no answer in time"),
    (ConnectionResetError(104, "Connection reset by peer"), "own log"),
    (OSError(errno.EHOSTUNREACH, "No route to host"), "right network"),
    (OSError(errno.EMFILE, "Too many open files"), "ulimit"),
]


@pytest.mark.parametrize(("error", "step"), CASES)
def test_a_next_step_stands_behind_the_systems_words(error: BaseException, step: str) -> None:
    said = why(error)
    assert step in said and said.startswith(str(error))


@pytest.mark.parametrize("error", [AssertionError(), ValueError("a"), OSError(5, "I/O error")])
def test_what_has_no_step_stays_as_it_is(error: BaseException) -> None:
    assert why(error) == (str(error) or type(error).__name__)
