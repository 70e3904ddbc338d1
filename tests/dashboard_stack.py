"""A small plant on a real store and a real broker, for the dashboard's tests: what the other
services would have written.

`write_store` puts a day of states, stops, figures, health and capacity into a migrated database;
`PlantTraffic` sends samples, heartbeats and business events as gateways and line_health do.
"""

import asyncio
import contextlib
import math
import sys
import time
from collections.abc import AsyncIterator, Iterable, Iterator
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from uuid import uuid4

import httpx
from sqlalchemy import create_engine, insert, make_url
from sqlalchemy.pool import NullPool

from aurelian.access.keys import create_key, make_pepper
from aurelian.backbone.client import Producer
from aurelian.backbone.topics import ASSETS, LINE_EVENTS, SAMPLES, SOURCE_EVENTS, create_topics
from aurelian.db import tables
from aurelian.db.engine import as_role
from aurelian.db.logs import declare_log
from aurelian.events.cloudevent import Event, encode_event
from aurelian.local import ports
from aurelian.local.processes import Program
from aurelian.model import codec
from aurelian.model.machine_states import PackMl
from aurelian.model.plant import Line, Plant, Unit
from aurelian.model.plant_file import load_plants
from aurelian.model.plant_parts import Role
from aurelian.model.sample import Sample, Signal, Value, ValueType, make_batch
from aurelian.runtime.settings import KafkaSettings
from tests import servers

PLANTS = Path(__file__).parent.parent / "services" / "pilot_factory" / "plants"

STATES = (
    ("running", 41),
    ("short_stop", 1),
    ("running", 22),
    ("down", 6),
    ("running", 35),
    ("slow", 9),
    ("running", 50),
    ("starved", 4),
    ("running", 31),
    ("planned", 30),
    ("setup", 12),
)
"""A line's habit: state and minutes, over and over."""


def load() -> list[Plant]:
    """The pilot plant's models."""
    return load_plants(PLANTS)


def write_store(
    url: str, plants: Iterable[Plant], now: datetime, *, heard_ago_s: float = 0.0
) -> None:
    """Write what the store would hold at `now` after a day; sources were heard `heard_ago_s`
    seconds before."""
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"), poolclass=NullPool)
    with engine.begin() as connection:
        for plant in plants:
            for asset in plant.assets():
                connection.execute(insert(tables.asset).values(**asdict(asset), changed_at=now))
            for source in plant.sources:
                connection.execute(
                    insert(tables.source).values(
                        id=source.key,
                        owner=plant.owner,
                        gateway="opcua-1" if source.kind == "opcua" else "mqtt-1",
                        state="born",
                        heard_at=now - timedelta(seconds=heard_ago_s),
                        changed_at=now,
                        detail="",
                    )
                )
            for number, line in enumerate(plant.lines()):
                for table, rows in _line_rows(line, number, now):
                    if rows:
                        connection.execute(insert(table), rows)
    engine.dispose()


def _line_rows(line: Line, number: int, now: datetime):  # type: ignore[no-untyped-def]
    owner = line.plant.owner
    yield (
        tables.signal,
        [
            {
                "id": signal.id,
                "owner": owner,
                "asset": unit.id,
                "path": signal.path,
                "name": model.name,
                "type": int(signal.type),
                "unit": signal.unit,
                "role": model.role.value,
                "source": signal.source,
                "discovered": False,
                "limits": model.limits.model_dump(mode="json") if model.limits else {},
                "changed_at": now,
            }
            for unit in line.units
            for signal, model in zip(unit.signals(), unit.model.signals, strict=True)
        ],
    )
    spans, at, place = [], now - timedelta(hours=26), number
    while at < now:
        state, minutes = STATES[place % len(STATES)]
        end = at + timedelta(minutes=minutes)
        spans.append(
            {
                "line": line.id,
                "started_at": at,
                "ended_at": end if end < now else None,
                "owner": owner,
                "state": state,
                "unit": line.units[-1].id,
                "reason": {
                    "down": "Tool breakage",
                    "short_stop": "Jam",
                    "starved": "Waiting for parts",
                }.get(state, ""),
            }
        )
        at, place = end, place + 1
    yield tables.line_state, spans
    yield (
        tables.stop,
        [
            {
                "id": str(uuid4()),
                "line": span["line"],
                "owner": owner,
                "unit": span["unit"],
                "started_at": span["started_at"],
                "ended_at": span["ended_at"],
                "state": span["state"],
                "reason_code": None,
                "reason": span["reason"],
            }
            for span in spans
            if span["state"] in ("down", "short_stop", "starved")
        ],
    )
    start = now - timedelta(hours=5, minutes=12)
    yield (
        tables.kpi,
        [
            {
                "line": line.id,
                "shift_start": start,
                "shift_end": start + timedelta(hours=8),
                "owner": owner,
                "shift": "late",
                "planned_busy_s": 18720.0,
                "production_s": 15850.0 - 900 * number,
                "no_data_s": 0.0,
                "good": 2874.0 - 160 * number,
                "scrap": 31.0,
                "target": 2906.0,
                "availability": 0.847 - 0.04 * number,
                "effectiveness": 0.962,
                "quality": 0.989,
                "oee": (0.847 - 0.04 * number) * 0.962 * 0.989,
                "computed_at": now,
            }
        ],
    )
    yield (
        tables.health,
        [
            {
                "asset": unit.id,
                "time": now,
                "owner": owner,
                "index": 0.94 - 0.13 * place,
                "score": 0.2 + 0.2 * place,
                "drivers": [],
            }
            for place, unit in enumerate(line.units)
        ],
    )
    monday = now.date() - timedelta(days=now.weekday())
    yield (
        tables.estimate,
        [
            {
                "line": line.id,
                "week": monday + timedelta(weeks=week),
                "revision": 1,
                "owner": owner,
                "total": 100_800.0,
                "available": 31_240.0 - 9000 * number,
                "committed": 52_000.0,
                "unattainable": 17_560.0 + 9000 * number,
                "available_p10": None,
                "available_p90": None,
                "unit": "piece",
                "reasons": [],
                "method": "net-time-1",
                "inputs": {},
                "data_time": now,
                "computed_at": now,
            }
            for week in range(2)
        ],
    )


@dataclass
class PlantTraffic:
    """Sends what gateways and line_health send. `producer` is open."""

    producer: Producer
    boot: int = field(default_factory=lambda: time.time_ns() // 1000)
    sequence: int = 0

    async def publish_assets(self, plant: Plant) -> None:
        """Send the tree, as a gateway does at its start."""
        for asset in plant.assets():
            await self.producer.send(ASSETS, asset.id, asset.encode())

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

    async def say_connection(
        self, plant: Plant, source: str, state: str, reason: str = "", step: str = "", **more: Any
    ) -> None:
        """Say how a source is."""
        connection = codec.Connection(
            state=codec.Connection.State.Value(f"STATE_{state}"),
            since=micros(),
            reason=reason,
            next_step=step,
            **more,
        )
        await self._say(plant, source, connection=connection)

    async def say_alarm(
        self, plant: Plant, unit: Unit, name: str, *, severity: int = 500, retain: bool = True
    ) -> None:
        """Say that an alarm of a machine stands, or does so no longer."""
        alarm = codec.MachineAlarm(
            asset=unit.id,
            condition=name,
            code=name,
            message=name,
            severity=severity,
            active=retain,
            retain=retain,
        )
        await self._say(plant, unit.source, alarm=alarm)

    async def _say(self, plant: Plant, source: str, **kind: Any) -> None:
        event = codec.SourceEvent(
            owner=plant.owner, gateway="test", boot=self.boot, source=source, time=micros(), **kind
        )
        await self.producer.send(SOURCE_EVENTS, source, codec.encode_event(event))

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


async def until(condition, limit_s: float = 10.0, what: str = "condition") -> None:  # type: ignore[no-untyped-def]
    """Wait until `condition()` is true.

    Raises:
        AssertionError: it was not within `limit_s`.
    """
    deadline = time.monotonic() + limit_s
    while not condition():
        assert time.monotonic() < deadline, f"{what} did not happen within {limit_s} s"
        await asyncio.sleep(0.02)


LIVE_S, LATE_S, OFFLINE_S, BEAT_S = 1.5, 3.0, 2.5, 0.5
"""Ages by which a test's pages judge: as in production, only sooner."""


@dataclass
class Dashboard(servers.Server):
    """The dashboard as a process of its own, on a store and a broker."""

    port: int = field(kw_only=True)
    ops_port: int = field(kw_only=True)

    @property
    def ops_url(self) -> str:
        """Base URL of its health and metrics."""
        return f"http://{ports.LOOPBACK}:{self.ops_port}"

    @property
    def url(self) -> str:
        """Base URL of its pages."""
        return f"http://{ports.LOOPBACK}:{self.port}"


@dataclass
class DashboardStack:
    """Store, broker and dashboard with the pilot plant's models in the store; nothing is sent
    yet. `keys` by company."""

    database_url: str
    kafka: servers.KafkaServer
    dashboard: Dashboard
    plants: list[Plant]
    keys: dict[str, str]

    @property
    def headers(self) -> dict[str, str]:
        """What a request brings to see the first company's pages."""
        return self.headers_of(self.plants[0].owner)

    def headers_of(self, owner: str) -> dict[str, str]:
        """What a request brings to see a company's pages."""
        return {"authorization": f"Bearer {self.keys[owner]}"}

    @property
    def line(self) -> Line:
        """The line that tests work with."""
        return next(self.plants[0].lines())

    @property
    def source(self) -> str:
        """The source that speaks for it."""
        return self.line.constraint.source

    @contextlib.asynccontextmanager
    async def open_plant(self) -> AsyncIterator[PlantTraffic]:
        """A producer for what gateways and line_health send."""
        settings = KafkaSettings(kafka_bootstrap=self.kafka.bootstrap)
        async with Producer(settings, "plant") as producer:
            yield PlantTraffic(producer)

    @contextlib.asynccontextmanager
    async def heartbeats(self) -> AsyncIterator[PlantTraffic]:
        """The same, with a heartbeat of every source until the block ends."""
        async with self.open_plant() as plant, asyncio.TaskGroup() as group:
            task = group.create_task(self._beat(plant))
            try:
                yield plant
            finally:
                task.cancel()

    async def _beat(self, traffic: PlantTraffic) -> None:
        while True:
            for plant in self.plants:
                for source in plant.sources:
                    await traffic.beat(plant, source.key)
            await asyncio.sleep(0.3)


def write_machine_alarm(
    url: str,
    unit: Unit,
    message: str,
    *,
    severity: int = 500,
    retain: bool = True,
    is_of_unit: bool = True,
) -> None:
    """Write the state of an alarm as the historian does: of a unit, or of its source alone."""
    now = datetime.now(UTC)
    texts = ("comment", "event_type", "source_node", "source_name", "fields", "reason", "branch")
    row = {name: "" for name in texts} | {
        "owner": unit.line.plant.owner,
        "source": unit.source,
        "gateway": "opcua-1",
        "condition": message,
        "asset": unit.id if is_of_unit else "",
        "line": unit.line.path if is_of_unit else "",
        "code": message,
        "message": message,
        "event_id": b"1",
        "severity": severity,
        "active": retain,
        "retain": retain,
        "acked": False,
        "time": now,
        "received_at": now,
        "active_since": now if retain else None,
    }
    engine = create_engine(make_url(url).set(drivername="postgresql+psycopg"), poolclass=NullPool)
    with engine.begin() as connection:
        connection.execute(insert(tables.machine_alarm).values(**row))
    engine.dispose()


@contextlib.contextmanager
def running_dashboard(
    postgres: servers.PostgresServer, template: str, **environment: str
) -> Iterator[DashboardStack]:
    """Set all of it up on a broker of its own (topics have fixed names) and take it down again."""
    plants = load()
    database_url = postgres.create_database(template)
    declare_log(database_url, uuid4())
    write_store(database_url, plants, datetime.now(UTC))
    with servers.kafka_broker() as kafka, servers.server_folder() as folder:
        pepper = make_pepper(folder / "pepper")
        keys = {
            owner: create_key(
                database_url, owner=owner, name="pages", scopes=["history:read"], pepper=pepper
            )
            for owner in (*{plant.owner: None for plant in plants}, "*", "nobody")
        }
        asyncio.run(create_topics(kafka.bootstrap))
        port, ops_port = ports.any_free(), ports.any_free()
        program = Program(
            "dashboard",
            (sys.executable, "-m", "dashboard"),
            folder / "dashboard.log",
            env={
                "AURELIAN_KAFKA_BOOTSTRAP": kafka.bootstrap,
                "AURELIAN_DATABASE_URL": as_role(database_url, "dashboard"),
                "AURELIAN_API_PORT": str(port),
                "AURELIAN_OPS_PORT": str(ops_port),
                "AURELIAN_KEY_PEPPER_FILE": str(folder / "pepper"),
                "AURELIAN_KAFKA_TIMEOUT_S": "1",
                "AURELIAN_LIVE_S": str(LIVE_S),
                "AURELIAN_LATE_S": str(LATE_S),
                "AURELIAN_OFFLINE_S": str(OFFLINE_S),
                "AURELIAN_BEAT_S": str(BEAT_S),
                "AURELIAN_TICK_S": "0.2",
                **environment,
            },
        )
        dashboard = Dashboard(program, lambda: is_ready(ops_port), port=port, ops_port=ops_port)
        dashboard.start()
        try:
            yield DashboardStack(database_url, kafka, dashboard, plants, keys)
        finally:
            dashboard.stop()
    postgres.drop_database(database_url)


def is_ready(port: int) -> bool:
    """True if a dashboard answers there and has its picture."""
    try:
        return httpx.get(f"http://{ports.LOOPBACK}:{port}/readyz", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False
