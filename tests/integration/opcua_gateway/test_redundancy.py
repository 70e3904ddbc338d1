"""One source and two servers of node-opcua with the same values: which one it takes, when it moves,
and that nothing is lost without a gap and nothing comes twice."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import math
from collections import Counter
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from aurelian.edge.gateway import Delivery
from aurelian.local import ports
from opcua_gateway import metrics
from opcua_gateway.source import OpcuaSource
from tests.integration.opcua_gateway.test_chaos_more import now_ms
from tests.integration.opcua_gateway.test_node_opcua import make_source
from tests.integration.opcua_gateway.test_read_back import of
from tests.integration.opcua_gateway.test_server_state import births, deaths
from tests.integration.opcua_gateway.test_session_start import gaps
from tests.peers.node_opcua_server import NodeOpcua, node_opcua, url_at
from tests.source_alone import taking
from tests.waiting import until

PLANT = "urn:aurelian-test:plant"
PAUSE_MS = 100
FIRST, OTHER = "urn:aurelian-test:first", "urn:aurelian-test:other"


@contextlib.asynccontextmanager
async def two_servers(folder: Path) -> AsyncIterator[tuple[NodeOpcua, NodeOpcua]]:
    """Two that have one node, with a history."""
    (folder / "a").mkdir()
    (folder / "b").mkdir()
    async with (
        node_opcua(folder / "a", nodes=1, historized=1, namespaces=[PLANT], uri=FIRST) as first,
        node_opcua(folder / "b", nodes=1, historized=1, namespaces=[PLANT], uri=OTHER) as other,
    ):
        yield first, other


def source_of(folder: Path, first: NodeOpcua, other: NodeOpcua, mode: str) -> OpcuaSource:
    source = {"redundant": [other.url], "redundancy": mode, "publishing_interval_ms": 50}
    return make_source(folder, first.url, 1, source=source, namespace=PLANT)


def newest(taken: list[Delivery]) -> object:
    found = of(taken, "v0")
    return found[-1].value if found else None


def sent(last: int, first_ms: int) -> dict[int, float]:
    return {(first_ms + n * PAUSE_MS) * 1000: float(n + 1) for n in range(last)}


def check(taken: list[Delivery], last: int, first_ms: int) -> set[int]:
    """Each value of `sent` came, or lies in a gap; none came as two. Those that are missing."""
    contents = {(r.source_time, r.value) for r in of(taken, "v0")}
    times = Counter(time for time, _ in contents)
    assert not [time for time, count in times.items() if count > 1]
    missing = {
        time for time, value in sent(last, first_ms).items() if (time, value) not in contents
    }
    assert not [t for t in missing if not any(a <= t <= b for a, b in gaps(taken))]
    return missing


def told(taken: list[Delivery], first: NodeOpcua, other: NodeOpcua) -> list[str]:
    """Which server each birth is of."""
    names = {f"connected to {first.url}": "first", f"connected to {other.url}": "other"}
    return [names.get(each, each) for each in births(taken)]


def counting(*servers: NodeOpcua, last: int, first_ms: int) -> list[asyncio.Task[None]]:
    return [asyncio.create_task(each.count(1, last, PAUSE_MS, first_ms)) for each in servers]


@pytest.mark.parametrize("mode", ["cold", pytest.param("warm", marks=pytest.mark.long), "hot"])
async def test_when_the_active_server_is_killed_the_other_takes_over(
    tmp_path: Path, mode: str, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    last = 45
    async with two_servers(tmp_path) as (first, other):
        async with taking(source_of(tmp_path, first, other, mode)) as taken:
            await until(lambda: newest(taken) == 0.0, "a first value", 30)
            if mode != "cold":
                await until(lambda: "redundant server is ready" in caplog.text, "the standby")
                await asyncio.sleep(2.5)  # it has sampled for longer than values wait
            first_ms = now_ms()
            writing = counting(first, other, last=last, first_ms=first_ms)
            await until(lambda: len(of(taken, "v0")) > 15, "values before the kill")
            first.kill()
            await until(lambda: newest(taken) == float(last), "the last value", 20)
            await asyncio.gather(*writing, return_exceptions=True)
            if mode != "hot":
                await until(lambda: not check(taken, last, first_ms), "what its history has")
            assert not check(taken, last, first_ms)
            assert told(taken, first, other) == ["first", "other"]
            assert len(deaths(taken)) == 1
            # What the other one sampled meanwhile came out of its queue.
            assert len(gaps(taken)) == (0 if mode == "hot" else 1)
            for server, active in ((first, 0), (other, 1)):
                gauge = metrics.ACTIVE.labels("x/s/peer", server.url)
                await until(lambda g=gauge, a=active: g._value.get() == a, "metric")  # type: ignore[misc]
        # The next process goes on with the session at the other one, from where the outbox says.
        stored = [each.bookmark for each in taken if each.bookmark][-1]
        async with taking(source_of(tmp_path, first, other, mode), bookmark=stored) as taken:
            await until(lambda: births(taken) == [f"resumed at {other.url}"], "the same session")
            before = len(taken)
            await until(lambda: len(taken) > before + 1, "what the server says then")
            assert not gaps(taken) and not deaths(taken)


@pytest.mark.parametrize("mode", [pytest.param("cold", marks=pytest.mark.long), "hot"])
async def test_a_lower_service_level_of_the_active_server_moves_the_source(
    tmp_path: Path, mode: str
) -> None:
    last = 50
    async with two_servers(tmp_path) as (first, other):
        async with taking(source_of(tmp_path, first, other, mode)) as taken:
            await until(lambda: newest(taken) == 0.0, "a first value", 30)
            # One that flaps moves nothing.
            for n in range(8):
                await first.say_level(100 if n % 2 else 255)
                await asyncio.sleep(0.6)
            assert told(taken, first, other) == ["first"] and not deaths(taken)
            first_ms = now_ms()
            writing = counting(first, other, last=last, first_ms=first_ms)
            await first.say_level(150)
            await until(lambda: told(taken, first, other) == ["first", "other"], "the move", 20)
            (reason,) = deaths(taken)
            assert reason == (
                f"{first.url} is at service level 150 (degraded), {other.url} at 255 (healthy): "
                "moving there"
            )
            await asyncio.gather(*writing)
            await until(lambda: newest(taken) == float(last), "the last value", 20)
            await until(lambda: not check(taken, last, first_ms), "all values")
            level = metrics.SERVICE_LEVEL.labels("x/s/peer", other.url)
            await until(lambda: level._value.get() == 255, "metric")
            # As good as the other: no reason to go back.
            await first.say_level(255)
            await asyncio.sleep(2.5)
            assert told(taken, first, other) == ["first", "other"]


async def test_when_both_are_down_there_is_one_death_and_either_one_brings_it_back(
    tmp_path: Path,
) -> None:
    async with two_servers(tmp_path) as (first, other):
        async with taking(source_of(tmp_path, first, other, "warm")) as taken:
            await until(lambda: newest(taken) == 0.0, "a first value", 30)
            other.kill()
            first.kill()
            await until(lambda: len(deaths(taken)) == 1, "the death")
            # What they said before is not shown as if they still said it.
            for server in (first, other):
                active = metrics.ACTIVE.labels("x/s/peer", server.url)
                level = metrics.SERVICE_LEVEL.labels("x/s/peer", server.url)
                await until(lambda g=active: g._value.get() == 0, "nobody active")  # type: ignore[misc]
                await until(lambda g=level: math.isnan(g._value.get()), "no level")  # type: ignore[misc]
            await asyncio.sleep(2)
            (tmp_path / "c").mkdir()
            async with node_opcua(
                tmp_path / "c", nodes=1, namespaces=[PLANT], uri=OTHER, port=other.port
            ):
                await until(lambda: len(births(taken)) == 2, "the birth", 30)
                await until(lambda: newest(taken) == 0.0, "a value")
            assert told(taken, first, other) == ["first", "other"]
            assert len(deaths(taken)) <= 2 and len(gaps(taken)) == 1


async def test_the_servers_own_list_is_taken_over_a_secured_channel_only(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level(logging.INFO)
    port = ports.any_free()
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    secured = {"policies": ("None", "Basic256Sha256"), "modes": ("None", "SignAndEncrypt")}
    options = {"nodes": 1, "namespaces": [PLANT], **secured}
    list_of_first = {"redundancy": 2, "redundant": [(OTHER, url_at(port))]}
    async with (
        node_opcua(tmp_path / "a", uri=FIRST, **options, **list_of_first) as first,  # type: ignore[arg-type]
        node_opcua(tmp_path / "b", uri=OTHER, port=port, **options) as other,  # type: ignore[arg-type]
    ):
        clear = make_source(tmp_path / "1", first.url, 1, namespace=PLANT)
        async with taking(clear) as taken:
            await until(lambda: "servers are not taken" in caplog.text, "the refusal", 30)
            assert len(clear._servers.all) == 1
        security = {"trust": "first_use", "waive": ["host_name"]}
        source = make_source(
            tmp_path / "2", first.url, 1, namespace=PLANT, source={"security": security}
        )
        async with taking(source) as taken:
            await until(lambda: "redundant server is ready" in caplog.text, "the standby", 30)
            assert source._servers.mode == "warm"
            first.kill()
            await until(lambda: births(taken)[-1] == f"connected to {other.url}", "the move", 20)
