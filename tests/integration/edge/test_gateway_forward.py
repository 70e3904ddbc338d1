"""The gateway's whole path: readings to the outbox, to a real broker, and released when stored;
also when the broker dies."""

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import pytest
import yaml
from prometheus_client import REGISTRY

from aurelian.backbone.topics import create_topics
from aurelian.edge import drain
from aurelian.edge.gateway import (
    Delivery,
    GatewaySettings,
    Reading,
    Reject,
    forward,
    run_gateway,
)
from aurelian.edge.outbox.limits import Limits
from aurelian.edge.outbox.outbox import Outbox
from aurelian.edge.outbox.rows import START
from aurelian.edge.outbox.thread import OutboxThread
from aurelian.edge.outbox_watch import OUTBOX_ROWS
from aurelian.model import codec
from aurelian.model.plant import Plant
from aurelian.model.plant_parts import SignalModel
from aurelian.model.sample import SampleBatch, Signal, Value, ValueType
from aurelian.model.source_model import SourceModel
from aurelian.runtime.health import Health
from tests import servers
from tests.integration.edge.conftest import PLANT
from tests.stand_in_historian import Historian

T0 = time.time_ns() // 1000 - 60_000_000


@dataclass
class PressSource:
    """Delivers what the test gives it, ten readings at a time, and remembers what was
    acknowledged."""

    model: SourceModel
    owner: str
    make: Callable[[int], Reading]
    count: int
    pause: asyncio.Event
    acked: list[int] = field(default_factory=list)
    extra: Sequence[Delivery] = ()

    async def deliveries(self, bookmark: str = "") -> AsyncIterator[Delivery]:
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


async def test_ten_thousand_readings_reach_a_broker_that_is_killed_and_replaced_on_the_way(
    broker: servers.KafkaServer, settings: GatewaySettings
) -> None:
    await create_topics(broker.bootstrap)
    historian = Historian(settings)
    pause = asyncio.Event()
    made: list[PressSource] = []

    def make_sources(
        _: GatewaySettings, plants: Sequence[Plant], __: object
    ) -> Sequence[PressSource]:
        made.append(press(plants[0], 10_000, pause))
        return made

    async with running(run_gateway(settings, Health("opcua_gateway"), make_sources)):
        async with running(historian.follow("log-1")):
            await until(lambda: values(historian) >= 2_000)
        await asyncio.to_thread(broker.kill)
        pause.set()
        await until(
            lambda: len(made[0].acked) == 10_000
        )  # the machine is served while Kafka is away
        before = values(historian)
        await asyncio.to_thread(broker.start)
        await create_topics(broker.bootstrap)
        async with running(historian.follow("log-2")):
            await until(lambda: values(historian) == 10_000)
            await until(lambda: historian.counts()["received"] == 10_000)
            await until(
                lambda: sum(1 for each in historian.events if each.HasField("heartbeat")) > 0
            )

    assert before < 10_000
    assert made[0].acked == list(range(10_000))
    assert_only_whole_batches_repeat(historian)
    numbered = {(batch.boot, batch.sequence): batch for batch in historian.batches}
    assert sum(len(batch) for batch in numbered.values()) == 10_000  # nothing stands in two batches
    sent = {(n % 2, T0 + n * 1000): expected(n) for n in range(10_000)}
    got = {
        (0 if sample.signal.path.endswith("force") else 1, sample.source_time): sample.value
        for batch in historian.batches
        for sample in batch.samples()
    }
    assert got == sent
    assert {asset["path"] for asset in historian.assets.values()} >= {
        "pilot-x/north/forming/line-1/press"
    }


async def test_a_restart_sends_the_rows_of_the_old_boot_as_they_are_and_forgets_what_is_stored(
    broker: servers.KafkaServer, settings: GatewaySettings
) -> None:
    """Kafka is away in the first boot; the second sends both; the third has nothing left to
    send."""
    broker.kill()
    release = asyncio.Event()
    release.set()
    made: list[PressSource] = []

    def make_sources(
        _: GatewaySettings, plants: Sequence[Plant], __: object
    ) -> Sequence[PressSource]:
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

    def make_sources(
        _: GatewaySettings, plants: Sequence[Plant], __: object
    ) -> Sequence[PressSource]:
        source = press(plants[0], 0, go)
        unit = next(plants[0].units())
        force, _parts, note = zip(unit.signals(), unit.model.signals, strict=True)
        foreign = Signal(
            "x", "y", "pilot-y/south/line/unit/speed", ValueType.DOUBLE, source="press-opcua"
        )

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
    assert sorted(len(str(v)) for batch in historian.batches for v in batch.values()) == [
        3,
        7_000_000,
    ]


async def test_a_full_outbox_acknowledges_nothing_until_there_is_room_and_keeps_events(
    tmp_path: Path,
) -> None:
    go = asyncio.Event()
    go.set()
    plant = Plant.model_validate(yaml.safe_load(PLANT))
    source = press(plant, 0, go)
    unit = next(plant.units())
    signal, model = list(zip(unit.signals(), unit.model.signals, strict=True))[2]
    acked: list[int] = []
    source.extra = [
        Delivery(
            source=source.model,
            owner=source.owner,
            received_at=T0 + n,
            readings=[
                Reading(
                    unit,
                    model,
                    signal,
                    unit.line.path,
                    random.Random(n).randbytes(10_000).hex(),  # the outbox compresses what repeats
                    ValueType.TEXT,
                    T0 + n,
                )
            ],
            events=[codec.SourceEvent(birth=codec.Birth(detail=str(n)))],
            ack=lambda n=n: acked.append(n),  # type: ignore[misc]
        )
        for n in range(300)
    ]
    limits = Limits(max_bytes=1_500_000, min_free=0.0, segment_bytes=100_000)
    async with OutboxThread(Outbox.open(tmp_path / "outbox", 1, limits)) as outbox:
        async with running(forward(source, outbox, "g")):
            await until(lambda: not outbox.outbox.level().accepting)
            assert len(acked) < 300
            deadline = time.monotonic() + 20
            while len(acked) < 300:
                assert time.monotonic() < deadline, outbox.outbox.level()
                rows, _ = await outbox.call(outbox.outbox.unsent, START, 10**8)
                for row in rows:
                    await outbox.call(outbox.outbox.release, 1, row.stream, row.sequence)
                await asyncio.sleep(0.02)
    assert acked == list(range(300))


async def test_with_three_copies_in_kafka_rows_may_go_without_a_historian(
    broker: servers.KafkaServer, settings: GatewaySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    await create_topics(broker.bootstrap)
    monkeypatch.setattr(drain, "ACKNOWLEDGED_KEEP_S", 0.0)
    go = asyncio.Event()
    go.set()
    made: list[PressSource] = []

    def make_sources(
        _: GatewaySettings, plants: Sequence[Plant], __: object
    ) -> Sequence[PressSource]:
        made.append(press(plants[0], 100, go))
        return made

    replicated = settings.model_copy(update={"kafka_replication": 3})
    async with running(run_gateway(replicated, Health("opcua_gateway"), make_sources)):
        await until(lambda: bool(made) and len(made[0].acked) == 100)
        OUTBOX_ROWS.set(-1)
        await until(lambda: REGISTRY.get_sample_value("gateway_outbox_rows") == 0)


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


@contextlib.asynccontextmanager
async def running(work) -> AsyncIterator[None]:  # type: ignore[no-untyped-def]
    """Run something beside the body; its failure ends the body at once."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(work)
        yield
        task.cancel()


async def until(condition: Callable[[], bool], limit_s: float = 20.0) -> None:
    """Wait for a condition; fails at the limit."""
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, "did not come true in time"
        await asyncio.sleep(0.02)
