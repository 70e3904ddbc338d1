"""Which of its servers a source takes: it stays as long as it can, and does not flap."""

from __future__ import annotations

import pytest

from aurelian.model.time import now_us
from opcua_gateway.failures import SessionLost
from opcua_gateway.redundancy import (
    HOLD_S,
    LONGEST_REST_S,
    REST_S,
    Server,
    Servers,
    ServiceClass,
    class_of,
)
from opcua_gateway.server_status import ServerStatus

GONE = SessionLost("it is gone")


def make(*levels: int | None) -> Servers:
    servers = Servers("opc.tcp://a", [f"opc.tcp://{n}" for n in range(len(levels) - 1)], "hot")
    for server, level in zip(servers.all, levels, strict=True):
        server.level = level
    return servers


@pytest.mark.parametrize(
    ("level", "meant"),
    [
        (0, ServiceClass.MAINTENANCE),
        (1, ServiceClass.NO_DATA),
        (2, ServiceClass.DEGRADED),
        (199, ServiceClass.DEGRADED),
        (200, ServiceClass.HEALTHY),
        (255, ServiceClass.HEALTHY),
    ],
)
def test_a_service_level_is_of_one_of_four_classes(level: int, meant: ServiceClass) -> None:
    assert class_of(level) is meant


def test_a_server_that_is_down_has_no_data_whatever_level_it_says() -> None:
    server = Server("opc.tcp://a")
    for status, level in (
        (ServerStatus(state=0, level=180), 180),
        (ServerStatus(state=0), 255),
        (ServerStatus(state=4, level=255), 1),
        (ServerStatus(state=4, level=0), 0),
        (None, None),
    ):
        server.note(status)
        assert server.level == level


def test_a_better_class_counts_after_it_held_and_a_higher_level_of_the_same_class_never() -> None:
    servers = make(210, 255, None)
    assert servers.better(0) is servers.better(100) is None
    servers.active.level = 199
    assert servers.better(100) is None
    assert servers.better(100 + HOLD_S - 0.1) is None
    assert servers.better(100 + HOLD_S) is servers.all[1]
    # For a moment it was as good: the time begins anew.
    servers.active.level = 230
    assert servers.better(101 + HOLD_S) is None
    servers.active.level = 199
    assert servers.better(102 + HOLD_S) is None


def test_others_that_are_better_by_turns_are_better_all_the_time() -> None:
    """Two healthy servers whose levels cross all the time: the degraded one was never left."""
    servers, found = make(100, 250, 240), []
    for tenth in range(int(HOLD_S * 10) + 1):
        servers.all[1].level, servers.all[2].level = (250, 240) if tenth % 2 else (240, 250)
        found.append(servers.better(tenth / 10))
    assert set(found[:-1]) == {None} and found[-1] in servers.others
    # But not one that is healthy where the other one is not: it has held for no time.
    servers = make(100, 250, 150)
    for tenth in range(60):
        servers.all[1].level, servers.all[2].level = (250, 150) if tenth % 2 else (150, 250)
        assert servers.better(tenth / 10) is None


def test_after_a_move_it_stays_a_while_and_longer_after_each() -> None:
    servers, now, rests = make(100, 255), 0.0, []
    for _ in range(8):
        servers.better(now)
        began = now
        while (to := servers.better(now)) is None:
            now += 0.5
        rests.append(now - began)
        active = servers.active
        servers.move(to, now)
        active.level, servers.active.level = 255, 100
    assert rests[:4] == [HOLD_S, REST_S, 2 * REST_S, 4 * REST_S]
    assert max(rests) == LONGEST_REST_S


def test_what_cannot_be_connected_to_is_passed_over_and_after_all_there_is_a_pause() -> None:
    servers = make(None, None, 100)
    a, b, c = servers.all
    assert not servers.failed(GONE) and servers.active is c  # it stands by
    assert not servers.failed(GONE) and servers.active is b
    assert servers.failed(GONE) and servers.active is c
    # One that stood is first gone back to, then the others.
    servers.connected()
    assert not servers.failed(GONE) and servers.active is a
    # It is said why one is away until it stands, or says how it is; since when, of the first time.
    assert c.lost is GONE and 0 < c.lost_at <= now_us()
    again, since = SessionLost("again"), c.lost_at
    c.lose(again)
    assert (c.lost, c.lost_at) == (again, since)
    c.note(ServerStatus(level=255))
    assert c.lost is None
    alone = make(255)
    assert alone.failed(GONE) and alone.active is alone.all[0]


def test_further_servers_are_taken_once() -> None:
    servers = make(255, 255)
    found = [("opc.tcp://0", "urn:0"), ("opc.tcp://x", "urn:x"), ("opc.tcp://x", "urn:x")]
    assert [(each.url, each.uri) for each in servers.add(found)] == [("opc.tcp://x", "urn:x")]
    assert not servers.add(found)
    servers.begin_with("opc.tcp://x")
    assert servers.active.url == "opc.tcp://x"
    servers.begin_with("opc.tcp://unknown")
    assert servers.active.url == "opc.tcp://x"
