"""The OPC UA gateway, node-opcua, Kafka and the store: each value is there once, whoever was
killed, doubled or away."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path

import psycopg
import pytest

from aurelian.backbone.topics import create_topics
from aurelian.db.logs import declare_log
from aurelian.edge.gateway import run_gateway
from aurelian.runtime.health import Health
from aurelian.runtime.settings import KafkaSettings
from opcua_gateway.settings import OpcuaGatewaySettings
from opcua_gateway.sources import make_sources
from tests import servers
from tests.integration.historian.historian_process import running_historian
from tests.integration.opcua_gateway.test_chaos_more import now_ms
from tests.long_tests import LONG_TESTS
from tests.peers.node_opcua_server import NAMESPACE, node_opcua
from tests.stand_in_historian import Historian
from tests.waiting import until

NODES = 3
PAUSE_MS = 100
"""10 Hz; twice the sampling interval, so that each value is sampled."""


def write_plant(folder: Path, url: str, company: str) -> Path:
    signals = "\n".join(
        f'              - {{name: v{n}, address: "nsu={NAMESPACE};s=v{n}", type: double}}'
        for n in range(NODES)
    )
    folder.mkdir()
    (folder / "site.yaml").write_text(
        f"""
company: {{id: {company}, name: Company}}
site: site
time_zone: UTC
sources:
  - {{id: peer, kind: opcua, url: "{url}", publishing_interval_ms: 50}}
areas:
  - name: area
    lines:
      - name: line
        products: [{{id: cup, ideal_cycle_s: 2}}]
        units:
          - name: press
            source: peer
            signals:
{signals}
"""
    )
    return folder


def times(first: int, last: int, first_ms: int) -> dict[int, float]:
    """What `NodeOpcua.count` gives each node, by source time in microseconds."""
    return {(first_ms + n * PAUSE_MS) * 1000: float(first + n) for n in range(last - first + 1)}


@dataclass(frozen=True)
class Store:
    """The store that a historian fills from Kafka."""

    kafka: str
    url: str

    def rows(self, company: str, node: int) -> list[tuple[int, int, float]]:
        """(source time in microseconds, sub, value) of a node, in order."""
        query = (
            "SELECT (extract(epoch FROM t.time) * 1000000)::bigint, t.sub, t.value "
            "FROM historian.sample_number AS t JOIN historian.signal AS s ON s.key = t.signal "
            "WHERE s.path = %s ORDER BY 1, 2"
        )
        with psycopg.connect(self.url) as conn:
            return conn.execute(query, (f"{company}/site/area/line/press/v{node}",)).fetchall()

    def has(self, company: str, value: float) -> bool:
        """Whether the newest value of every node is this."""
        found = [self.rows(company, node) for node in range(NODES)]
        return all(rows and rows[-1][2] == value for rows in found)


@pytest.fixture(scope="module")
def store(
    kafka: str,
    postgres: servers.PostgresServer,
    migrated_template: str,
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Store]:
    """One store for the tests here; each has a company of its own."""
    url = postgres.create_database(migrated_template)
    asyncio.run(create_topics(kafka))
    declare_log(url, "kafka")
    with running_historian(kafka, url, tmp_path_factory.mktemp("historian")):
        yield Store(kafka, url)
    postgres.drop_database(url)


@contextlib.asynccontextmanager
async def running(
    kafka: str, plant: Path, state: Path, gateway: str, **more: object
) -> AsyncIterator[None]:
    """A gateway in this process."""

    settings = OpcuaGatewaySettings(
        kafka_bootstrap=kafka,
        kafka_timeout_s=2,
        gateway=gateway,
        plant=plant,
        state=state,
        outbox_min_free=0.0,
        **more,  # type: ignore[arg-type]
    )
    task = asyncio.create_task(run_gateway(settings, Health("opcua_gateway"), make_sources))
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def start(
    kafka: str, plant: Path, state: Path, gateway: str, **more: object
) -> asyncio.subprocess.Process:
    """A gateway as a process; its log goes on with `gateway.log` in its folder."""
    settings = {
        "kafka_bootstrap": kafka,
        "gateway": gateway,
        "plant": plant,
        "state": state,
        "outbox_min_free": 0.0,
        **more,
    }
    environment = {f"AURELIAN_{name.upper()}": str(value) for name, value in settings.items()}
    with log_of(state).open("ab") as log:
        return await asyncio.create_subprocess_exec(
            sys.executable, "-m", "opcua_gateway", env=os.environ | environment, stderr=log
        )


def log_of(state: Path) -> Path:
    """Where a gateway process says what happens."""
    return state / "gateway.log"


async def stop(process: asyncio.subprocess.Process) -> None:
    """End it in good order."""
    with contextlib.suppress(ProcessLookupError):
        process.terminate()
    await process.wait()


@contextlib.asynccontextmanager
async def following(historian: Historian) -> AsyncIterator[None]:
    """A stand-in historian at work."""
    task = asyncio.create_task(historian.follow("log-1"))
    try:
        yield
    finally:
        task.cancel()
        await asyncio.wait([task])


async def test_a_gateway_that_is_killed_at_ten_hertz_leaves_no_hole_and_no_double_in_the_store(
    store: Store, tmp_path: Path
) -> None:
    """Fails where the next process does not go on with the session of this one (`resume.load`: what
    was sampled between is missing), and where it does not fetch what was on its way
    (`Subscription.accept`: messages without acknowledgement are missing)."""
    company, last = "chaos-killed", 100
    async with node_opcua(tmp_path, nodes=NODES) as server:
        plant = write_plant(tmp_path / "plant", server.url, company)
        process = await start(store.kafka, plant, tmp_path, "chaos-killed")
        try:
            await until(lambda: store.has(company, 0.0), "first values", 40)
            first_ms = now_ms()
            counting = asyncio.create_task(server.count(1, last, PAUSE_MS, first_ms))
            await until(lambda: len(store.rows(company, 0)) > 20, "values before the kill")
            process.send_signal(signal.SIGKILL)
            await process.wait()
            process = await start(store.kafka, plant, tmp_path, "chaos-killed")
            await counting
            await until(lambda: store.has(company, float(last)), "the last value", 30)
        finally:
            await stop(process)
    expected = [(at, 0, value) for at, value in times(1, last, first_ms).items()]
    for node in range(NODES):
        assert store.rows(company, node)[1:] == expected


async def test_two_gateways_at_one_server_store_each_value_once(
    store: Store, tmp_path: Path
) -> None:
    company, last = "chaos-two", 40
    async with node_opcua(tmp_path, nodes=NODES) as server:
        plant = write_plant(tmp_path / "plant", server.url, company)
        async with (
            running(store.kafka, plant, tmp_path / "one", "chaos-one"),
            running(store.kafka, plant, tmp_path / "other", "chaos-other"),
        ):
            await until(lambda: store.has(company, 0.0), "first values", 30)
            first_ms = now_ms()
            await server.count(1, last, PAUSE_MS, first_ms)
            await until(lambda: store.has(company, float(last)), "the last value", 30)
    expected = [(at, 0, value) for at, value in times(1, last, first_ms).items()]
    for node in range(NODES):
        assert store.rows(company, node)[1:] == expected


async def test_first_values_of_a_new_session_double_nothing_and_two_values_of_one_time_stay_two(
    store: Store, tmp_path: Path
) -> None:
    company = "chaos-first"
    async with node_opcua(tmp_path, nodes=NODES) as server:
        plant = write_plant(tmp_path / "plant", server.url, company)
        state = tmp_path / "state"
        async with running(store.kafka, plant, state, "chaos-first"):
            await until(lambda: store.has(company, 0.0), "first values", 30)
            at = now_ms()
            for value in (1.0, 2.0):
                for node in range(NODES):
                    await server.write(node, value, source_ms=at, server_ms=at)
                await asyncio.sleep(3 * PAUSE_MS / 1000)
            await until(lambda: store.has(company, 2.0), "both values")
        # A new session of the same gateway, then of one that knows nothing of before.
        for other, gateway in ((state, "chaos-first"), (tmp_path / "new", "chaos-next")):
            for file in other.glob("opcua-*.json"):
                file.unlink()
            async with running(store.kafka, plant, other, gateway):
                later = now_ms()
                await server.write(0, 3.0, source_ms=later, server_ms=later)
                await until(lambda t=later: (t * 1000, 0, 3.0) in store.rows(company, 0), gateway)  # type: ignore[misc]
    for node in range(NODES):
        rows = [row for row in store.rows(company, node) if row[2] != 3.0]
        assert rows[1:] == [(at * 1000, 0, 1.0), (at * 1000, 1, 2.0)]


async def test_while_kafka_is_away_and_the_outbox_full_what_the_server_cannot_hold_is_a_gap(
    tmp_path: Path,
) -> None:
    away_s = 60.0 if LONG_TESTS else 9.0
    last = int((away_s + 8) * 1000 / PAUSE_MS)
    limits = {"outbox_max_age_s": 3.0, "opcua_queue_s": 2.0, "opcua_unacknowledged": 8}
    with servers.kafka_broker() as broker:
        await create_topics(broker.bootstrap)
        historian = Historian(KafkaSettings(kafka_bootstrap=broker.bootstrap))

        def found() -> dict[str, set[tuple[int, object]]]:
            nodes: dict[str, set[tuple[int, object]]] = {}
            for batch in historian.batches:
                for sample in batch.samples():
                    nodes.setdefault(sample.signal.path, set()).add(
                        (sample.source_time, sample.value)
                    )
            return nodes

        async with node_opcua(tmp_path, nodes=NODES) as server:
            plant = write_plant(tmp_path / "plant", server.url, "chaos-away")
            kafka = broker.bootstrap
            process = await start(kafka, plant, tmp_path, "chaos-away", **limits)
            try:
                async with following(historian):
                    await until(lambda: len(found()) == NODES, "first values", 40)
                    first_ms = now_ms()
                    counting = asyncio.create_task(server.count(1, last, PAUSE_MS, first_ms))
                    await asyncio.sleep(2)
                await asyncio.to_thread(broker.kill)
                await asyncio.sleep(away_s)
                assert b"outbox is full" in log_of(tmp_path).read_bytes()
                await asyncio.to_thread(broker.start)
                async with following(historian):
                    await counting
                    end = max(times(1, last, first_ms).items())
                    await until(lambda: all(end in each for each in found().values()), "end", 40)
            finally:
                await stop(process)
    expected = times(1, last, first_ms)
    spans = [
        (e.gap.from_time, e.gap.to_time) for e in historian.events if e.WhichOneof("kind") == "gap"
    ]
    for each in found().values():
        missing = [at for at, value in expected.items() if (at, value) not in each]
        assert missing, "the server's queues held everything: nothing was tried"
        assert not [at for at in missing if not any(b <= at <= e for b, e in spans)]
    assert not [e for e in historian.events if e.WhichOneof("kind") == "death"]
