"""What the beginning of a session may not lose or say too often: gaps that were not stored yet,
servers that give no subscription, namespaces that come later."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest
from asyncua import Client, ua

from aurelian.edge.gateway import Delivery
from tests.integration.opcua_gateway.test_node_opcua import have_reached, make_source, values
from tests.integration.opcua_gateway.test_read_back import by_time, historical, numbers, of
from tests.integration.opcua_gateway.test_server_state import births, deaths
from tests.peers.fault_proxy import fault_proxy
from tests.peers.node_opcua_server import node_opcua, url_at
from tests.peers.opcua_relay import ACTIVATE_SESSION, PUBLISH, READ, Answer, relay
from tests.source_alone import taking
from tests.waiting import until

BAD_SERVER_TOO_BUSY = int(ua.StatusCodes.BadServerTooBusy)


def gaps(taken: list[Delivery]) -> list[tuple[int, int]]:
    events = [e for d in taken for e in d.events if e.HasField("gap") and not e.gap.recovered]
    return [(e.gap.from_time, e.gap.to_time) for e in events]


async def test_a_gap_that_was_not_on_the_disk_when_the_gateway_was_killed_is_told_by_the_next(
    tmp_path: Path,
) -> None:
    async with node_opcua(tmp_path, nodes=1) as server:
        async with taking(make_source(tmp_path, server.url, 1)) as taken:
            await until(lambda: have_reached(taken, 0.0, 1), "a first value", 30)
        await server.forget()
        async with taking(make_source(tmp_path, server.url, 1), acknowledge=False) as taken:
            await until(lambda: have_reached(taken, 0.0, 1), "a value of the new session")
            (lost,) = gaps(taken)
        stored = ""
        for told in ([lost], []):  # the first of them stores it
            source = make_source(tmp_path, server.url, 1)
            async with taking(source, bookmark=stored) as taken:
                await until(lambda: births(taken) == ["resumed"], "the same session")
                await until(lambda: any(each.bookmark for each in taken) or not told, "a value")  # noqa: B023
                await until(lambda: len(taken) > 1, "a message")
            assert gaps(taken) == told
            stored = ([each.bookmark for each in taken if each.bookmark] or [stored])[-1]


async def sessions(url: str) -> int:
    """How many the server has beside the one that asks."""
    async with Client(url) as client:
        count = client.get_node(
            ua.NodeId(
                ua.ObjectIds.Server_ServerDiagnostics_ServerDiagnosticsSummary_CurrentSessionCount
            )
        )
        return int(await count.read_value()) - 1


async def test_a_server_that_gives_no_subscription_is_one_gap_and_leaves_no_session(
    tmp_path: Path,
) -> None:
    async with node_opcua(tmp_path, nodes=1) as server:
        async with taking(make_source(tmp_path, server.url, 1)) as taken:
            await until(lambda: have_reached(taken, 0.0, 1), "a first value", 30)
            await server.allow_subscriptions(0)
            await server.forget()
            await until(lambda: len(deaths(taken)) == 2, "the reason")
            assert "BadTooManySubscriptions" in deaths(taken)[1]
            await asyncio.sleep(2)  # some attempts more
            assert len(deaths(taken)) == 2 and births(taken) == ["connected"] and not gaps(taken)
            assert await sessions(server.url) <= 1
            await server.allow_subscriptions(10)
            await until(lambda: len(births(taken)) == 2, "the next session", 20)
            assert births(taken) == ["connected", "connected"] and len(gaps(taken)) == 1


async def test_nodes_of_a_namespace_that_comes_later_have_a_history_and_names(
    tmp_path: Path,
) -> None:
    late, last = "urn:aurelian-test:late", 25
    async with (
        node_opcua(tmp_path, nodes=1, historized=1) as server,
        fault_proxy(server.port) as proxy,
    ):
        source = make_source(
            tmp_path,
            url_at(proxy.port),
            1,
            source={"publishing_interval_ms": 50},
            namespace=late,
            signals={"mode": {"type": "text"}},
            opcua_retry_s=0.3,
            opcua_queue_s=0.5,
        )
        async with taking(source) as taken:
            await until(lambda: values(taken).get("v0") == [None], "the refused node", 30)
            await server.add_namespace(late)
            await until(lambda: have_reached(taken, 0.0, 1), "its first value")
            await until(lambda: values(taken)["mode"][-1] == "Shutdown", "the name")
            # More than the queue of 11 holds.
            proxy.freeze()
            await server.count(1, last, 60)
            proxy.thaw()
            await until(
                lambda: len({r.source_time for r in of(taken, "v0") if r.value is not None}) > last,
                lambda: f"what the queue had no room for: {historical(of(taken, 'v0'))}",
            )
            live = [r for r in of(taken, "v0") if r.value is not None]
            assert by_time(live) == numbers(last) and historical(live)
            # Of a unit whose nodes are all refused nobody says that it lives.
            assert births(taken) == ["connected", "communication is back"]


@pytest.mark.parametrize("kind", [ACTIVATE_SESSION, READ, PUBLISH])
async def test_a_server_that_is_too_busy_for_one_request_has_our_queues_still(
    kind: int, tmp_path: Path
) -> None:
    """It says so of the request, not of the session: the next attempt goes on with it."""
    refused: list[int] = []

    def too_busy(answer: Answer) -> Answer:
        if answer.connection != 2 or answer.kind != kind or refused:
            return answer
        refused.append(kind)
        return answer.fault(BAD_SERVER_TOO_BUSY)

    async with (
        node_opcua(tmp_path, nodes=1) as server,
        relay(server.url, too_busy) as way,
        taking(make_source(tmp_path, way.url, 1)) as taken,
    ):
        await until(lambda: have_reached(taken, 0.0, 1), "a first value", 30)
        way.hang_up()
        await server.count(1, 10, 120)
        await until(lambda: have_reached(taken, 10.0, 1), "the last value", 30)
    assert refused and not gaps(taken)
    assert births(taken)[0] == "connected" and set(births(taken)[1:]) == {"resumed"}
    assert {float(n) for n in range(11)} <= set(values(taken)["v0"])
