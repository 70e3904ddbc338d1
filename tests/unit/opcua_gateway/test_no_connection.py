"""Why there is no connection: the next step stands behind what the system says."""

from __future__ import annotations

import errno
import socket

import pytest
from asyncua import ua

from opcua_gateway.no_connection import why
from opcua_gateway.session import SessionLost, translated

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
    with pytest.raises(SessionLost) as lost, translated("connect to it"):
        raise error
    said = f"cannot connect to it: {error}"
    assert str(lost.value).startswith(said.rstrip(" :")) and step in str(lost.value)
    # The pages show both apart.
    assert lost.value.reason == said.rstrip(" :") and str(lost.value).endswith(lost.value.step)


@pytest.mark.parametrize("error", [AssertionError(), ValueError("a"), OSError(5, "I/O error")])
def test_what_has_no_step_stays_as_it_is(error: BaseException) -> None:
    assert why(error) == (str(error) or type(error).__name__, "")


@pytest.mark.parametrize(
    ("name", "step"),
    [("BadTooManySessions", "let the server allow more"), ("BadTcpEndpointUrlInvalid", "the port")],
)
def test_what_a_server_has_too_many_of_is_said_with_what_to_do(name: str, step: str) -> None:
    with pytest.raises(SessionLost) as lost, translated("open a session"):
        raise ua.UaStatusCodeError(getattr(ua.StatusCodes, name))
    assert name in lost.value.reason and step in lost.value.step
    assert name in str(lost.value) and step in str(lost.value)
