"""Values that other clients lost, doubled, froze or got wrong, as their users told it, tried on the
OPC UA gateway: the thread is named in each test. The server is node-opcua; what it does not do by
itself a relay does to its messages."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from aurelian.edge.contract import Reading, apply
from aurelian.edge.gateway import Delivery
from aurelian.model.evidence import vouches
from aurelian.model.sample import Flag, Sample
from tests.integration.opcua_gateway.test_chaos import births, gaps, newest
from tests.integration.opcua_gateway.test_chaos_more import (
    WITH_VALUES,
    arrived,
    now_ms,
    sent,
    uncovered,
)
from tests.integration.opcua_gateway.test_node_opcua import make_source, values
from tests.peers.node_opcua_server import NodeOpcua, node_opcua
from tests.peers.opcua_relay import (
    CREATE_SESSION,
    PUBLISH,
    REPUBLISH,
    SERVICE_FAULT,
    TRANSFER,
    Answer,
    relay,
)
from tests.source_alone import readings_of, taking
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

NODES = 5
PAUSE_MS = 150
BAD_SERVICE_UNSUPPORTED, BAD_TIMEOUT = 0x800B0000, 0x800A0000
GOOD_OF_DA = 0xC0
BAD_DEVICE_FAILURE = 0x808B0000


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[NodeOpcua]:
    """One server for the cases that leave it as it was."""
    async with node_opcua(tmp_path_factory.mktemp("server"), nodes=NODES) as found:
        yield found


async def first_values(taken: list[Delivery], nodes: int = NODES) -> None:
    await until(lambda: len(values(taken)) == nodes, "first values", 30)


def readings(taken: list[Delivery], node: int) -> list[Reading]:
    """What came of a node but for the first value of a session, in order."""
    return [
        reading
        for delivery in taken
        for reading in readings_of(delivery)
        if reading.signal.path.endswith(f"/v{node}") and not reading.flags & Flag.INITIAL
    ]


def sample_of(reading: Reading, not_before: int = 0) -> Sample:
    """As it is stored."""
    made = apply(reading, now_ms() * 1000, not_before)
    assert isinstance(made, Sample)
    return made


def unlike(taken: list[Delivery], first: int, last: int, start: int) -> dict[str, str]:
    """What came of a count otherwise than each value of every node once and in order: by node what
    is missing, what is more, or the order; empty: nothing."""
    found, expected = arrived(taken), list(sent(first, last, start).items())
    wrong = {} if len(found) == NODES else {"of nodes": f"values of {sorted(found)} alone"}
    for name, came in found.items():
        if came != expected:
            missing = [each for each in expected if each not in came]
            more = list(came)
            for each in expected:
                if each in more:
                    more.remove(each)
            wrong[name] = f"missing {missing}, more {more}, of {came}"
    return wrong


async def test_a_server_that_has_no_message_to_send_again_goes_on_with_its_subscription(
    server: NodeOpcua, tmp_path: Path
) -> None:
    """node-opcua/node-opcua#1524: after a break the client asked for messages until the controller
    had none, and then never sent a Publish request again."""
    kinds: set[int] = set()

    def watch(answer: Answer) -> Answer:
        kinds.add(answer.kind)
        return answer

    async with relay(server.url, watch) as way, taking(make_source(tmp_path, way.url, NODES)) as t:
        await first_values(t)
        start = now_ms()
        await server.count(1, 4, PAUSE_MS, start)
        way.hang_up()
        await server.count(5, 20, PAUSE_MS, start + 4 * PAUSE_MS)
        await until(lambda: newest(t) == [20.0] * NODES, "the last values")
    assert births(t) == ["connected", "resumed"] and not gaps(t)
    # A session that is resumed has its subscriptions: to transfer them ends them (trap T1).
    assert SERVICE_FAULT in kinds and TRANSFER not in kinds
    assert not unlike(t, 1, 20, start)


async def test_a_server_without_republish_keeps_its_queues_for_us_all_the_same(
    server: NodeOpcua, tmp_path: Path
) -> None:
    """convertersystems/opc-ua-client#75: a controller without the services that bring a client back
    to what it had. Only what was under way is lost, and a gap says so."""

    def without_republish(answer: Answer) -> Answer:
        is_republish = answer.kind in (REPUBLISH, SERVICE_FAULT)
        return answer.fault(BAD_SERVICE_UNSUPPORTED) if is_republish else answer

    async with (
        relay(server.url, without_republish) as way,
        taking(make_source(tmp_path, way.url, NODES)) as taken,
    ):
        await first_values(taken)
        start = now_ms()
        await server.count(1, 4, PAUSE_MS, start)
        way.hang_up()
        await server.count(5, 20, PAUSE_MS, start + 4 * PAUSE_MS)
        await until(lambda: newest(taken) == [20.0] * NODES, "the last values")
    assert births(taken) == ["connected", "resumed"]
    assert set(gaps(taken)) <= {f"{n} messages were lost on the way" for n in (1, 2)}
    assert not uncovered(taken, sent(1, 20, start))


async def test_a_subscription_that_the_server_forgot_is_made_anew(
    server: NodeOpcua, tmp_path: Path
) -> None:
    """OPCFoundation/UA-.NETStandard#3493: BadNoSubscription with the session alive; no value came
    until somebody restarted the client."""
    async with taking(make_source(tmp_path, server.url, NODES)) as taken:
        await first_values(taken)
        start = now_ms()
        await server.count(1, 4, PAUSE_MS, start)
        await server.end_subscriptions()
        await server.count(5, 20, PAUSE_MS, start + 4 * PAUSE_MS)
        await until(lambda: births(taken).count("connected") == 2, "a new session", 20)
        await server.count(21, 24, PAUSE_MS, start + 20 * PAUSE_MS)
        await until(lambda: newest(taken) == [24.0] * NODES, "the last values")
    assert gaps(taken) and not uncovered(taken, sent(1, 24, start))


async def test_a_subscription_that_falls_silent_is_given_up_though_the_session_lives(
    server: NodeOpcua, tmp_path: Path
) -> None:
    """OPCFoundation/UA-.NETStandard#2708, mikakaraila/node-red-contrib-opcua#749: after some hours
    no value came, reading went on to work, and only a restart helped."""
    created: set[int] = set()

    def silence(answer: Answer) -> Answer | None:
        if answer.kind == CREATE_SESSION:
            created.add(answer.connection)
        return None if answer.kind == PUBLISH and answer.connection not in created else answer

    async with relay(server.url, silence) as way:
        async with taking(make_source(tmp_path, way.url, NODES)) as taken:
            await first_values(taken)
            start = now_ms()
            await server.count(1, 4, PAUSE_MS, start)
            await until(lambda: newest(taken) == [4.0] * NODES, "the values before")
        source = make_source(tmp_path, way.url, NODES, opcua_keep_alive_s=0.5)
        async with taking(source) as rest:
            await until(lambda: births(rest)[-1:] == ["connected"], "a new session", 60)
            await server.count(5, 8, PAUSE_MS, start + 4 * PAUSE_MS)
            await until(lambda: newest(rest) == [8.0] * NODES, "the values after")
    assert gaps(rest) == ["no session with the server"]
    assert not uncovered([*taken, *rest], sent(1, 8, start))


@pytest.mark.parametrize("ahead_ms", [-120_000, 120_000])
async def test_a_gap_covers_what_is_missing_by_the_clock_of_the_server(
    server: NodeOpcua, tmp_path: Path, ahead_ms: int
) -> None:
    """node-opcua/node-opcua#1435 (sheet): controllers whose clock is minutes off. The gap was by
    our clock, and the hole at another place."""
    async with taking(make_source(tmp_path, server.url, NODES)) as taken:
        await first_values(taken)
        start = now_ms() + ahead_ms
        await server.count(1, 4, PAUSE_MS, start)
        await until(lambda: newest(taken) == [4.0] * NODES, "the values before")
        await server.end_subscriptions()
        await server.count(5, 12, PAUSE_MS, start + 4 * PAUSE_MS)
        await until(lambda: births(taken).count("connected") == 2, "a new session", 20)
        await server.count(13, 15, PAUSE_MS, start + 12 * PAUSE_MS)
        await until(lambda: newest(taken) == [15.0] * NODES, "the last values")
    assert gaps(taken) and not uncovered(taken, sent(1, 15, start))


async def test_publish_requests_that_time_out_at_the_server_cost_neither_session_nor_value(
    server: NodeOpcua, tmp_path: Path
) -> None:
    """eclipse-milo/milo#1062, FreeOpcUa/python-opcua#152: BadTimeout for every few Publish
    requests, some of them with values; clients reconnect or count it as the end."""
    timed_out: list[int] = []

    def time_out(answer: Answer) -> Answer:
        if answer.kind != PUBLISH:
            return answer
        timed_out.append(answer.size)
        return answer.fault(BAD_TIMEOUT) if len(timed_out) % 3 == 0 else answer

    async with (
        relay(server.url, time_out) as way,
        taking(make_source(tmp_path, way.url, NODES)) as taken,
    ):
        await first_values(taken)
        start = now_ms()
        await server.count(1, 20, PAUSE_MS, start)
        await until(lambda: newest(taken) == [20.0] * NODES, "the last values")
    assert max(timed_out[2::3]) > WITH_VALUES
    assert births(taken) == ["connected"] and way.connections == 1 and not gaps(taken)
    assert not unlike(taken, 1, 20, start)


async def test_a_server_that_numbers_its_messages_from_zero_loses_none(
    server: NodeOpcua, tmp_path: Path
) -> None:
    """open62541/open62541#417: the first message has number 0, which none may have."""

    def renumber(answer: Answer) -> Answer:
        return answer.with_number_from(0) if answer.kind == PUBLISH else answer

    async with (
        relay(server.url, renumber) as way,
        taking(make_source(tmp_path, way.url, NODES)) as taken,
    ):
        await first_values(taken)
        start = now_ms()
        await server.count(1, 12, PAUSE_MS, start)
        await until(lambda: newest(taken) == [12.0] * NODES, "the last values")
    assert not gaps(taken)
    assert not unlike(taken, 1, 12, start)


async def test_a_status_of_classic_opc_is_good_and_kept(server: NodeOpcua, tmp_path: Path) -> None:
    """influxdata/telegraf#8826, influxdata/telegraf#9144: 0xC0, which was "good" in OPC DA, comes
    through some servers as it is; its values were thrown away."""
    async with taking(make_source(tmp_path, server.url, NODES)) as taken:
        await first_values(taken)
        at = now_ms()
        await server.write(0, 42.5, status=GOOD_OF_DA, source_ms=at, server_ms=at)
        await until(lambda: bool(readings(taken, 0)), "the value")
    (found,) = readings(taken, 0)
    assert (found.value, found.status) == (42.5, GOOD_OF_DA)
    made = sample_of(found)
    assert vouches(made.status, made.flags, made.source_time)


async def test_a_bad_node_stops_no_other_and_has_no_old_value(
    server: NodeOpcua, tmp_path: Path
) -> None:
    """influxdata/telegraf#8871, thingsboard/thingsboard-gateway#2093: one Bad node and nothing came
    of the good ones; influxdata/telegraf#10849: its last good value was sent with the Bad status.
    FreeOpcUa/opcua-asyncio#462: a change of the status alone was not told."""
    async with taking(make_source(tmp_path, server.url, NODES)) as taken:
        await first_values(taken)
        start = now_ms()
        await server.count(1, 3, PAUSE_MS, start)
        at = now_ms()
        await server.write(0, None, status=BAD_DEVICE_FAILURE, source_ms=at, server_ms=at)
        await server.write(1, 3.0, status=GOOD_OF_DA, source_ms=at, server_ms=at)
        for value in (4.0, 5.0):
            await asyncio.sleep(PAUSE_MS / 1000)
            for node in range(2, NODES):
                await server.write(node, value, source_ms=now_ms(), server_ms=now_ms())
        await until(lambda: newest(taken)[2:] == [5.0] * (NODES - 2), "the good ones")
    assert [(r.value, r.status) for r in readings(taken, 0)][-1] == (None, BAD_DEVICE_FAILURE)
    assert [(r.value, r.status) for r in readings(taken, 1)][-1] == (3.0, GOOD_OF_DA)
    assert [r.value for r in readings(taken, 2)] == [1.0, 2.0, 3.0, 4.0, 5.0]


async def test_an_equal_value_with_a_new_time_is_a_new_value(
    server: NodeOpcua, tmp_path: Path
) -> None:
    """FreeOpcUa/opcua-asyncio#1322, FreeOpcUa/python-opcua#332: a sensor that sends the same value
    again looked the same as one that is gone."""
    async with taking(make_source(tmp_path, server.url, NODES)) as taken:
        await first_values(taken)
        at = now_ms()
        for n in range(5):
            await server.write(0, 7.0, source_ms=at + n, server_ms=at + n)
            await asyncio.sleep(PAUSE_MS / 1000)
        await until(lambda: len(readings(taken, 0)) >= 5, "all five")
    assert [(r.value, r.source_time) for r in readings(taken, 0)] == [
        (7.0, (at + n) * 1000) for n in range(5)
    ]


async def test_a_value_that_cannot_be_read_costs_no_other(
    server: NodeOpcua, tmp_path: Path
) -> None:
    """Trap T7, FreeOpcUa/opcua-asyncio#1894 (sheet): one value of a type that cannot be decoded,
    and thousands in the same message were dropped without a word."""
    of_last = b"\x0b" + struct.pack("<d", 3.0)
    damaged: list[Answer] = []

    def damage(answer: Answer) -> Answer:
        body = answer.body
        if answer.kind != PUBLISH or of_last not in body or damaged:
            return answer
        damaged.append(answer)
        at = body.rindex(of_last)
        return answer.with_body(body[:at] + b"\x3e" + body[at + 1 :])

    async with (
        relay(server.url) as way,
        taking(make_source(tmp_path, way.url, NODES)) as taken,
    ):
        await first_values(taken)
        way.rule = damage
        start = now_ms()
        await server.count(1, 6, PAUSE_MS, start)
        await until(lambda: newest(taken) == [6.0] * NODES, "the last values")
    assert damaged and births(taken) == ["connected"] and len(gaps(taken)) == 1
    (reject,) = [each for delivery in taken for each in delivery.rejects]
    assert b"\x3e" + of_last[1:] in reject.payload
    assert not uncovered(taken, sent(1, 6, start))
    whole = list(sent(1, 6, start).items())
    found = arrived(taken)
    assert sum(each == whole for each in found.values()) >= NODES - 1
    assert all(set(each) <= set(whole) and len(each) >= 5 for each in found.values())


async def test_a_slow_server_is_not_a_lost_one(server: NodeOpcua, tmp_path: Path) -> None:
    """FreeOpcUa/opcua-asyncio#1467 (trap T9): every answer takes longer than a second; the client
    took the controller for gone, again and again."""
    async with (
        relay(server.url) as way,
        taking(make_source(tmp_path, way.url, NODES)) as taken,
    ):
        await first_values(taken)
        way.delay_s = 1.3
        start = now_ms()
        await server.count(1, 20, PAUSE_MS, start)
        way.delay_s = 0.0
        await until(lambda: newest(taken) == [20.0] * NODES, "the last values", 20)
    assert births(taken) == ["connected"] and not gaps(taken)
    assert not unlike(taken, 1, 20, start)


async def test_what_nobody_stores_waits_at_the_server_and_not_in_memory(
    server: NodeOpcua, tmp_path: Path
) -> None:
    """Trap T6, Azure/Industrial-IoT#143: 250,000 values in memory, then hundreds of millions were
    dropped. Messages beyond the window are not asked for, and nothing is lost."""
    window = 4
    source = make_source(tmp_path, server.url, NODES, opcua_unacknowledged=window)
    async with taking(source, acknowledge=False) as taken:
        await first_values(taken)
        start = now_ms()
        await server.count(1, 30, PAUSE_MS, start)
        waiting = [each for each in taken if each.ack is not None]
        assert len(waiting) <= window + source._settings.opcua_publish_requests
        assert newest(taken) != [30.0] * NODES
    async with taking(source) as rest:
        await until(lambda: newest(rest) == [30.0] * NODES, "the rest")
    assert births(rest) == ["resumed"] and not gaps(rest)
    assert not uncovered([*taken, *rest], sent(1, 30, start))


async def test_what_was_not_stored_lies_in_the_gap_when_the_server_has_it_no_more(
    server: NodeOpcua, tmp_path: Path
) -> None:
    """Azure/Industrial-IoT#2168 (sheet): what was in memory when the client ended was gone, and
    nothing told of it. Here the server forgets it too, before the next process asks."""
    async with taking(make_source(tmp_path, server.url, NODES)) as stored:
        await first_values(stored)
        start = now_ms()
        await server.count(1, 3, PAUSE_MS, start)
        await until(lambda: newest(stored) == [3.0] * NODES, "what is stored")
    async with taking(make_source(tmp_path, server.url, NODES), acknowledge=False) as taken:
        await until(lambda: births(taken) == ["resumed"], "the same session")
        await server.count(4, 10, PAUSE_MS, start + 3 * PAUSE_MS)
        await until(lambda: newest(taken) == [10.0] * NODES, "what is not stored")
    await server.end_subscriptions()
    async with taking(make_source(tmp_path, server.url, NODES)) as rest:
        await until(lambda: births(rest)[-1:] == ["connected"], "a new session", 20)
        await first_values(rest)
    assert not uncovered([*stored, *rest], sent(1, 10, start))
