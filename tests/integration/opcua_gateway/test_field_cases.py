"""Values that other clients lost, doubled, froze or got wrong, as their users told it, tried on the
OPC UA gateway: the thread is named in each test. The server is node-opcua; what it does not do by
itself a relay does to its messages."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import pytest
import pytest_asyncio
from asyncua import Server, ua

from aurelian.edge.contract import Reading, apply
from aurelian.edge.gateway import Delivery
from aurelian.local import ports
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
from tests.peers.node_opcua_server import NAMESPACE, NodeOpcua, node_opcua
from tests.peers.opcua_relay import PUBLISH, REPUBLISH, SERVICE_FAULT, Answer, relay
from tests.source_alone import taking
from tests.waiting import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

NODES = 5
PAUSE_MS = 150
FAST = {"opcua_retry_s": 0.3}
BAD_SERVICE_UNSUPPORTED, BAD_TIMEOUT = 0x800B0000, 0x800A0000
GOOD_OF_DA = 0xC0
BAD_DEVICE_FAILURE = 0x808B0000
WAIVED = ["application_uri", "host_name", "key_usage", "validity", "revocation"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def server(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[NodeOpcua]:
    """One server for the cases that leave it as it was."""
    async with node_opcua(tmp_path_factory.mktemp("server"), nodes=NODES) as found:
        yield found


def moment(at: int | None) -> datetime | None:
    """A time in microseconds since 1970 as asyncua has it."""
    return None if at is None else datetime.fromtimestamp(at / 1e6, UTC)


async def first_values(taken: list[Delivery], nodes: int = NODES) -> None:
    await until(lambda: len(values(taken)) == nodes, "first values", 30)


def readings(taken: list[Delivery], node: int) -> list[Reading]:
    """What came of a node but for the first value of a session, in order."""
    return [
        reading
        for delivery in taken
        for reading in delivery.readings
        if reading.signal.path.endswith(f"/v{node}") and not reading.flags & Flag.INITIAL
    ]


def sample_of(reading: Reading, not_before: int = 0) -> Sample:
    """As it is stored."""
    made = apply(reading, now_ms() * 1000, not_before)
    assert isinstance(made, Sample)
    return made


def is_whole(taken: list[Delivery], first: int, last: int, start: int) -> bool:
    """Whether every node has every value of a count and nothing else, in order."""
    found = arrived(taken)
    expected = list(sent(first, last, start).items())
    return len(found) == NODES and all(each == expected for each in found.values())


async def test_a_server_that_has_no_message_to_send_again_goes_on_with_its_subscription(
    server: NodeOpcua, tmp_path: Path
) -> None:
    """node-opcua/node-opcua#1524: after a break the client asked for messages until the controller
    had none, and then never sent a Publish request again."""
    refusals: list[Answer] = []

    def watch(answer: Answer) -> Answer:
        if answer.kind == SERVICE_FAULT:
            refusals.append(answer)
        return answer

    async with relay(server.url, watch) as way, taking(make_source(tmp_path, way.url, NODES)) as t:
        await first_values(t)
        start = now_ms()
        await server.count(1, 4, PAUSE_MS, start)
        way.hang_up()
        await server.count(5, 20, PAUSE_MS, start + 4 * PAUSE_MS)
        await until(lambda: newest(t) == [20.0] * NODES, "the last values")
    assert refusals and births(t) == ["connected", "resumed"] and not gaps(t)
    assert is_whole(t, 1, 20, start)


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
    assert is_whole(taken, 1, 20, start)


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
    assert not gaps(taken) and is_whole(taken, 1, 12, start)


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


async def test_values_without_times_or_with_those_of_a_dead_battery_count_now(
    tmp_path: Path,
) -> None:
    """FreeOpcUa/opcua-asyncio#925, FreeOpcUa/python-opcua#1192: no source time, or none at all, was
    stored as 1601; thingsboard/thingsboard-gateway#879: a controller that was without power says
    2000-01-01. (asyncua's server: node-opcua puts a time where there is none.)"""
    at, dead_battery = now_ms() * 1000, 946_684_800_000_000
    url = f"opc.tcp://127.0.0.1:{ports.any_free()}"
    own = Server()
    await own.init()
    own.set_endpoint(url)
    own.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    node = ua.NodeId("v0", await own.register_namespace(NAMESPACE))
    await own.nodes.objects.add_variable(node, "v0", 0.0)
    async with own, taking(make_source(tmp_path, url, 1)) as taken:
        await first_values(taken, 1)
        for value, source_time, server_time in [
            (1.0, None, at),
            (2.0, None, None),
            (3.0, dead_battery, dead_battery),
        ]:
            written = ua.DataValue(
                ua.Variant(value, ua.VariantType.Double),
                SourceTimestamp=moment(source_time),
                ServerTimestamp=moment(server_time),
            )
            await own.iserver.aspace.write_attribute_value(node, ua.AttributeIds.Value, written)
            await asyncio.sleep(2 * PAUSE_MS / 1000)
        await until(lambda: len(readings(taken, 0)) >= 3, "all three")
    of_server, of_nobody, of_battery = (
        sample_of(each, not_before=at - 86_400_000_000) for each in readings(taken, 0)
    )
    assert (of_server.value, of_server.time) == (1.0, at)
    for made in (of_nobody, of_battery):
        assert made.flags & Flag.TIME_REPLACED and abs(made.time - at) < 10_000_000
    assert of_battery.source_time == dead_battery


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
    assert is_whole(taken, 1, 20, start)


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


async def test_sizes_of_one_direction_are_not_those_of_the_other(tmp_path: Path) -> None:
    """FreeOpcUa/python-opcua#943: the server's receive buffer was taken for its send buffer, and
    its largest request for the largest answer: everything larger ended the connection."""
    many = 600
    sizes = {"receiveBufferSize": 8_192, "sendBufferSize": 65_536, "maxMessageSize": 0}
    async with (
        node_opcua(tmp_path, nodes=many, transport=sizes | {"maxChunkCount": 0}) as own,
        relay(own.url, lambda answer: answer.with_request_limit(10_000)) as way,
        taking(make_source(tmp_path, way.url, many)) as taken,
    ):
        await first_values(taken, many)
        await own.count(1, 3, 500)
        await until(lambda: newest(taken) == [3.0] * many, "the last values", 20)
    assert births(taken) == ["connected"]


async def test_a_server_that_has_its_namespaces_later_is_read_again(tmp_path: Path) -> None:
    """OPCFoundation/UA-.NETStandard#946: a server that takes connections before it is configured
    does not know the nodes; they stayed BadNodeIdUnknown until the client was restarted."""
    late = "urn:aurelian-test:late"
    async with (
        node_opcua(tmp_path, nodes=NODES) as own,
        taking(make_source(tmp_path, own.url, NODES, namespace=late, **FAST)) as taken,
    ):
        await first_values(taken)
        assert newest(taken) == [None] * NODES
        await own.add_namespace(late)
        await until(lambda: newest(taken) == [0.0] * NODES, "the nodes", 10)
        start = now_ms()
        await own.count(1, 5, PAUSE_MS, start)
        await until(lambda: newest(taken) == [5.0] * NODES, "the last values")
    assert births(taken) == ["connected"]


async def test_a_node_that_was_taken_out_and_put_back_delivers_again(tmp_path: Path) -> None:
    """OPCFoundation/UA-.NETStandard#4102, node-opcua/node-opcua#1059: a new program in the
    controller; the items of its nodes said that the node is unknown, and stayed so."""
    async with (
        node_opcua(tmp_path, nodes=NODES) as own,
        taking(make_source(tmp_path, own.url, NODES, **FAST)) as taken,
    ):
        await first_values(taken)
        for times in (1, 2):
            await own.delete_node(0)
            await until(lambda: values(taken)["v0"][-1] is None, "its Bad value")
            await asyncio.sleep(1)
            await own.add_node(0)
            await until(lambda: values(taken)["v0"][-1] == 0.0, f"the node again, {times}", 10)
        start = now_ms()
        await own.count(1, 5, PAUSE_MS, start)
        await until(lambda: newest(taken) == [5.0] * NODES, "the last values")
    assert births(taken) == ["connected"]
    for each in arrived(taken).values():
        assert each[-5:] == list(sent(1, 5, start).items())


async def test_a_channel_that_is_renewed_all_the_time_loses_nothing(tmp_path: Path) -> None:
    """open62541/open62541#1754: a Publish response under the old token after the renewal, and the
    client closed the connection; apache/plc4x#1732: it was never renewed."""
    options = {"policies": ["None", "Basic256Sha256"], "modes": ["None", "SignAndEncrypt"]}
    secure = {"security": {"policy": "Basic256Sha256", "trust": "first_use", "waive": WAIVED}}
    async with (
        node_opcua(tmp_path, nodes=NODES, token_lifetime_ms=6_000, **options) as own,  # type: ignore[arg-type]
        taking(make_source(tmp_path, own.url, NODES, secure)) as taken,
    ):
        await first_values(taken)
        start = now_ms()
        await own.count(1, 70, PAUSE_MS, start)
        await until(lambda: newest(taken) == [70.0] * NODES, "the last values")
    assert births(taken) == ["connected"] and not gaps(taken)
    assert is_whole(taken, 1, 70, start)
