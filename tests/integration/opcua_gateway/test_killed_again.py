"""A gateway that is killed, goes back to its session, and is killed again before what it asked for
is on its disk: what is gone is told."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import signal
from collections.abc import AsyncIterator, Mapping
from datetime import UTC, datetime
from pathlib import Path

from asyncua import Node, Server, ua

from aurelian.backbone.topics import create_topics
from aurelian.edge.gateway import Delivery
from aurelian.local import ports
from aurelian.model import codec
from aurelian.model.time import to_us
from aurelian.runtime.settings import KafkaSettings
from tests.integration.opcua_gateway.test_chaos_store import (
    following,
    log_of,
    start,
    stop,
    write_plant,
)
from tests.integration.opcua_gateway.test_node_opcua import make_source
from tests.peers.node_opcua_server import NAMESPACE
from tests.source_alone import readings_of, taking
from tests.stand_in_historian import Historian
from tests.waiting import until

SEED, KILLS = 20, 5
GATEWAY = "killed-again"
"""Its own; the broker has records of other tests."""


@contextlib.asynccontextmanager
async def serving() -> AsyncIterator[tuple[str, list[Node], Server]]:
    """A server of asyncua, which gives a message that is asked for again only once."""
    port = ports.any_free()
    server = Server()
    await server.init()
    url = f"opc.tcp://127.0.0.1:{port}"
    server.set_endpoint(url)
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    index = await server.register_namespace(NAMESPACE)
    nodes = [
        await server.nodes.objects.add_variable(ua.NodeId(f"v{n}", index), f"v{n}", 0.0)
        for n in range(3)
    ]
    async with server:
        yield url, nodes, server


def values(taken: list[Delivery]) -> list[float]:
    return [float(r.value) for each in taken for r in readings_of(each)]  # type: ignore[arg-type]


def gaps(taken: list[Delivery]) -> list[tuple[int, int]]:
    found = [e.gap for each in taken for e in each.events if e.HasField("gap")]
    return [(gap.from_time, gap.to_time) for gap in found]


async def test_what_the_server_gives_only_once_and_was_not_stored_is_told(tmp_path: Path) -> None:
    """Fails where the outbox does not say from which message on to go (`Bookmark`): the third
    process then sees numbers without a hole."""
    async with serving() as (url, nodes, server):
        async with taking(make_source(tmp_path, url, nodes=1), bookmark="") as first:
            await until(lambda: values(first) == [0.0], "the first value")
        stored = [each.bookmark for each in first if each.bookmark][-1]

        async def written(value: float) -> None:
            await server.write_attribute_value(nodes[0].nodeid, ua.DataValue(value))

        # Sent, and nothing of it gets to the disk; then asked for again, and the same.
        for asked_again in (False, True):
            source = make_source(tmp_path, url, nodes=1)
            async with taking(source, acknowledge=False, bookmark=stored) as lost:
                if not asked_again:
                    await until(lambda: bool(lost), "a session")
                    await written(1.0)
                await until(lambda: 1.0 in values(lost), "the value")
                assert not gaps(lost)
        source = make_source(tmp_path, url, nodes=1)
        async with taking(source, bookmark=stored) as third:
            await until(lambda: bool(third), "a session")
            await written(2.0)
            await until(lambda: 2.0 in values(third), "the next value")
    assert 1.0 not in values(third)  # else this server tests nothing
    assert len(gaps(third)) == 1


def stored(historian: Historian, node: int) -> set[float]:
    """Values of a node that came to the store."""
    return {
        float(sample.value)  # type: ignore[arg-type]
        for batch in historian.batches
        if batch.gateway == GATEWAY
        for sample in batch.samples()
        if sample.signal.path.endswith(f"/v{node}") and sample.value is not None
    }


def told(historian: Historian) -> list[codec.Gap]:
    """Gaps that came to the store."""
    return [e.gap for e in historian.events if e.gateway == GATEWAY and e.HasField("gap")]


def untold(historian: Historian, written: Mapping[float, int]) -> list[tuple[int, float]]:
    """Node and value of what is neither in the store nor in a gap; `written`: time of each value
    in microseconds."""
    gaps = told(historian)
    return [
        (node, value)
        for node in range(3)
        for value in written.keys() - stored(historian, node)
        if not any(gap.from_time <= written[value] <= gap.to_time for gap in gaps)
    ]


def sessions(state: Path) -> int:
    """How many sessions the gateways of this folder had."""
    return log_of(state).read_text().count("session is up")


async def test_kills_at_any_moment_leave_no_hole_without_a_gap(kafka: str, tmp_path: Path) -> None:
    """While three nodes count at 20 Hz."""
    await create_topics(kafka)
    chance, written = random.Random(SEED), {}
    historian = Historian(KafkaSettings(kafka_bootstrap=kafka))
    async with serving() as (url, nodes, server), following(historian):
        plant = write_plant(tmp_path / "plant", url, GATEWAY)

        async def count() -> None:
            for value in itertools.count(1):
                now = datetime.now(UTC)
                written[float(value)] = to_us(now)
                for node in nodes:
                    made = ua.DataValue(float(value), SourceTimestamp=now)
                    await server.write_attribute_value(node.nodeid, made)
                await asyncio.sleep(0.05)

        process = await start(kafka, plant, tmp_path, GATEWAY)
        counting = None
        try:
            await until(lambda: 0.0 in stored(historian, 0), "the first value", 60)
            counting = asyncio.create_task(count())
            await until(lambda: len(stored(historian, 0)) > 5, "values before the kills", 60)
            for _ in range(KILLS):
                process.send_signal(signal.SIGKILL)
                await process.wait()
                before = sessions(tmp_path)
                process = await start(kafka, plant, tmp_path, GATEWAY)
                await until(lambda n=before: sessions(tmp_path) > n, "a session", 60)
                await asyncio.sleep(chance.uniform(0.0, 0.3))
            await until(lambda: len(written) in stored(historian, 0), "a value of now", 60)
            counting.cancel()
            last = max(written)
            await until(lambda: all(last in stored(historian, n) for n in range(3)), "the last", 60)
            await until(  # gaps come by another topic
                lambda: not untold(historian, written),
                lambda: f"gaps for {untold(historian, written)}",
                20,
            )
        finally:
            if counting is not None:
                counting.cancel()
            await stop(process)
