"""The gateway's whole path: readings to the outbox, to a real broker, and released when stored; also when the broker dies."""

import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
from aurelian import codec
from aurelian.assets import Plant, SignalModel, SourceModel
from aurelian.gateway import OUTBOX_ROWS, Delivery, GatewaySettings, Reading, Reject, run_gateway
from aurelian.kafka import Consumer, Producer, Unavailable
from aurelian.ops import Health
from aurelian.sample import SampleBatch, Signal, Value, ValueType
from aurelian.settings import KafkaSettings
from aurelian.topics import ASSETS, REJECTED, SAMPLES, SOURCE_EVENTS, STORED, create_topics
from prometheus_client import REGISTRY

from tests import servers

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
            signals:
              - {name: force, type: double, range: [0, 1000]}
              - {name: parts, type: uint64, role: good_count}
              - {name: note, type: text}
"""
T0 = time.time_ns() // 1000 - 60_000_000


@dataclass
class PressSource:
    """Delivers what the test gives it, ten readings at a time, and remembers what was acknowledged."""

    model: SourceModel
    owner: str
    make: Callable[[int], Reading]
    count: int
    pause: asyncio.Event
    acked: list[int] = field(default_factory=list)
    extra: Sequence[Delivery] = ()

    async def deliveries(self) -> AsyncIterator[Delivery]:
        for delivery in self.extra:
            yield delivery
        for first in range(0, self.count, 10):
            if first == self.count // 2:
                await self.pause.wait()
            yield Delivery(
                source=self.model,
                owner=self.owner,
                received_at=time.time_ns() // 1000,
                readings=[self.make(n) for n in range(first, first + 10)],
                ack=lambda first=first: self.acked.extend(range(first, first + 10)),  # type: ignore[misc]
            )
        await asyncio.Event().wait()


@dataclass
class Historian:
    """Stands in for the historian: reads each log from its start, keeps every batch, says what is stored."""

    settings: KafkaSettings
    batches: list[SampleBatch] = field(default_factory=list)
    events: list[codec.SourceEvent] = field(default_factory=list)
    rejected: list[codec.Rejected] = field(default_factory=list)
    assets: dict[str, dict[str, object]] = field(default_factory=dict)
    stored_to: dict[str, int] = field(default_factory=dict)
    beyond: dict[str, set[int]] = field(default_factory=dict)

    async def follow(self, log_id: str) -> None:
        """Work on one log until cancelled or until it goes away."""
        with contextlib.suppress(Unavailable):
            async with (
                Producer(self.settings, "historian") as producer,
                Consumer(
                    self.settings, [SAMPLES, SOURCE_EVENTS, REJECTED, ASSETS], client_id="historian"
                ) as consumer,
            ):
                heartbeat = 0.0
                while True:
                    if time.monotonic() >= heartbeat:
                        heartbeat = time.monotonic() + 2
                        body = json.dumps({"log_id": log_id, "at": time.time_ns() // 1000})
                        await producer.send(STORED, "@heartbeat", body.encode())
                    for key in {
                        key for record in await consumer.take(timeout_s=0.1) if (key := self._keep(record))
                    }:
                        body = json.dumps({"sequence": self.stored_to[key], "log_id": log_id})
                        await producer.send(STORED, key, body.encode())

    def _keep(self, record) -> str | None:  # type: ignore[no-untyped-def]
        headers = {name: value.decode() for name, value in record.headers}
        if record.topic == SAMPLES.name:
            batch = codec.decode(record.value)
            assert record.key == batch.line.encode()
            self.batches.append(batch)
            return self._advance(f"{batch.gateway}/{batch.boot}/{batch.line}", batch.sequence)
        if record.topic == ASSETS.name:
            self.assets[record.key.decode()] = json.loads(record.value)
            return None
        if record.topic == REJECTED.name:
            self.rejected.append(codec.decode_rejected(record.value))
            stream = "@rejected"
        else:
            self.events.append(codec.decode_event(record.value))
            stream = "@events"
        if "sequence" not in headers:
            return None
        return self._advance(f"{headers['gateway']}/{headers['boot']}/{stream}", int(headers["sequence"]))

    def _advance(self, key: str, sequence: int) -> str:
        beyond = self.beyond.setdefault(key, set())
        beyond.add(sequence)
        to = self.stored_to.get(key, 0)
        to = next(n for n in itertools.count(to) if n + 1 not in beyond)
        self.stored_to[key] = to
        return key

    def counts(self) -> dict[str, int]:
        """The newest received counts, summed over boots and hours."""
        newest = {(e.boot, e.received.hour): e.received for e in self.events if e.HasField("received")}
        return {
            name: sum(getattr(each, name) for each in newest.values())
            for name in ("received", "rejected", "dropped", "skipped")
        }


@pytest.fixture
def broker() -> Iterator[servers.KafkaServer]:
    with servers.tansu_broker() as server:
        yield server


@pytest.fixture
def settings(broker: servers.KafkaServer, tmp_path: Path) -> GatewaySettings:
    plants = tmp_path / "plants"
    plants.mkdir()
    (plants / "north.yaml").write_text(PLANT)
    return GatewaySettings(
        gateway="opcua-1",
        kafka_bootstrap=broker.bootstrap,
        kafka_idempotent=False,
        kafka_timeout_s=2,
        plant=plants,
        state=tmp_path / "state",
        outbox_min_free=0.0,
    )


async def test_ten_thousand_readings_reach_a_broker_that_is_killed_and_replaced_on_the_way(
    broker: servers.KafkaServer, settings: GatewaySettings
) -> None:
    await create_topics(broker.bootstrap)
    historian = Historian(settings)
    pause = asyncio.Event()
    made: list[PressSource] = []

    def make_sources(_: GatewaySettings, plants: Sequence[Plant]) -> Sequence[PressSource]:
        made.append(press(plants[0], 10_000, pause))
        return made

    async with running(run_gateway(settings, Health("opcua_gateway"), make_sources)):
        async with running(historian.follow("log-1")):
            await until(lambda: values(historian) >= 2_000)
        await asyncio.to_thread(broker.kill)
        pause.set()
        await until(lambda: len(made[0].acked) == 10_000)  # the machine is served while Kafka is away
        before = values(historian)
        await asyncio.to_thread(broker.start)
        await create_topics(broker.bootstrap)
        async with running(historian.follow("log-2")):
            await until(lambda: values(historian) == 10_000)
            await until(lambda: historian.counts()["received"] == 10_000)
            await until(lambda: sum(1 for each in historian.events if each.HasField("heartbeat")) > 0)

    assert before < 10_000
    assert made[0].acked == list(range(10_000))
    assert_only_whole_batches_repeat(historian)
    sent = {(n % 2, T0 + n * 1000): expected(n) for n in range(10_000)}
    got = {
        (0 if sample.signal.path.endswith("force") else 1, sample.source_time): sample.value
        for batch in historian.batches
        for sample in batch.samples()
    }
    assert got == sent
    assert {asset["path"] for asset in historian.assets.values()} >= {"pilot-x/north/forming/line-1/press"}


async def test_a_restart_sends_the_rows_of_the_old_boot_as_they_are_and_forgets_what_is_stored(
    broker: servers.KafkaServer, settings: GatewaySettings
) -> None:
    """Kafka is away in the first boot; the second sends both; the third has nothing left to send."""
    broker.kill()
    release = asyncio.Event()
    release.set()
    made: list[PressSource] = []

    def make_sources(_: GatewaySettings, plants: Sequence[Plant]) -> Sequence[PressSource]:
        made.append(press(plants[0], 100, release))
        return made[-1:]

    async with running(run_gateway(settings, Health("opcua_gateway"), make_sources)):
        await until(lambda: bool(made) and len(made[0].acked) == 100)
    broker.start()
    await create_topics(broker.bootstrap)
    historian = Historian(settings)
    async with running(historian.follow("log-1")):
        async with running(run_gateway(settings, Health("opcua_gateway"), make_sources)):
            await until(lambda: len({batch.boot for batch in historian.batches}) == 2)
            await until(lambda: values(historian) == 100 and historian.counts()["received"] == 200)
            OUTBOX_ROWS.set(-1)
            await until(lambda: REGISTRY.get_sample_value("gateway_outbox_rows") == 0)
        assert_only_whole_batches_repeat(historian)
        sequences: dict[int, set[int]] = {}
        for batch in historian.batches:
            sequences.setdefault(batch.boot, set()).add(batch.sequence)
        assert all(found == set(range(1, len(found) + 1)) for found in sequences.values())
        taken = len(historian.batches)
        made_before = len(made)
        async with running(run_gateway(settings, Health("opcua_gateway"), make_sources)):
            await until(lambda: len({batch.boot for batch in historian.batches}) == 3)
        old = {batch.boot for batch in historian.batches[:taken]}
        assert made_before == 2
        assert not [batch for batch in historian.batches[taken:] if batch.boot in old]


async def test_what_breaks_the_contract_is_rejected_with_its_bytes_and_counted(
    broker: servers.KafkaServer, settings: GatewaySettings
) -> None:
    await create_topics(broker.bootstrap)
    historian = Historian(settings)
    acked: list[str] = []
    go = asyncio.Event()
    go.set()

    def make_sources(_: GatewaySettings, plants: Sequence[Plant]) -> Sequence[PressSource]:
        source = press(plants[0], 0, go)
        unit = next(plants[0].units())
        force, _parts, note = zip(unit.signals(), unit.model.signals, strict=True)
        foreign = Signal("x", "y", "pilot-y/south/line/unit/speed", ValueType.DOUBLE, source="press-opcua")

        def reading(of: tuple[Signal, SignalModel], value: Value, kind: ValueType) -> Reading:
            return Reading(unit, of[1], of[0], unit.line.path, value, kind, T0)

        source.extra = [
            Delivery(
                source=source.model,
                owner=source.owner,
                received_at=T0,
                readings=[
                    reading(force, "abc", ValueType.TEXT),
                    reading(force, 1.5, ValueType.DOUBLE),
                    reading(note, "n" * 9_000_000, ValueType.TEXT),
                    reading(note, "m" * 7_000_000, ValueType.TEXT),
                    Reading(None, None, foreign, unit.line.path, 1.0, ValueType.DOUBLE, T0),
                ],
                rejects=[Reject("no JSON", "json", "topic/\udcff", b"\xff" * 600_000, samples=3)],
                dropped=2,
                skipped=4,
                ack=lambda: acked.append("all"),
            )
        ]
        return [source]

    async with running(run_gateway(settings, Health("opcua_gateway"), make_sources)):
        async with running(historian.follow("log-1")):
            await until(lambda: values(historian) == 2 and len(historian.rejected) == 4)
            await until(lambda: historian.counts()["received"] == 14)

    assert acked == ["all"]
    assert historian.counts() == {"received": 14, "rejected": 6, "dropped": 2, "skipped": 4}
    by_class = {each.error_class: each for each in historian.rejected}
    assert sorted(by_class) == ["json", "owner", "too_large", "type"]
    assert by_class["type"].payload == b"abc"
    assert by_class["json"].payload_size == 600_000 and len(by_class["json"].payload) == 512 * 1024
    assert by_class["json"].origin == "topic/\\udcff"
    assert by_class["too_large"].payload_size == 9_000_000
    assert sorted(len(str(v)) for batch in historian.batches for v in batch.values()) == [3, 7_000_000]


def press(plant: Plant, count: int, pause: asyncio.Event) -> PressSource:
    unit = next(plant.units())
    force, parts, _ = zip(unit.signals(), unit.model.signals, strict=True)

    def make(n: int) -> Reading:
        signal, model = parts if n % 2 else force
        kind = ValueType.UINT64 if n % 2 else ValueType.DOUBLE
        return Reading(unit, model, signal, unit.line.path, expected(n), kind, T0 + n * 1000)

    return PressSource(plant.sources[0], plant.owner, make, count, pause)


def expected(n: int) -> Value:
    return 2**63 + n if n % 2 else n / 16


def values(historian: Historian) -> int:
    """Distinct values that arrived."""
    return len(
        {
            (s, t)
            for batch in historian.batches
            for s, t in zip(signal_ids(batch), batch.time.tolist(), strict=True)
        }
    )


def signal_ids(batch: SampleBatch) -> list[str]:
    return [batch.signals[index].id for index in batch.signal.tolist()]


def assert_only_whole_batches_repeat(historian: Historian) -> None:
    seen: dict[tuple[str, int, str, int], bytes] = {}
    for batch in historian.batches:
        key = (batch.gateway, batch.boot, batch.line, batch.sequence)
        assert seen.setdefault(key, codec.encode(batch)) == codec.encode(batch)
    rows = [
        (s, t, sub)
        for data in seen.values()
        for batch in [codec.decode(data)]
        for s, t, sub in zip(signal_ids(batch), batch.time.tolist(), batch.sub.tolist(), strict=True)
    ]
    assert len(rows) == len(set(rows))


@contextlib.asynccontextmanager
async def running(work) -> AsyncIterator[None]:  # type: ignore[no-untyped-def]
    """Run something beside the body; its failure is the test's."""
    task = asyncio.ensure_future(work)
    try:
        yield
        if task.done():
            task.result()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def until(condition: Callable[[], bool], limit_s: float = 20.0) -> None:
    """Wait for a condition; fails at the limit."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "did not come true in time"
        await asyncio.sleep(0.02)
