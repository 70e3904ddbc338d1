"""How values are asked for, against node-opcua: filters that the server applies, what it revises,
what is repeated, odd status codes, the event time. Each count is worked out by hand beside it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from aurelian.edge.gateway import Delivery, Reading
from aurelian.model.sample import Flag, raw_status
from tests.integration.opcua_gateway.test_node_opcua import PAUSE_MS, make_source
from tests.peers.node_opcua_server import node_opcua
from tests.source_alone import readings_of, taking
from tests.waiting import until

KEEP_ALIVE = {"opcua_keep_alive_s": 0.3}


def of(taken: list[Delivery], name: str) -> list[Reading]:
    """What came of a signal, without repeats, each time of it once: node-opcua may send a value
    twice, with one time."""
    found: dict[int | None, Reading] = {}
    for delivery in taken:
        for reading in readings_of(delivery):
            is_new = not reading.flags & Flag.HEARTBEAT
            if reading.signal.path.endswith(f"/{name}") and is_new:
                found.setdefault(reading.source_time, reading)
    return list(found.values())


def values(taken: list[Delivery], name: str) -> list[object]:
    return [reading.value for reading in of(taken, name)]


def repeats(taken: list[Delivery], name: str) -> list[Reading]:
    return [
        reading
        for delivery in taken
        for reading in readings_of(delivery)
        if reading.flags & Flag.HEARTBEAT and reading.signal.path.endswith(f"/{name}")
    ]


def metric(name: str, **labels: str) -> float:
    return REGISTRY.get_sample_value(name, {"source": "x/s/peer", **labels}) or 0.0


def monitored(**said: object) -> Mapping[str, object]:
    return {"monitoring": said}


async def test_filters_are_applied_by_the_server_survive_a_new_session_and_fall_back(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    signals = {
        "v0": monitored(deadband_percent=2),  # of 0..200: more than 4
        "v1": monitored(deadband=2.5),
        "v2": monitored(trigger="status"),
        "v3": monitored(deadband_percent=2),  # has no EURange
        "v4": {},
        "b0": monitored(deadband=0.5),  # a Boolean: the server refuses the filter
    }
    async with node_opcua(tmp_path, nodes=5, analog=1, bools=1) as server:
        source = make_source(tmp_path, server.url, 0, signals=signals)
        async with taking(source) as taken:
            await until(lambda: all(values(taken, n) for n in signals), "a first value each", 30)
            await server.count(1, 20, PAUSE_MS)
            await until(lambda: values(taken, "v4")[-1] == 20.0, "the last value")
            whole = [float(n) for n in range(21)]
            assert values(taken, "v4") == values(taken, "v3") == whole
            assert values(taken, "v0") == [0.0, 5.0, 10.0, 15.0, 20.0]
            assert values(taken, "v1") == [0.0, 3.0, 6.0, 9.0, 12.0, 15.0, 18.0]
            assert values(taken, "v2") == [0.0]
            # Neither node is lost, each is told once: in the log, as a metric, and on the pages.
            await server.write_bool(0, True)
            await until(lambda: values(taken, "b0") == [False, True], "the Boolean's change")
            told = [r for r in caplog.records if r.message == "nodes come without their filter"]
            named = {tuple(r.fields["nodes"]): r.fields["reason"] for r in told}  # type: ignore[attr-defined]
            assert sorted(named) == [("x/s/a/l/press/b0",), ("x/s/a/l/press/v3",)]
            assert "no EURange" in named["x/s/a/l/press/v3",]
            assert metric("opcua_gateway_nodes_unfiltered") == 2
            births = [e.birth.detail for d in taken for e in d.events if e.HasField("birth")]
            assert [each for each in births if "2 nodes come without their filter" in each]

            # The subscriptions are made anew, with their filters.
            await server.forget()
            opened = lambda: len(of(taken, "v4")) and births_of(taken).count("connected") == 2  # noqa: E731
            await until(opened, "a new session", 30)
            await until(lambda: _has_initial_after(taken, "v4"), "its first values")
            before = {name: len(of(taken, name)) for name in signals}
            await server.count(21, 30, PAUSE_MS)
            await until(lambda: values(taken, "v4")[-1] == 30.0, "the last value")
            new = {name: values(taken, name)[before[name] :] for name in signals}
            # The first of the new session is 20: more than 2.5 from there on, and more than 4.
            assert new["v1"] == [23.0, 26.0, 29.0]
            assert new["v0"] == [25.0, 30.0]
            assert new["v2"] == []
            assert len([r for r in caplog.records if r.message == told[0].message]) == len(told)


def births_of(taken: list[Delivery]) -> list[str]:
    return [e.birth.detail for d in taken for e in d.events if e.HasField("birth")]


def _has_initial_after(taken: list[Delivery], name: str) -> bool:
    initial = [
        reading
        for delivery in taken
        for reading in readings_of(delivery)
        if reading.flags & Flag.INITIAL and reading.signal.path.endswith(f"/{name}")
    ]
    return len(initial) >= 2


async def test_a_changed_range_is_read_again_and_its_filter_made_anew(tmp_path: Path) -> None:
    signals = {"v0": monitored(deadband_percent=10)}  # of 0..200: more than 20
    async with node_opcua(tmp_path, nodes=1, analog=1) as server:
        source = make_source(tmp_path, server.url, 0, signals=signals)
        async with taking(source) as taken:
            await until(lambda: values(taken, "v0") == [0.0], "a first value", 30)
            changed = metric("opcua_gateway_semantics_changed_total")
            assert source._live is not None
            publishing = source._live[1]
            (item,) = [each for h, each in publishing._items._item_of.items() if h == 0]
            await server.count(1, 3, PAUSE_MS)
            await server.set_range(0, 0, 5)  # 10 percent: more than 0.5
            await server.count(4, 4, PAUSE_MS)
            await until(
                lambda: metric("opcua_gateway_semantics_changed_total") == changed + 1,
                "the new range",
            )
            await until(lambda: publishing._items._item_of[0] != item, "the filter made anew")
            await server.count(5, 8, PAUSE_MS)
            await until(lambda: values(taken, "v0")[-1] == 8.0, "the last value")
            # 1 to 3 were too small; from 4 on all are changes by more than 0.5.
            assert [v for v in values(taken, "v0") if v != 3.0] == [0.0, 4.0, 5.0, 6.0, 7.0, 8.0]


async def test_a_value_that_does_not_change_is_repeated_while_its_server_is_at_work(
    tmp_path: Path,
) -> None:
    async with node_opcua(tmp_path, nodes=2) as server:
        signals = {"v0": monitored(heartbeat_s=1), "v1": {}}
        source = make_source(tmp_path, server.url, 0, signals=signals, **KEEP_ALIVE)
        async with taking(source) as taken:
            await until(lambda: all(values(taken, n) for n in signals), "a first value each", 30)
            await server.count(7, 7, 0)
            await until(lambda: values(taken, "v0")[-1] == 7.0, "the value")
            at = of(taken, "v0")[-1].source_time
            is_it = lambda each: (each.value, each.source_time) == (7.0, at)  # noqa: E731
            await until(lambda: sum(map(is_it, repeats(taken, "v0"))) >= 2, "two repeats of it")
            assert repeats(taken, "v1") == []
            # A new value begins the time anew.
            await server.count(8, 8, 0)
            await until(lambda: values(taken, "v0")[-1] == 8.0, "the next value")
            count = len(repeats(taken, "v0"))
            await until(lambda: len(repeats(taken, "v0")) > count, "a repeat of that")
            assert repeats(taken, "v0")[-1].value == 8.0

            # The server lives, and says that it is not at work: nothing is repeated in its name.
            await server.say_state(4)
            await until(lambda: deaths(taken), "its word")
            begin = len(taken)
            await until(lambda: len(taken) >= begin + 8, "its keep-alives of over two seconds")
            assert not [
                r for d in taken[begin:] for r in readings_of(d) if r.flags & Flag.HEARTBEAT
            ]
            await server.say_state(0)
            count = len(repeats(taken, "v0"))
            await until(lambda: len(repeats(taken, "v0")) > count, "a repeat")
            assert repeats(taken, "v0")[-1].value == 8.0


def deaths(taken: list[Delivery]) -> list[str]:
    return [e.death.reason for d in taken for e in d.events if e.HasField("death")]


async def test_odd_codes_count_as_good_and_stay_as_they_came(tmp_path: Path) -> None:
    said = {"good_status": ["UncertainLastUsableValue", "0x80310000"], "event_time": "server"}
    async with node_opcua(tmp_path, nodes=1) as server:
        async with taking(make_source(tmp_path, server.url, 1, source=said)) as taken:
            await until(lambda: values(taken, "v0") == [0.0], "a first value", 30)
            now = 1_790_000_000_000
            for n, status in enumerate((0x40900000, 0x80310000, 0x40910000), 1):
                await server.write(0, float(n), status=status, source_ms=now + n, server_ms=now + 9)
                await asyncio.sleep(PAUSE_MS / 1000)
            await until(lambda: values(taken, "v0")[-1] == 3.0, "the last value")
            found = [(r.status, raw_status(r.status, r.flags)) for r in of(taken, "v0")[1:]]
            assert found == [
                (0x00900000, 0x40900000),
                (0x00310000, 0x80310000),
                (0x40910000, 0x40910000),
            ]
            # The server's time counts, the source's is kept.
            assert all(reading.flags & Flag.AT_SERVER_TIME for reading in of(taken, "v0"))
            assert [r.source_time for r in of(taken, "v0")[1:]] == [
                (now + n) * 1000 for n in (1, 2, 3)
            ]


async def test_a_queue_that_cannot_bridge_an_outage_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("INFO")
    # node-opcua samples every 50 ms at most, and keeps 5000 values at most. Asked for v0:
    # (2 x 0.1 + 300) / 0.01 + 1 = 30021, at most 10000; needed: 300.2 / 0.05 + 1 = 6005.
    # Of v1: 300.2 / 0.1 + 1 = 3003. That v2 has one value is what the plant file wants.
    signals = {"v0": monitored(sampling_interval_ms=10), "v1": {}}
    signals["v2"] = monitored(sampling_interval_ms=10, queue_size=1)
    async with node_opcua(tmp_path, nodes=3) as server:
        source = make_source(tmp_path, server.url, 0, signals=signals, opcua_queue_s=300)
        async with taking(source) as taken:
            await until(lambda: all(values(taken, n) for n in signals), "a first value each", 30)
            told = [r for r in caplog.records if r.message == "the server revised what was asked"]
            said = {r.fields["what"]: r.fields for r in told}  # type: ignore[attr-defined]
            found = {what: (f["asked"], f["given"], f["count"]) for what, f in said.items()}
            assert found == {
                "queue size": ([10_000.0], [5000.0], 1),
                "sampling interval": ([0.01], [0.05], 2),
            }
            short = [r for r in caplog.records if r.message == "queues are too short for an outage"]
            (fields,) = [r.fields for r in short]  # type: ignore[attr-defined]
            assert (fields["count"], fields["first"]) == (1, "x/s/a/l/press/v0")
            assert metric("opcua_gateway_short_queues") == 1
            assert metric("opcua_gateway_revised", what="queue_size") == 1
            assert metric("opcua_gateway_revised", what="sampling_interval") == 2
