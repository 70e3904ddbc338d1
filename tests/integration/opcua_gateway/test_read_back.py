"""What a server sampled while the gateway had no session comes out of its history: each value once,
flagged, behind the live ones."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections import Counter
from pathlib import Path

import pytest

from aurelian.edge.gateway import Delivery, Reading, run_gateway
from aurelian.model.sample import Flag
from aurelian.runtime.health import Health
from opcua_gateway.settings import OpcuaGatewaySettings
from opcua_gateway.sources import make_sources
from tests.gateway_log import followed
from tests.integration.opcua_gateway.test_node_opcua import have_reached, make_source
from tests.peers.fault_proxy import FaultProxy, fault_proxy
from tests.peers.node_opcua_server import NAMESPACE, NodeOpcua, node_opcua, url_at
from tests.source_alone import readings_of, taking
from tests.waiting import until

PLANT = """
company: {id: x, name: X}
site: s
time_zone: UTC
sources:
  - {id: peer, kind: opcua, url: "URL", publishing_interval_ms: 50}
areas:
  - name: a
    lines:
      - name: l
        products: [{id: cup, ideal_cycle_s: 2}]
        units:
          - name: press
            source: peer
            signals: [{name: v0, address: "nsu=NAMESPACE;s=v0"}]
"""

PAUSE_MS = 100
FAST = {"publishing_interval_ms": 50}
"""Twice as fast as the server writes, so that each value is sampled."""


def of(taken: list[Delivery], node: str) -> list[Reading]:
    return [r for d in taken for r in readings_of(d) if r.signal.path.endswith(f"/{node}")]


def by_time(readings: list[Reading]) -> list[object]:
    """Values in the order of their times; what came out of the history must not have come live.

    node-opcua may send a live value twice after a break; the second is no other one.
    """
    live = {r.source_time: r.value for r in readings if not r.flags & Flag.HISTORICAL}
    times = Counter(r.source_time for r in readings if r.flags & Flag.HISTORICAL)
    times.update(live.keys())
    assert not [time for time, count in times.items() if count > 1], "values came twice"
    assert all(live.get(r.source_time, r.value) == r.value for r in readings)
    return list({r.source_time: r.value for r in sorted(readings, key=_time)}.values())


def _time(reading: Reading) -> int:
    assert reading.source_time is not None
    return reading.source_time


def historical(readings: list[Reading]) -> list[object]:
    return [r.value for r in readings if r.flags & Flag.HISTORICAL]


def gaps(taken: list[Delivery]) -> list[bool]:
    """Of each gap event, whether it says that all of it came."""
    return [e.gap.recovered for d in taken for e in d.events if e.HasField("gap")]


def newest(taken: list[Delivery], node: str) -> object:
    return of(taken, node)[-1].value


def births(taken: list[Delivery]) -> int:
    return sum(e.HasField("birth") for d in taken for e in d.events)


def numbers(last: int) -> list[float]:
    return [float(n) for n in range(last + 1)]


@pytest.mark.long
async def test_values_written_while_the_gateway_was_cut_off_longer_than_its_session_lives_come_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    last = 280
    async with (
        node_opcua(tmp_path, nodes=4, historized=3) as server,
        fault_proxy(server.port) as proxy,
    ):
        source = make_source(
            tmp_path, url_at(proxy.port), 4, source=FAST, opcua_session_timeout_s=10
        )
        async with taking(source) as taken:
            await until(lambda: have_reached(taken, 0.0, 4), "first values", 30)
            counting = asyncio.create_task(server.count(1, last, PAUSE_MS))
            await asyncio.sleep(2)
            proxy.cut()
            await asyncio.sleep(13)
            proxy.restore()
            await counting
            await until(
                lambda: all(len(of(taken, f"v{n}")) > last for n in range(3)), "all values", 20
            )
            await until(lambda: "history was read back" in caplog.text, "the log line", 5)
            assert [e.birth.detail for d in taken for e in d.events if e.HasField("birth")] == [
                "connected",
                "connected",
            ]
        for name in ("v0", "v1", "v2"):
            readings = of(taken, name)
            assert by_time(readings) == numbers(last)
            hole = historical(readings)
            assert 110 < len(hole) < last - 25
            assert hole == [float(n) for n in range(int(hole[0]), int(hole[-1]) + 1)]  # type: ignore[call-overload]
        assert not historical(of(taken, "v3")) and len(of(taken, "v3")) < last - 110
        # The node without history leaves the gap what it is; it is named once.
        assert gaps(taken) == [False]
        (named,) = [r for r in caplog.records if r.getMessage() == "nodes have no history"]
        assert [path.rpartition("/")[2] for path in named.fields["nodes"]] == ["v3"]  # type: ignore[attr-defined]
        (told,) = [r for r in caplog.records if r.getMessage() == "history was read back"]
        assert told.levelno == logging.WARNING
        fields = told.fields  # type: ignore[attr-defined]
        assert (fields["nodes_whole"], fields["nodes_no_history"]) == (3, 1)
        assert fields["values"] == sum(len(historical(of(taken, f"v{n}"))) for n in range(4))
        assert all(len(readings_of(delivery)) <= 1000 for delivery in taken)


async def cut_off(
    server: NodeOpcua, proxy: FaultProxy, first: int, last: int, pause_ms: int
) -> None:
    """Write while nobody listens, in a session that the server then forgets."""
    proxy.cut()
    await server.count(first, last, pause_ms)
    await server.forget()
    proxy.restore()


async def test_more_values_than_a_response_carries_come_by_continuation_points(
    tmp_path: Path,
) -> None:
    last = 2200
    async with (
        node_opcua(tmp_path, nodes=2, historized=2) as server,
        fault_proxy(server.port) as proxy,
    ):
        async with taking(make_source(tmp_path, url_at(proxy.port), 2, source=FAST)) as taken:
            await until(lambda: have_reached(taken, 0.0, 2), "first values", 30)
            await cut_off(server, proxy, 1, last, 1)
            await until(lambda: True in gaps(taken), "the gap to be filled", 40)
            await server.count(last + 1, last + 1)
            await until(lambda: newest(taken, "v0") == last + 1, "live values")
        for name in ("v0", "v1"):
            # The last one came live, as the first value of the new session.
            assert historical(of(taken, name)) == numbers(last - 1)[1:]
            assert by_time(of(taken, name)) == numbers(last + 1)
        # All nodes have a history, and it reaches back: the gap is whole.
        assert gaps(taken) == [False, True]
        told = [e.gap for d in taken for e in d.events if e.HasField("gap")]
        assert {(gap.from_time, gap.to_time, gap.reason) for gap in told} == {
            (told[0].from_time, told[0].to_time, told[0].reason)
        }
        most = max(len(readings_of(delivery)) for delivery in taken)
        assert 500 < most <= 1000


async def test_a_read_that_is_broken_off_goes_on_where_it_was(tmp_path: Path) -> None:
    last = 5000
    async with (
        node_opcua(tmp_path, nodes=2, historized=2) as server,
        fault_proxy(server.port) as proxy,
    ):
        async with taking(make_source(tmp_path, url_at(proxy.port), 2, source=FAST)) as taken:
            await until(lambda: have_reached(taken, 0.0, 2), "first values", 30)
            await cut_off(server, proxy, 1, last, 1)
            for wanted in (500, 2500):
                await until(lambda n=wanted: len(historical(of(taken, "v0"))) >= n, "some", 60)  # type: ignore[misc]
                proxy.disconnect()
            assert len(historical(of(taken, "v0"))) < last - 1
            await until(lambda: True in gaps(taken), "the gap to be filled", 100)
        births = [e.birth.detail for d in taken for e in d.events if e.HasField("birth")]
        assert births == ["connected", "connected", "resumed", "resumed"]
        for name in ("v0", "v1"):
            assert by_time(of(taken, name)) == numbers(last)


async def test_refused_histories_cost_neither_the_session_nor_the_other_nodes(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async with (
        node_opcua(tmp_path, nodes=3, historized=1, refused=2) as server,
        fault_proxy(server.port) as proxy,
    ):
        async with taking(make_source(tmp_path, url_at(proxy.port), 3, source=FAST)) as taken:
            await until(lambda: have_reached(taken, 0.0, 3), "first values", 30)
            await cut_off(server, proxy, 1, 50, 20)
            await until(lambda: "history was read back" in caplog.text, "the end of it", 30)
            await server.count(51, 55, PAUSE_MS)
            await until(lambda: have_reached(taken, 55.0, 3), "live values")
        assert by_time(of(taken, "v0")) == numbers(55)
        assert not historical(of(taken, "v1")) and not historical(of(taken, "v2"))
        assert gaps(taken) == [False]
        (told,) = [r for r in caplog.records if r.getMessage() == "history was read back"]
        assert told.fields["nodes_refused"] == 2  # type: ignore[attr-defined]
        deaths = [e for d in taken for e in d.events if e.HasField("death")]
        assert len(deaths) == 1


async def test_a_request_is_for_no_more_nodes_than_the_server_said(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    nodes, last = 9, 50
    async with (
        node_opcua(tmp_path, nodes=nodes, historized=nodes, history_nodes_per_call=4) as server,
        fault_proxy(server.port) as proxy,
    ):
        source = make_source(tmp_path, url_at(proxy.port), nodes, source=FAST)
        async with taking(source) as taken:
            await until(lambda: have_reached(taken, 0.0, nodes), "first values", 30)
            await cut_off(server, proxy, 1, last, 10)
            await until(lambda: True in gaps(taken), "the gap to be filled", 30)
        for n in range(nodes):
            assert by_time(of(taken, f"v{n}")) == numbers(last)
        assert "history cannot be read" not in caplog.text


async def test_values_that_the_servers_queue_could_not_hold_come_back(tmp_path: Path) -> None:
    last = 120
    async with (
        node_opcua(tmp_path, nodes=2, historized=2) as server,
        fault_proxy(server.port) as proxy,
    ):
        # Room for 21 values of each node.
        source = make_source(tmp_path, url_at(proxy.port), 2, source=FAST, opcua_queue_s=1)
        async with taking(source) as taken:
            await until(lambda: have_reached(taken, 0.0, 2), "first values", 30)
            proxy.cut()
            await server.count(1, last, PAUSE_MS)
            proxy.restore()
            await until(lambda: True in gaps(taken), "the gap to be filled", 30)
            assert births(taken) == 2
        for name in ("v0", "v1"):
            readings = of(taken, name)
            assert by_time(readings) == numbers(last)
            assert len(historical(readings)) >= last - 25


async def test_a_gateway_that_was_away_itself_reads_from_when_it_last_heard_something(
    tmp_path: Path,
) -> None:
    last = 100
    async with node_opcua(tmp_path, nodes=2, historized=2) as server:
        async with taking(make_source(tmp_path, server.url, 2, source=FAST)) as before:
            await until(lambda: have_reached(before, 0.0, 2), "first values", 30)
            await server.count(1, 10, PAUSE_MS)
            await until(lambda: have_reached(before, 10.0, 2), "values of the first process")
        await server.count(11, last, 20)
        await server.forget()
        async with taking(make_source(tmp_path, server.url, 2, source=FAST)) as after:
            await until(lambda: len(of(after, "v0")) >= last - 10, "what it missed", 30)
            await until(lambda: len(of(after, "v1")) >= last - 10, "what it missed", 30)
        for name in ("v0", "v1"):
            # Those of the last seconds before are read twice, and stored once: they are the same.
            again = {r.source_time: r.value for r in of(after, name)}
            known = {r.source_time: r.value for r in of(before, name)}
            assert all(again[at] == known[at] for at in again.keys() & known.keys())
            every = known | again
            assert [every[at] for at in sorted(every)] == numbers(last)  # type: ignore[type-var]


async def test_what_a_gateway_had_not_stored_when_it_ended_is_read_by_the_next(
    tmp_path: Path,
) -> None:
    last = 3000
    async with (
        node_opcua(tmp_path, nodes=2, historized=2) as server,
        fault_proxy(server.port) as proxy,
    ):
        before = make_source(tmp_path, url_at(proxy.port), 2, source=FAST)
        async with taking(before, acknowledge=False) as taken:
            await until(lambda: have_reached(taken, 0.0, 2), "first values", 30)
            await cut_off(server, proxy, 1, last, 1)
            await until(lambda: bool(historical(of(taken, "v0"))), "the first of them", 30)
            await asyncio.sleep(1)
        # The next request waits for the disk.
        assert sum(bool(historical(readings_of(d))) for d in taken) == 1
        next_one = make_source(tmp_path, url_at(proxy.port), 2, source=FAST)
        async with taking(next_one) as after:
            await until(
                lambda: all(len(historical(of(after, f"v{n}"))) >= last - 1 for n in range(2)),
                "all of them",
                30,
            )
            await until(lambda: next_one._holes.unread is None, "the end of it", 10)
        for name in ("v0", "v1"):
            # At the edges a value may come twice, live as well, and is stored once: it is the same.
            readings = of(after, name)
            found = {r.source_time: r.value for r in sorted(readings, key=_time)}
            assert list(found.values())[-last:] == numbers(last)[1:]
            assert all(found[r.source_time] == r.value for r in readings)
            assert len(readings) <= len(found) + 3
        assert [e.birth.detail for d in after for e in d.events if e.HasField("birth")] == [
            "resumed"
        ]
    again = make_source(tmp_path, url_at(proxy.port), 2, source=FAST)
    again._begin_anew("")
    assert again._holes.unread is None


@pytest.mark.long
async def test_live_values_do_not_wait_for_what_is_read_back(tmp_path: Path) -> None:
    last, live = 4000, 60
    async with (
        node_opcua(tmp_path, nodes=4, historized=4) as server,
        fault_proxy(server.port) as proxy,
    ):
        async with taking(make_source(tmp_path, url_at(proxy.port), 4, source=FAST)) as taken:
            await until(lambda: have_reached(taken, 0.0, 4), "first values", 30)
            await cut_off(server, proxy, 1, last, 1)
            await until(lambda: births(taken) == 2, "the new session", 30)
            counting = asyncio.create_task(server.count(last + 1, last + live, 60))
            await until(lambda: True in gaps(taken), "the gap to be filled", 40)
            await counting
            await until(lambda: have_reached(taken, float(last + live), 4), "live values")
        kinds = [
            "".join(sorted({"h" if r.flags & Flag.HISTORICAL else "l" for r in readings_of(d)}))
            for d in taken
            if readings_of(d)
        ]
        mixed = "".join(kinds).strip("l")
        # While the history was read, live messages came between its deliveries.
        assert mixed.count("h") >= 16 and mixed.count("l") >= 5
        delays = [
            d.received_at - r.source_time
            for d in taken
            for r in readings_of(d)
            if r.source_time and isinstance(r.value, float) and r.value > last
        ]
        assert max(delays) < 1_500_000


async def test_by_way_of_outbox_and_broker_each_value_arrives_once(
    kafka: str, tmp_path: Path
) -> None:
    last = 2500
    folder = tmp_path / "plant"
    folder.mkdir()
    async with (
        node_opcua(tmp_path, nodes=1, historized=1) as server,
        fault_proxy(server.port) as proxy,
        followed(kafka, "opcua-history") as log,
    ):
        plant = PLANT.replace("URL", url_at(proxy.port)).replace("NAMESPACE", NAMESPACE)
        (folder / "s.yaml").write_text(plant)
        settings = OpcuaGatewaySettings(
            kafka_bootstrap=kafka, gateway="opcua-history", plant=folder, state=tmp_path
        )
        task = asyncio.create_task(run_gateway(settings, Health("opcua_gateway"), make_sources))
        try:
            await until(lambda: bool(log.of("v0")), "the first value", 30)
            await cut_off(server, proxy, 1, last, 1)
            await until(lambda: len(log.of("v0")) > last, "all values", 40)
            await until(lambda: len(log.kind("gap")) == 2, "the gap to be filled")
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task
    samples = sorted(log.of("v0"), key=lambda sample: sample.source_time)
    assert [sample.value for sample in samples] == numbers(last)
    assert [bool(s.flags & Flag.HISTORICAL) for s in samples] == [
        False,
        *[True] * (last - 1),
        False,
    ]
    assert all(s.sub == 0 and not s.flags & Flag.TIME_REPLACED for s in samples)
    told, filled = log.kind("gap")
    assert not told.gap.recovered and filled.gap.recovered
    assert told.gap.from_time == filled.gap.from_time < told.gap.to_time == filled.gap.to_time


async def test_nothing_is_read_back_where_it_is_switched_off(tmp_path: Path) -> None:
    async with (
        node_opcua(tmp_path, nodes=1, historized=1) as server,
        fault_proxy(server.port) as proxy,
    ):
        source = make_source(tmp_path, url_at(proxy.port), 1, source=FAST, opcua_read_back=False)
        async with taking(source) as taken:
            await until(lambda: have_reached(taken, 0.0, 1), "first values", 30)
            await cut_off(server, proxy, 1, 20, 10)
            await until(lambda: newest(taken, "v0") == 20, "the new session", 30)
            await asyncio.sleep(2)
        assert [r.value for r in of(taken, "v0")] == [0.0, 20.0]
        assert gaps(taken) == [False]
