"""Forwarding has its share at any load, and nothing that one source or record does stops others."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from dataclasses import dataclass, field

import pytest
from prometheus_client import REGISTRY

from aurelian.backbone.client import Consumer
from aurelian.backbone.topics import REJECTED, SAMPLES, create_topics
from aurelian.edge import drain
from aurelian.edge.gateway import Delivery, GatewaySettings, Reading, Source, run_gateway
from aurelian.model import codec
from aurelian.model.plant import Plant
from aurelian.model.sample import ValueType
from aurelian.model.source_model import SourceModel
from aurelian.runtime.health import Health
from tests import servers
from tests.integration.edge.test_gateway_forward import running, until
from tests.stand_in_historian import Historian

OFFERED_A_DELIVERY = 500


@dataclass
class Machine:
    """Delivers `make(n)` for n from 0; each costs the event loop `work_s` as decoding does."""

    model: SourceModel
    owner: str
    make: Callable[[int], Delivery]
    work_s: float = 0.0
    pause_s: float = 0.0
    delivered: int = 0
    acked: list[int] = field(default_factory=list)

    async def deliveries(self, bookmark: str = "") -> AsyncGenerator[Delivery, None]:
        while True:
            n = self.delivered
            ends = time.perf_counter() + self.work_s
            while time.perf_counter() < ends:
                pass
            self.delivered += 1
            yield self.make(n)
            await asyncio.sleep(self.pause_s)


def machine(plant: Plant, number: int, values: int, **of: float) -> Machine:
    """A source of its own name on the press's signals."""
    unit = next(plant.units())
    model = plant.sources[0].model_copy(update={"id": f"source-{number}"})
    signals = list(zip(unit.signals(), unit.model.signals, strict=True))
    signal, described = signals[0]

    def make(n: int) -> Delivery:
        now = time.time_ns() // 1000
        readings = [
            Reading(unit, described, signal, unit.line.path, 1.0, ValueType.DOUBLE, now + k)
            for k in range(values)
        ]
        return Delivery(source=model, owner=plant.owner, received_at=now, readings=readings)

    return Machine(model, plant.owner, make, **of)


async def test_rows_are_fresh_in_kafka_while_far_more_is_offered(
    broker: servers.KafkaServer, settings: GatewaySettings
) -> None:
    await create_topics(broker.bootstrap)

    def make_sources(_: GatewaySettings, plants: Sequence[Plant], __: object) -> Sequence[Source]:
        return [machine(plants[0], n, OFFERED_A_DELIVERY, work_s=0.005) for n in range(3)]

    ages: list[float] = []
    arrivals: list[float] = []
    async with Consumer(settings, [SAMPLES], client_id="test") as consumer:
        async with running(run_gateway(settings, Health("opcua_gateway"), make_sources)):
            ends = time.monotonic() + 15
            while time.monotonic() < ends:
                for record in await consumer.take(timeout_s=0.5):
                    batch = codec.decode(record.value or b"")
                    arrivals.append(time.monotonic())
                    ages.append(record.timestamp_ms / 1000 - batch.gateway_time.min() / 1e6)
    # What came before the first connection stood has to be sent first.
    first = next(n for n, at in enumerate(arrivals) if at > ends - 10)
    assert len(ages[first:]) > 20
    # Without its share forwarding was 17 s behind; on a busy machine 2 s happen.
    assert max(ages[first:]) < 5.0, sorted(ages[first:])[-5:]
    pauses = [after - before for before, after in zip(arrivals, arrivals[1:], strict=False)]  # noqa: RUF007
    assert max(pauses) < 5.0


async def test_a_source_with_a_bug_begins_anew_and_the_others_go_on(
    broker: servers.KafkaServer, settings: GatewaySettings
) -> None:
    await create_topics(broker.bootstrap)
    made: list[Machine] = []

    def make_sources(_: GatewaySettings, plants: Sequence[Plant], __: object) -> Sequence[Source]:
        made.extend(machine(plants[0], n, 1, pause_s=0.01) for n in range(2))

        def broken(n: int) -> Delivery:
            raise ZeroDivisionError(n)

        made[0].make = broken
        return made

    def restarts() -> float:
        labels = {"source": made[0].model.key if made else ""}
        return REGISTRY.get_sample_value("gateway_source_restarts_total", labels) or 0.0

    async with running(run_gateway(settings, Health("opcua_gateway"), make_sources)):
        await until(lambda: restarts() >= 2)
        at = made[1].delivered
        await until(lambda: made[1].delivered > at + 20)


async def test_a_record_that_kafka_refuses_is_set_aside_and_the_rest_goes_on(
    broker: servers.KafkaServer, settings: GatewaySettings, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A row is sent to a topic that takes only 1 MB: the broker itself refuses it."""
    await create_topics(broker.bootstrap)
    small = drain._TOPIC | {drain.RecordKind.SAMPLES: REJECTED}
    monkeypatch.setattr(drain, "_TOPIC", small)
    made: list[Machine] = []

    def make_sources(_: GatewaySettings, plants: Sequence[Plant], __: object) -> Sequence[Source]:
        made.append(machine(plants[0], 0, 1, pause_s=0.02))
        unit = next(plants[0].units())
        note, described = list(zip(unit.signals(), unit.model.signals, strict=True))[2]
        usual = made[0].make

        def make(n: int) -> Delivery:
            if n != 10:
                return usual(n)
            now = time.time_ns() // 1000
            large = random.Random(1).randbytes(1_500_000).hex()  # compressed it is as long
            reading = Reading(unit, described, note, unit.line.path, large, ValueType.TEXT, now)
            delivery = usual(n)
            return Delivery(
                source=delivery.source, owner=delivery.owner, received_at=now, readings=[reading]
            )

        made[0].make = make
        return made

    found: dict[int, bytes] = {}
    headers: list[dict[str, bytes]] = []
    async with Consumer(settings, [REJECTED], client_id="test") as consumer:
        async with running(run_gateway(settings, Health("opcua_gateway"), make_sources)):
            ends = time.monotonic() + 30
            while time.monotonic() < ends and (len(found) < 30 or sorted(found)[-1] > len(found)):
                for record in await consumer.take(timeout_s=0.5):
                    headers.append(dict(record.headers))
                    found[int(headers[-1]["sequence"])] = record.value or b""
    assert len(found) >= 30 and sorted(found) == list(range(1, len(found) + 1))
    (aside,) = [value for value in found.values() if value[:1] == b"\x07"]
    assert b"MessageSizeTooLarge" in aside
    assert all(set(each) == {"gateway", "boot", "stream", "sequence"} for each in headers)


async def test_a_gateway_does_not_read_what_was_announced_long_before(
    broker: servers.KafkaServer, settings: GatewaySettings
) -> None:
    await create_topics(broker.bootstrap)
    historian = Historian(settings)

    def make_sources(_: GatewaySettings, plants: Sequence[Plant], __: object) -> Sequence[Source]:
        return [machine(plants[0], 0, 1, pause_s=0.05)]

    async with running(historian.follow("log-1")):
        async with running(run_gateway(settings, Health("opcua_gateway"), make_sources)):
            await until(lambda: len(historian.batches) > 5)
