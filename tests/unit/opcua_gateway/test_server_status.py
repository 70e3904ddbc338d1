"""What a server says of its state, and what of before it does not count."""

from __future__ import annotations

import time

import pytest

from aurelian.model.sample import ValueType
from opcua_gateway.decode.notifications import Published
from opcua_gateway.mapping import Notification
from opcua_gateway.server_status import ServerStatus

READ = 1_790_000_000_000_000
FIRST = 7


def said(state: int, at: int | None) -> Published:
    value = Notification(FIRST, state, ValueType.INT64, 0, at, None)
    return Published(1, 1, (), False, others=(value,))


@pytest.mark.parametrize(
    ("at", "ago_s", "is_down"),
    [
        (READ - 1, 0.0, True),  # sampled before the state was read
        (READ, 0.0, False),
        (READ + 1, 0.0, False),
        (None, 0.0, False),  # nobody knows
        (READ - 3_600_000_000, 60.0, False),  # its clock was set back
    ],
)
def test_a_state_of_before_ends_no_downtime_that_was_read_after_it(
    at: int | None, ago_s: float, is_down: bool
) -> None:
    status = ServerStatus(state=4, said_at=READ, read_at=time.monotonic() - ago_s)
    status.take(said(0, at), FIRST)
    assert status.is_down is is_down


def test_an_older_state_of_being_down_counts_all_the_same() -> None:
    status = ServerStatus(state=0, said_at=READ, read_at=time.monotonic())
    status.take(said(4, READ - 5), FIRST)
    assert status.is_down


def test_without_a_time_of_its_own_whatever_comes_counts() -> None:
    status = ServerStatus(state=4)
    status.take(said(0, READ - 5), FIRST)
    assert not status.is_down
