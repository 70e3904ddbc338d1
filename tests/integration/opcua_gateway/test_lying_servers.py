"""node-opcua whose answers are legal and odd, or changed on the way: nothing ends the source, what
is gone is seen to be gone, and nothing is left over at the server."""

from __future__ import annotations

import asyncio
import json
import math
import struct
from pathlib import Path

import pytest
from asyncua import ua

from opcua_gateway.alarms import watch
from tests.integration.opcua_gateway.test_alarms import alarms_of, is_refreshed, refreshes, told
from tests.integration.opcua_gateway.test_alarms import make_source as source_of_alarms
from tests.integration.opcua_gateway.test_chaos import newest
from tests.integration.opcua_gateway.test_chaos_more import PAUSE_MS, now_ms
from tests.integration.opcua_gateway.test_field_cases import first_values, unlike
from tests.integration.opcua_gateway.test_node_opcua import make_source
from tests.integration.opcua_gateway.test_server_state import births, deaths
from tests.integration.opcua_gateway.test_session_start import gaps
from tests.peers.fault_proxy import fault_proxy
from tests.peers.node_opcua_server import node_opcua, url_at
from tests.peers.opcua_relay import PUBLISH, Answer, relay
from tests.source_alone import taking
from tests.waiting import until

NODES = 5
CREATE_ITEMS = int(ua.ObjectIds.CreateMonitoredItemsResponse_Encoding_DefaultBinary)
NO_COMMUNICATION = 0x80310000
_SUBSCRIPTION_AT = 28


@pytest.mark.parametrize("interval_ms", [math.inf, math.nan, 1e308, -1.0])
async def test_a_publishing_interval_that_no_clock_has_revises_nothing(
    tmp_path: Path, interval_ms: float
) -> None:
    """Infinity made each attempt end in an error of ours, and left a session at the server."""
    async with (
        node_opcua(tmp_path, nodes=NODES) as own,
        relay(own.url, lambda answer: answer.with_revised(interval_ms, 2**32 - 1)) as way,
        taking(make_source(tmp_path, way.url, NODES)) as taken,
    ):
        await first_values(taken, NODES)
        start = now_ms()
        await own.count(1, 10, PAUSE_MS, start)
        await until(lambda: newest(taken) == [10.0] * NODES, "the last values")
        assert way.connections <= 2  # one of them asks for the endpoints
    assert births(taken) == ["connected"] and not deaths(taken)
    assert not unlike(taken, 1, 10, start)


async def test_a_server_that_need_not_say_that_it_lives_is_asked(tmp_path: Path) -> None:
    """A keep-alive count of 2^32 - 1: a server that was gone would have been live for years."""
    is_gone = False
    async with (
        node_opcua(tmp_path, nodes=NODES) as own,
        relay(own.url) as way,
        taking(
            make_source(tmp_path, way.url, NODES, opcua_keep_alive_s=0.5, opcua_timeout_s=1)
        ) as taken,
    ):
        way.rule = lambda answer: None if is_gone else answer.with_revised(100.0, 2**32 - 1)
        await first_values(taken, NODES)
        await asyncio.sleep(4)
        assert not deaths(taken)  # it answers
        is_gone = True
        await until(lambda: bool(deaths(taken)), "its death", 10)


async def test_what_stood_is_not_known_any_more_where_the_server_gives_no_events_now(
    tmp_path: Path,
) -> None:
    refuses = False
    created: list[int] = []

    def refuse(answer: Answer) -> Answer:
        if answer.kind != CREATE_ITEMS or not refuses:
            return answer
        created.append(answer.size)
        return answer.fault(0x801F0000) if len(created) > 2 else answer  # BadUserAccessDenied

    async with (
        node_opcua(tmp_path, nodes=1, alarms=1) as server,
        relay(server.url, refuse) as between,
    ):
        before = refreshes()
        async with taking(source_of_alarms(tmp_path, between.url)) as taken:
            await is_refreshed(before)
            await server.alarm(0, active=True, message="on", severity=500, retain=True)
            await until(lambda: bool(told(taken)), "the alarm")
        await server.forget()
        refuses = True
        source = source_of_alarms(tmp_path, between.url, opcua_retry_s=0.3)
        async with taking(source) as taken:
            await until(lambda: bool(told(taken)), "its end", 20)
            assert told(taken) == [("alarm 0", "on", False, False)]
            assert alarms_of(taken)[0].reason.startswith("its state is not known any more")
            # The server gives events again, and the alarm stood all the time.
            refuses = False
            await until(lambda: len(told(taken)) == 2, "the alarm again", 20)
            assert told(taken)[1] == ("alarm 0", "on", True, True)
    assert watch._REFUSALS_THAT_COUNT == 2


async def test_a_namespace_that_came_during_a_break_costs_neither_session_nor_value(
    tmp_path: Path,
) -> None:
    """The table was compared as a whole: a gap, and the old subscriptions went on beside the
    new."""
    async with node_opcua(tmp_path, nodes=NODES) as own, fault_proxy(own.port) as proxy:
        async with taking(make_source(tmp_path, url_at(proxy.port), NODES)) as taken:
            await first_values(taken, NODES)
            start = now_ms()
            await own.count(1, 5, PAUSE_MS, start)
            await until(lambda: newest(taken) == [5.0] * NODES, "values")
            proxy.cut()
            await own.count(6, 15, PAUSE_MS, start + 5 * PAUSE_MS)
            await own.add_namespace("urn:aurelian-test:late")
            proxy.restore()
            await until(lambda: newest(taken) == [15.0] * NODES, "the values of the break", 20)
    assert births(taken) == ["connected", "resumed"] and not gaps(taken)
    assert not unlike(taken, 1, 15, start)


def number_anew(folder: Path) -> None:
    """Let the file of the session say that the server's namespaces were others."""
    (file,) = folder.glob("opcua-*.json")
    kept = json.loads(file.read_text())
    kept["limits"]["namespaces"][1:] = ["urn:another", *kept["limits"]["namespaces"][1:]]
    file.write_text(json.dumps(kept))


async def test_subscriptions_that_are_not_gone_on_with_are_ended(tmp_path: Path) -> None:
    """A session that is resumed where the namespaces are others than before."""
    subscriptions: list[int] = []

    def note(answer: Answer) -> Answer:
        if answer.kind == PUBLISH:
            subscriptions.extend(struct.unpack_from("<I", answer.body, _SUBSCRIPTION_AT))
        return answer

    async with node_opcua(tmp_path, nodes=NODES) as own, relay(own.url, note) as way:
        async with taking(make_source(tmp_path, way.url, NODES)) as taken:
            await first_values(taken, NODES)
            await until(lambda: len(subscriptions) > 2, "keep-alives")
        number_anew(tmp_path)
        async with taking(make_source(tmp_path, way.url, NODES)) as taken:
            await first_values(taken, NODES)
            await asyncio.sleep(1)
            subscriptions.clear()
            await own.count(1, 20, 50)
            await until(lambda: newest(taken) == [20.0] * NODES, "values")
            assert births(taken) == ["connected"]
            assert len(set(subscriptions)) == 1


async def test_a_unit_that_nobody_hears_is_not_alive_in_the_next_process(tmp_path: Path) -> None:
    """The session was resumed, nothing changed, and each keep-alive bore the unit witness."""
    async with node_opcua(tmp_path, nodes=NODES) as own:
        async with taking(make_source(tmp_path, own.url, NODES)) as taken:
            await first_values(taken, NODES)
            for node in range(NODES):
                await own.write(node, 0.0, status=NO_COMMUNICATION)
            await until(lambda: bool(deaths(taken)), "the death of the unit")
        async with taking(make_source(tmp_path, own.url, NODES)) as taken:
            await until(lambda: births(taken) == ["resumed"], "the session")
            assert deaths(taken) == ["the server has no communication with it"]
            await asyncio.sleep(3)
            assert not [e for d in taken for e in d.events if e.HasField("heartbeat")]
            await own.write(1, 7.0)
            await until(lambda: births(taken) == ["resumed", "communication is back"], "its birth")
