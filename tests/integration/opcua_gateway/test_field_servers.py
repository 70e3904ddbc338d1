"""More of what other clients lost, froze or got wrong, as their users told it: servers of their own
kind."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime
from pathlib import Path

import pytest
from asyncua import Server, ua

from aurelian.local import ports
from aurelian.model.sample import Flag
from tests.integration.opcua_gateway.test_chaos import births, gaps, newest
from tests.integration.opcua_gateway.test_chaos_more import arrived, now_ms, sent
from tests.integration.opcua_gateway.test_field_cases import (
    NODES,
    PAUSE_MS,
    first_values,
    readings,
    sample_of,
    unlike,
)
from tests.integration.opcua_gateway.test_node_opcua import make_source, values
from tests.peers.node_opcua_server import NAMESPACE, node_opcua
from tests.peers.opcua_relay import Answer, relay
from tests.source_alone import taking
from tests.waiting import until

FAST = {"opcua_retry_s": 0.3}
WAIVED = ["application_uri", "host_name", "key_usage", "validity", "revocation"]


def moment(at: int | None) -> datetime | None:
    """A time in microseconds since 1970 as asyncua has it."""
    return None if at is None else datetime.fromtimestamp(at / 1e6, UTC)


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
        assert made.flags & Flag.TIME_REPLACED and abs(made.time - at) < 60_000_000
    assert of_battery.source_time == dead_battery


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
    # Before, the server gave nothing of the unit: nobody could say that it lives.
    assert births(taken) == ["connected", "communication is back"]


async def test_a_node_that_was_taken_out_and_put_back_delivers_again(tmp_path: Path) -> None:
    """eclipse-milo/milo#393, OPCFoundation/UA-.NETStandard#4102: a new program in the controller;
    the items of its nodes said that the node is unknown, and stayed so."""
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


@pytest.mark.long
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
    assert not unlike(taken, 1, 70, start)


async def test_a_server_that_revises_to_zero_is_not_waited_for_in_zero_seconds(
    tmp_path: Path,
) -> None:
    """FreeOpcUa/opcua-asyncio#491: a publishing interval of 0, and a client that divided by it."""

    def revise(answer: Answer) -> Answer:
        return answer.with_revised(0.0, 0)

    async with (
        node_opcua(tmp_path, nodes=NODES) as own,
        relay(own.url, revise) as way,
        taking(make_source(tmp_path, way.url, NODES)) as taken,
    ):
        await first_values(taken)
        start = now_ms()
        await own.count(1, 10, PAUSE_MS, start)
        await asyncio.sleep(3)
        await until(lambda: newest(taken) == [10.0] * NODES, "the last values")
    assert births(taken) == ["connected"]
    assert not unlike(taken, 1, 10, start)
