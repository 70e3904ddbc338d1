"""The OPC UA gateway and node-opcua with a bad network between, and a server that comes back as
another one. For each node no value may be missing that is not covered by a gap event."""

from __future__ import annotations

import asyncio
import contextlib
import gc
from collections.abc import Callable
from pathlib import Path

import psutil

from aurelian.edge.gateway import Delivery
from tests.integration.opcua_gateway.test_node_opcua import make_source, values
from tests.long_tests import LONG_TESTS
from tests.peers.fault_proxy import FaultProxy, fault_proxy
from tests.peers.node_opcua_server import node_opcua, url_at
from tests.source_alone import taking
from tests.waiting import until

NODES = 5
PAUSE_MS = 150
"""Longer than the sampling interval, so that each value is sampled."""
EVERY_CHANGE = {"monitoring": {"sampling_interval_ms": 0}}
"""node-opcua then keeps each value that is written: on a busy machine its timer may miss some."""
DECOY = 999_999.0
TAGS = "urn:aurelian-test:tags"


def births(taken: list[Delivery]) -> list[str]:
    return [e.birth.detail for d in taken for e in d.events if e.HasField("birth")]


def gaps(taken: list[Delivery]) -> list[str]:
    return [e.gap.reason for d in taken for e in d.events if e.HasField("gap")]


def newest(taken: list[Delivery]) -> list[object]:
    return [each[-1] for each in values(taken).values()]


def resident_mb() -> float:
    """Memory of this process, garbage taken out."""
    gc.collect()
    return psutil.Process().memory_info().rss / 1e6


async def disturb(
    proxy: FaultProxy, begin: Callable[[], None], end: Callable[[], None], seconds: float
) -> None:
    await asyncio.sleep(2)
    begin()
    await asyncio.sleep(seconds)
    end()


async def test_cuts_and_freezes_within_the_servers_queues_lose_nothing(tmp_path: Path) -> None:
    faults = [("cut", 0.2), ("cut", 5.0), ("freeze", 3.0), ("freeze", 8.0)]
    if LONG_TESTS:
        faults.append(("cut", 15.0))
    last = int((max(seconds for _, seconds in faults) + 8) * 1000 / PAUSE_MS)
    async with node_opcua(tmp_path, nodes=NODES) as server, contextlib.AsyncExitStack() as stack:
        runs = []
        for number, (what, seconds) in enumerate(faults):
            proxy = await stack.enter_async_context(fault_proxy(server.port))
            folder = tmp_path / str(number)
            folder.mkdir()
            source = make_source(folder, url_at(proxy.port), NODES, EVERY_CHANGE)
            taken = await stack.enter_async_context(taking(source))
            runs.append((what, seconds, proxy, taken))
        for *_, taken in runs:
            await until(lambda taken=taken: len(values(taken)) == NODES, "first values", 30)  # type: ignore[misc]
        disturbances = [
            disturb(proxy, proxy.cut, proxy.restore, seconds)
            if what == "cut"
            else disturb(proxy, proxy.freeze, proxy.thaw, seconds)
            for what, seconds, proxy, _ in runs
        ]
        await asyncio.gather(server.count(1, last, PAUSE_MS), *disturbances)
        for what, seconds, _, taken in runs:
            case = f"{what} of {seconds} s"
            await until(lambda taken=taken: newest(taken) == [float(last)] * NODES, case, 20)  # type: ignore[misc]
            for each in values(taken).values():
                assert each == [float(n) for n in range(last + 1)], case
            assert not gaps(taken), case
            assert set(births(taken)[1:]) <= {"resumed"}, case
            # A freeze of 3 s is shorter than what a server may be silent.
            was_seen = (what, seconds) != ("freeze", 3.0)
            assert len(births(taken)) > was_seen, f"{case} did nothing"


async def test_after_each_of_many_disconnects_every_node_delivers_again(tmp_path: Path) -> None:
    times, settled = (100, 20) if LONG_TESTS else (10, 10)
    async with node_opcua(tmp_path, nodes=NODES) as server, fault_proxy(server.port) as proxy:
        source = make_source(tmp_path, url_at(proxy.port), NODES)
        async with taking(source) as taken:
            await until(lambda: len(values(taken)) == NODES, "first values", 30)
            for number in range(1, times + 1):
                proxy.disconnect()
                await server.count(number, number, PAUSE_MS)
                await until(
                    lambda n=number: newest(taken) == [float(n)] * NODES,  # type: ignore[misc]
                    f"values after disconnect {number}",
                    15,
                )
                if number == settled:
                    taken_up = resident_mb()
            assert resident_mb() - taken_up < 10
            assert births(taken)[0] == "connected" and set(births(taken)[1:]) == {"resumed"}
            assert not gaps(taken)
            for each in values(taken).values():
                assert each == [float(n) for n in range(times + 1)]


async def test_a_server_that_comes_back_with_a_namespace_in_front_gives_the_right_nodes(
    tmp_path: Path,
) -> None:
    many, per_call = 300, 100
    async with node_opcua(
        tmp_path, nodes=many, namespaces=[TAGS], items_per_call=per_call
    ) as before:
        port = before.port
        source = make_source(tmp_path, before.url, many, namespace=TAGS)
        stack = contextlib.AsyncExitStack()
        taken = await stack.enter_async_context(taking(source))
        await until(lambda: len(values(taken)) == many, "first values", 30)
        await before.count(1, 3, PAUSE_MS)
        await until(lambda: newest(taken) == [3.0] * many, "values of the first server", 20)
    async with stack:
        async with node_opcua(
            tmp_path,
            nodes=many,
            namespaces=["urn:aurelian-test:first", TAGS],
            items_per_call=per_call,
            port=port,
        ) as after:
            await until(lambda: births(taken) == ["connected", "connected"], "a new session", 30)
            await after.count(11, 13, PAUSE_MS)
            await until(lambda: newest(taken) == [13.0] * many, "values of the second", 30)
    assert len(gaps(taken)) == 1
    assert not [v for each in values(taken).values() for v in each if v == DECOY]
