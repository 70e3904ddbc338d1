"""The OPC UA gateway against node-opcua, a server that shares no line with ours: its limits."""

from __future__ import annotations

import asyncio
import threading
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest
from asyncua import Client
from asyncua.client.ua_session import UaSession

from aurelian.edge.gateway import Delivery
from aurelian.model.plant import Plant
from opcua_gateway.resume import Resume, ResumeFile
from opcua_gateway.settings import OpcuaGatewaySettings
from opcua_gateway.source import OpcuaSource
from opcua_gateway.sources import make_sources
from tests.peers.node_opcua_server import NAMESPACE, node_opcua
from tests.peers.opcua_message_limit import message_limit
from tests.source_alone import readings_of, taking
from tests.waiting import until

NODES = 40
PAUSE_MS = 150
"""Between two values: longer than the sampling interval of 100 ms, so that each is sampled."""
MANY, MESSAGE_LIMIT = 600, 8_000
"""A value takes some 35 bytes of a message, so that a message cannot have all of these nodes."""


def make_source(
    folder: Path,
    url: str,
    nodes: int = NODES,
    source: Mapping[str, object] | None = None,
    namespace: str = NAMESPACE,
    signals: Mapping[str, Mapping[str, object]] | None = None,
    **more: object,
) -> OpcuaSource:
    """A source of that many nodes; `source`: further members of it, `signals`: of those signals by
    name (others than v0 and so on are added), `more`: settings."""
    peer = {"id": "peer", "kind": "opcua", "url": url, "publishing_interval_ms": 100}
    own = {f"v{n}": {} for n in range(nodes)} | dict(signals or {})
    made_of = [
        {"name": name, "address": f"nsu={namespace};s={name}", **members}
        for name, members in own.items()
    ]
    unit = {"name": "press", "source": "peer", "signals": made_of}
    plant = Plant.model_validate(
        {
            "company": {"id": "x", "name": "X"},
            "site": "s",
            "time_zone": "UTC",
            "sources": [peer | dict(source or {})],
            "areas": [
                {
                    "name": "a",
                    "lines": [
                        {
                            "name": "l",
                            "products": [{"id": "cup", "ideal_cycle_s": 2}],
                            "units": [unit],
                        }
                    ],
                }
            ],
        }
    )
    settings = OpcuaGatewaySettings(state=folder, **more)  # type: ignore[arg-type]
    (made,) = make_sources(settings, [plant])
    return made


def values(taken: list[Delivery]) -> dict[str, list[object]]:
    """What came of each node, in order; None where the server refused it.

    node-opcua may send a value twice, with one time: the second is no other one.
    """
    found: dict[str, dict[int | None, object]] = {}
    for delivery in taken:
        for reading in readings_of(delivery):
            node = found.setdefault(reading.signal.path.rpartition("/")[2], {})
            node[reading.source_time] = reading.value
    return {name: list(each.values()) for name, each in found.items()}


def have_reached(taken: list[Delivery], value: float, nodes: int) -> bool:
    return sum(each[-1] == value for each in values(taken).values()) == nodes


async def test_nodes_beyond_what_a_subscription_takes_go_into_further_ones(tmp_path: Path) -> None:
    limits = {"items_per_subscription": 15, "items_per_call": 7}
    async with node_opcua(tmp_path, nodes=NODES, **limits) as server:
        source = make_source(tmp_path, server.url)
        async with taking(source) as taken:
            await until(lambda: have_reached(taken, 0.0, NODES), "a first value of each node", 30)
            assert source._live is not None
            assert len(source._live[1].subscriptions) == 3
            await server.count(1, 20, PAUSE_MS)
            await until(lambda: have_reached(taken, 20.0, NODES), "the last value of each node")
            for each in values(taken).values():
                assert each == [float(n) for n in range(21)]
        # The next process goes on with all three of them.
        await server.count(21, 30, PAUSE_MS)
        async with taking(make_source(tmp_path, server.url)) as taken:
            await until(lambda: have_reached(taken, 30.0, NODES), "what came meanwhile")
            births = [e.birth.detail for d in taken for e in d.events if e.HasField("birth")]
            assert births == ["resumed"]
            for each in values(taken).values():
                assert each[-10:] == [float(n) for n in range(21, 31)]


async def test_a_server_that_is_full_refuses_the_rest_and_serves_what_it_has(
    tmp_path: Path,
) -> None:
    limits = {"items_per_subscription": 15, "most_items": 25, "subscriptions": 10}
    async with node_opcua(tmp_path, nodes=NODES, **limits) as server:
        source = make_source(tmp_path, server.url, opcua_retry_s=0.3)
        async with taking(source) as taken:
            await until(lambda: have_reached(taken, 0.0, 25), "what there is room for", 30)
            await server.count(1, 5, PAUSE_MS)
            await until(lambda: have_reached(taken, 5.0, 25), "their last values")
            assert source._live is not None
            # A third stands for a moment whenever the rest is tried again.
            watched = source._live[1].subscriptions
            await until(lambda: len(watched) == 2, "the two that are filled to stand alone")
            refused = Counter(
                (reading.value, hex(reading.status))
                for delivery in taken
                for reading in readings_of(delivery)
                if reading.status
            )
            # Told once for each node, however often it is tried again.
            assert refused == {(None, "0x80db0000"): NODES - 25}


async def test_a_server_that_gives_one_subscription_only_serves_what_fits_into_it(
    tmp_path: Path,
) -> None:
    limits = {"items_per_subscription": 15, "subscriptions": 1}
    async with node_opcua(tmp_path, nodes=NODES, **limits) as server:
        async with taking(make_source(tmp_path, server.url, opcua_retry_s=0.3)) as taken:
            await until(lambda: have_reached(taken, 0.0, 15), "what there is room for", 30)
            await server.count(1, 5, PAUSE_MS)
            await until(lambda: have_reached(taken, 5.0, 15), "their last values")
            assert not [e for d in taken for e in d.events if e.HasField("death")]


@pytest.mark.parametrize("says_so", [True, False])
async def test_messages_that_are_too_large_are_asked_for_smaller(
    tmp_path: Path, says_so: bool
) -> None:
    async with (
        # One that says nothing leaves us only its own limits for calls that create items.
        node_opcua(tmp_path, nodes=MANY, items_per_call=1000 if says_so else 100) as server,
        message_limit(server.url, MESSAGE_LIMIT, says_so=says_so) as limited,
    ):
        source = make_source(tmp_path, limited.url, MANY)
        async with taking(source) as taken:
            await until(lambda: have_reached(taken, 0.0, MANY), "a first value of each node", 60)
            await server.count(1, 10, PAUSE_MS)
            await until(lambda: have_reached(taken, 10.0, MANY), "the last value of each node")
            for each in values(taken).values():
                assert each[-10:] == [float(n) for n in range(1, 11)]
            assert limited.refused and source._dialler.most_notifications < MANY


async def test_a_source_that_ends_before_its_first_message_leaves_no_session(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Nothing brings anybody back to it yet."""
    async with node_opcua(tmp_path, nodes=1) as server:
        source = make_source(tmp_path, server.url, nodes=1)
        monkeypatch.setattr(source, "_remember", lambda message: None)  # as if none had come
        async with taking(source):
            await until(lambda: source._live is not None, "a session")
        await nothing_is_left(server.url)


@pytest.mark.parametrize("service", ["create_session", "activate_session", "create_subscription"])
async def test_a_source_that_ends_while_it_connects_leaves_no_session(
    service: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The server has the session by then, or will have it in a moment."""
    asked, original = asyncio.Event(), getattr(UaSession, service)

    async def asking(self: UaSession, *given: object, **more: object) -> object:
        asked.set()
        return await original(self, *given, **more)

    monkeypatch.setattr(UaSession, service, asking)
    async with node_opcua(tmp_path, nodes=1) as server:
        async with taking(make_source(tmp_path, server.url, nodes=1)):
            await asked.wait()
            for _ in range(5):  # until the request is sent, which takes some turns of the loop
                await asyncio.sleep(0)
        monkeypatch.undo()
        await nothing_is_left(server.url)


async def test_the_session_is_remembered_while_the_event_loop_goes_on(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With some hundred sources a slow disk would hold it up all the time."""
    writers: list[threading.Thread] = []
    original = ResumeFile._write

    def write(self: ResumeFile, resume: Resume) -> None:
        writers.append(threading.current_thread())
        original(self, resume)

    monkeypatch.setattr(ResumeFile, "_write", write)
    async with node_opcua(tmp_path, nodes=1) as server:
        async with taking(make_source(tmp_path, server.url, nodes=1)):
            await until(lambda: bool(writers), "the file")
            assert threading.main_thread() not in writers


async def nothing_is_left(url: str) -> None:
    """Wait until the server has no session but ours, and no subscription."""
    async with Client(url) as client:
        counts = [client.get_node(f"i={each}") for each in (2277, 2285)]
        found: list[list[int]] = []

        async def is_alone() -> bool:
            found.append([await each.read_value() for each in counts])
            return found[-1] == [1, 0]

        await until(is_alone, lambda: f"one session, no subscription; found {found[-1]}")
