"""Three Apache Kafka brokers under load: the leader killed, two brokers killed, all restarted in
turn. Nothing lost, nothing doubled.

A gateway with its outbox and a historian with a real database run throughout; every value that the
gateway acknowledged must be in the store once. AURELIAN_FAULT_EVIDENCE names a file that gets the
seconds of each recovery. `make test-faults`.
"""

from __future__ import annotations

import asyncio
import contextlib
import gc
import json
import os
import time
from collections.abc import AsyncIterator, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import psycopg
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from aurelian.backbone.topics import SAMPLES, create_topics
from aurelian.db.logs import declare_log
from aurelian.edge.gateway import Delivery, GatewaySettings, Reading, run_gateway
from aurelian.model.plant import Plant
from aurelian.model.sample import ValueType
from aurelian.runtime.health import Health
from tests import servers
from tests.integration.historian.historian_process import running_historian
from tests.waiting import until

# A client that is closed while its broker is away leaves a connection to the garbage collector.
pytestmark = [
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
]

PER_SECOND = 1_000
AWAY_S = 30.0
"""How long two of three brokers are away: no quorum, no leader, nothing can be written."""

PLANT = """
company: {id: pilot-x, name: Pilot X}
site: north
time_zone: UTC
sources: [{id: press-opcua, kind: opcua, url: "opc.tcp://127.0.0.1:4840"}]
areas:
  - name: forming
    lines:
      - name: line-1
        products: [{id: cup, ideal_cycle_s: 2}]
        units:
          - name: press
            source: press-opcua
            signals: [{name: force, type: double, range: [0, 1000000000]}]
"""


@dataclass
class Counting:
    """A machine that sends 0, 1, 2 … at a steady rate until it is told to stop."""

    plant: Plant
    stopping: asyncio.Event = field(default_factory=asyncio.Event)
    sent: int = 0
    acked: int = 0

    def __post_init__(self) -> None:
        self.model, self.owner = self.plant.sources[0], self.plant.owner

    async def deliveries(self, bookmark: str = "") -> AsyncIterator[Delivery]:
        unit = next(self.plant.units())
        (signal,), (model,) = unit.signals(), unit.model.signals
        step = PER_SECOND // 20
        while not self.stopping.is_set():
            now = time.time_ns() // 1000
            first = self.sent
            self.sent += step
            yield Delivery(
                source=self.model,
                owner=self.owner,
                received_at=now,
                readings=[
                    Reading(
                        unit,
                        model,
                        signal,
                        unit.line.path,
                        float(n),
                        ValueType.DOUBLE,
                        now + n - first,
                    )
                    for n in range(first, first + step)
                ],
                ack=self._count,
            )
            await asyncio.sleep(step / PER_SECOND)
        await asyncio.Event().wait()

    def _count(self) -> None:
        self.acked += PER_SECOND // 20


@dataclass
class Line:
    """The running line of one test."""

    cluster: servers.KafkaCluster
    machine: Counting
    database_url: str

    def stored(self) -> int:
        """Values in the store."""
        with psycopg.connect(self.database_url) as connection:
            row = connection.execute("SELECT count(*) FROM historian.sample_number").fetchone()
        assert row is not None
        return int(row[0])

    async def recover(self, what: str, limit_s: float = 60.0) -> float:
        """Wait until a value is stored that was sent after now; return and note the seconds."""
        sent, began = self.machine.sent, time.monotonic()
        await until(lambda: self.stored() > sent, f"the line after {what}", limit_s)
        seconds = time.monotonic() - began
        _note(what, seconds)
        return seconds

    async def finish(self) -> None:
        """Stop the machine; compare the store with what it sent."""
        machine = self.machine
        machine.stopping.set()
        await until(lambda: machine.acked == machine.sent, "the gateway to have all", 30)
        await until(lambda: self.stored() >= machine.sent, "the store to have all", 60)
        with psycopg.connect(self.database_url) as connection:
            found = connection.execute(
                "SELECT value, count(*) FROM historian.sample_number GROUP BY value ORDER BY value"
            ).fetchall()
        assert found == [(float(n), 1) for n in range(machine.sent)]
        _note("values", machine.sent)


@pytest.fixture(autouse=True)
def collect_garbage() -> Iterator[None]:
    """Let those connections go here, where their warnings are expected."""
    yield
    gc.collect()


@pytest.fixture
def cluster() -> Iterator[servers.KafkaCluster]:
    """Three brokers of the test's own."""
    with servers.kafka_cluster() as three:
        yield three


@contextlib.asynccontextmanager
async def running_line(
    cluster: servers.KafkaCluster, database_url: str, folder: Path
) -> AsyncIterator[Line]:
    """A gateway in this process and a historian in its own, on the three brokers."""
    await create_topics(cluster.bootstrap, 3)
    await asyncio.to_thread(declare_log, database_url, "log-1")
    (folder / "plants").mkdir()
    (folder / "plants" / "north.yaml").write_text(PLANT)
    settings = GatewaySettings(
        gateway="opcua-1",
        kafka_bootstrap=cluster.bootstrap,
        kafka_replication=3,
        kafka_timeout_s=5,
        plant=folder / "plants",
        state=folder / "state",
        outbox_min_free=0.0,
    )
    machines: list[Counting] = []

    def make_sources(_: GatewaySettings, plants: Sequence[Plant], __: object) -> Sequence[Counting]:
        machines.append(Counting(plants[0]))
        return machines

    with running_historian(cluster.bootstrap, database_url, folder, kafka_timeout_s=5):
        gateway = asyncio.create_task(
            run_gateway(settings, Health("opcua_gateway"), make_sources), name="gateway"
        )
        try:
            await until(lambda: bool(machines) and machines[0].sent > 0, "the gateway", 20)
            line = Line(cluster, machines[0], database_url)
            await line.recover("start")
            yield line
        finally:
            gateway.cancel()
            await asyncio.gather(gateway, return_exceptions=True)


@pytest.mark.timeout(240)
async def test_the_leader_is_killed(
    cluster: servers.KafkaCluster, database_url: str, tmp_path: Path
) -> None:
    async with running_line(cluster, database_url, tmp_path) as line:
        for _ in range(3):
            leader = await _leader_of(cluster)
            cluster.brokers[leader].kill()
            await line.recover("kill -9 of the leader")
            await asyncio.to_thread(cluster.brokers[leader].start)
            await _await_in_sync(cluster)
        await line.finish()


@pytest.mark.timeout(300)
async def test_two_brokers_are_killed_and_away_for_half_a_minute(
    cluster: servers.KafkaCluster, database_url: str, tmp_path: Path
) -> None:
    async with running_line(cluster, database_url, tmp_path) as line:
        for broker in cluster.brokers[:2]:
            broker.kill()
        await asyncio.sleep(AWAY_S)  # the fault's own length
        acked = line.machine.acked
        await until(lambda: line.machine.acked > acked, "the gateway to go on acknowledging", 10)
        for broker in cluster.brokers[:2]:
            broker.process = servers.start_blocking(broker.program)
        await line.recover("two brokers came back")
        await _await_in_sync(cluster)
        await line.finish()


@pytest.mark.timeout(300)
async def test_all_brokers_are_restarted_in_turn(
    cluster: servers.KafkaCluster, database_url: str, tmp_path: Path
) -> None:
    async with running_line(cluster, database_url, tmp_path) as line:
        for broker in cluster.brokers:
            began = time.monotonic()
            async with asyncio.TaskGroup() as group:
                group.create_task(line.recover("the stop of a broker in turn"), name="recover")
                await asyncio.to_thread(broker.stop, 30)
                await asyncio.to_thread(broker.start)
                await _await_in_sync(cluster)
                _note("one broker restarted, all copies in sync", time.monotonic() - began)
        await line.finish()


async def _leader_of(cluster: servers.KafkaCluster) -> int:
    """Index of the broker that leads the partition with the line's samples."""
    async with _admin(cluster) as admin:
        (topic,) = await admin.describe_topics([SAMPLES.name])
    leaders = [each["leader"] for each in topic["partitions"]]
    return max(set(leaders), key=leaders.count) - 1


async def _await_in_sync(cluster: servers.KafkaCluster) -> None:
    """Wait until every partition of the samples has three copies in sync."""

    async def in_sync() -> bool:
        with contextlib.suppress(KafkaError, TimeoutError, OSError):
            async with _admin(cluster) as admin:
                (topic,) = await admin.describe_topics([SAMPLES.name])
            copies = [len(each["isr"]) for each in topic["partitions"]]
            return bool(copies) and min(copies) == 3
        return False

    await until(in_sync, "all copies to be in sync", 90)


@contextlib.asynccontextmanager
async def _admin(cluster: servers.KafkaCluster) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=cluster.bootstrap, request_timeout_ms=5000)
    try:
        await admin.start()
        yield admin
    finally:
        await admin.close()


def _note(what: str, value: float) -> None:
    line = json.dumps({"what": what, "value": round(value, 2)})
    print(line, flush=True)
    if file := os.environ.get("AURELIAN_FAULT_EVIDENCE"):
        with Path(file).open("a") as out:
            print(line, file=out)
