"""Sends samples, heartbeats and business events as gateways and line_health do."""

import math
import time
from collections.abc import Iterable
from dataclasses import dataclass, field
from datetime import UTC, datetime
from uuid import uuid4

from aurelian.backbone.client import Producer
from aurelian.backbone.topics import LINE_EVENTS, SAMPLES, SOURCE_EVENTS
from aurelian.events.cloudevent import Event, encode_event
from aurelian.model import codec
from aurelian.model.machine_states import PackMl
from aurelian.model.plant import Line, Plant, Unit
from aurelian.model.plant_parts import Role
from aurelian.model.sample import Sample, Signal, Value, ValueType, make_batch


@dataclass
class PlantTraffic:
    """Sends what gateways and line_health send. `producer` is open."""

    producer: Producer
    boot: int = field(default_factory=lambda: time.time_ns() // 1000)
    sequence: int = 0

    async def beat(self, plant: Plant, source: str, heard_at_us: int | None = None) -> None:
        """Say that a source is heard."""
        at = heard_at_us or micros()
        event = codec.SourceEvent(
            owner=plant.owner, gateway="test", boot=self.boot, source=source, time=at
        )
        event.heartbeat.heard_at = at
        await self.producer.send(SOURCE_EVENTS, source, codec.encode_event(event))

    async def die(self, plant: Plant, source: str, reason: str, assets: Iterable[str] = ()) -> None:
        """Say that a source, or some assets of it, are silent."""
        event = codec.SourceEvent(
            owner=plant.owner, gateway="test", boot=self.boot, source=source, time=micros()
        )
        event.death.reason = reason
        event.death.assets.extend(assets)
        await self.producer.send(SOURCE_EVENTS, source, codec.encode_event(event))

    async def refuse(self, plant: Plant, unit: Unit, signal: Signal, reason: str) -> None:
        """Say that a declared signal's value broke its contract."""
        event = codec.SourceEvent(
            owner=plant.owner, gateway="test", boot=self.boot, source=unit.source, time=micros()
        )
        event.refused.asset, event.refused.signal = unit.id, signal.id
        event.refused.reason = reason
        await self.producer.send(SOURCE_EVENTS, unit.source, codec.encode_event(event))

    async def send_values(
        self, line: Line, values: Iterable[tuple[Signal, Value, ValueType, int]]
    ) -> None:
        """Send one batch of a line: signal, value, type, status."""
        at = micros()
        samples = [
            Sample(signal, value, kind, at, at, status=status)
            for signal, value, kind, status in values
        ]
        self.sequence += 1
        batch = make_batch(
            samples,
            owner=line.plant.owner,
            gateway="test",
            boot=self.boot,
            sequence=self.sequence,
            line=line.path,
        )
        await self.producer.send(SAMPLES, line.path, codec.encode(batch))

    async def send_event(
        self, line: Line, kind: str, subject: str, data: dict[str, object]
    ) -> None:
        """Send a business event of a line."""
        event = Event(
            kind,
            "/aurelian/test",
            subject,
            line.plant.owner,
            datetime.now(UTC),
            {"line": line.path, **data},
            str(uuid4()),
        )
        await self.producer.send(LINE_EVENTS, line.path, encode_event(event).encode())


def micros() -> int:
    """Now in microseconds since 1970."""
    return time.time_ns() // 1000


def state_named(number: int) -> str:
    """What PackML calls a state, as OPC UA servers spell it."""
    return PackMl(number).name.capitalize()


def plausible(
    unit: Unit, seconds: float, state: int = 6
) -> list[tuple[Signal, Value, ValueType, int]]:
    """A value for each signal of a unit that looks like a machine's."""
    out: list[tuple[Signal, Value, ValueType, int]] = []
    for place, (signal, model) in enumerate(zip(unit.signals(), unit.model.signals, strict=True)):
        wave = math.sin(seconds / 40 + place)
        number = {
            Role.STATE: state,
            Role.GOOD_COUNT: 2874 + int(seconds / 5),
            Role.SCRAP_COUNT: 31,
            Role.CYCLE_TIME: 5.6 + 0.2 * wave,
            Role.POWER: 7.4 + wave,
            Role.TEMPERATURE: 58 + 3 * wave,
            Role.VIBRATION: 2.1 + 0.4 * wave,
            Role.CURRENT: 14 + wave,
            Role.BUFFER: 12 + int(5 * wave),
            Role.ENERGY: 1200 + seconds / 900,
            Role.STOP_REASON: 0,
        }.get(model.role, 1.0)
        match signal.type:
            case ValueType.TEXT:
                name = state_named(state) if model.role is Role.STATE else "shaft-40"
                out.append((signal, name, ValueType.TEXT, 0))
            case ValueType.BOOL:
                out.append((signal, True, ValueType.BOOL, 0))
            case ValueType.INT64 | ValueType.UINT64:
                out.append((signal, int(number), signal.type, 0))
            case _:
                out.append((signal, float(number), ValueType.DOUBLE, 0))
    return out
