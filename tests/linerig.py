"""A line on the bench: a plant model, samples by seconds, and what line_health makes of them. For
tests of line_health."""

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

from aurelian.backbone.topics import ASSETS, SAMPLES, SOURCE_EVENTS
from aurelian.fold.contract import Effects
from aurelian.model import codec
from aurelian.model.plant import Plant
from aurelian.model.record import Record
from aurelian.model.sample import Flag, Sample, Signal, Value, ValueType, make_batch
from line_health.processor import Lines
from line_health.rows import AlarmRow, KpiRow, LineRow, StateRow, StopRow

START = datetime(
    2026, 1, 5, 6, 0, tzinfo=UTC
)  # Monday, 07:00 in Oslo: the start of the early shift
LINE = "pilot-a/north/machining/line-1"
SOURCE_ID = "pilot-a-opcua"
SOURCE = f"pilot-a/north/{SOURCE_ID}"


def make_plant(
    shifts: Iterable[Mapping[str, object]] = (),
    limits: Mapping[str, object] | None = None,
    zone: str = "Europe/Oslo",
    *,
    output_counts_good: bool = True,
) -> Plant:
    """A saw, a mill (the constraint) and a wash (the output), in one line."""
    common = [
        {"name": "state", "role": "state", "type": "int64"},
        {"name": "reason", "role": "stop_reason", "type": "int64"},
        {"name": "waiting", "role": "buffer", "type": "int64"},
        {"name": "good", "role": "good_count", "type": "int64"},
        {"name": "scrap", "role": "scrap_count", "type": "int64"},
        {"name": "cycle", "role": "cycle_time", "unit": "s"},
        {"name": "product", "role": "product", "type": "text"},
        {"name": "speed", "unit": "1/min"},
        {"name": "temperature", "role": "temperature", "unit": "Cel", "limits": limits},
    ]
    of_output = [each for each in common if output_counts_good or each["name"] != "good"]
    week = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
    default = {
        "name": "early",
        "start": "07:00",
        "end": "15:00",
        "days": week,
        "breaks": [{"start": "11:00", "minutes": 30}],
    }
    return Plant.model_validate(
        {
            "company": {"id": "pilot-a", "name": "Pilot Company A"},
            "site": "north",
            "time_zone": zone,
            "sources": [{"id": SOURCE_ID, "kind": "opcua", "url": "opc.tcp://127.0.0.1:4840"}],
            "calendar": {"shifts": list(shifts) or [default]},
            "stop_reasons": [
                {"code": 20, "name": "Jam", "loss": "small_stop"},
                {"code": 30, "name": "Bearing failure", "loss": "breakdown"},
                {"code": 40, "name": "Change of product", "loss": "setup"},
                {"code": 50, "name": "Cleaning", "loss": "planned"},
            ],
            "areas": [
                {
                    "name": "machining",
                    "lines": [
                        {
                            "name": "line-1",
                            "constraint": "mill",
                            "output": "wash",
                            "products": [
                                {"id": "shaft", "ideal_cycle_s": 6},
                                {"id": "axle", "ideal_cycle_s": 9},
                            ],
                            "units": [
                                {
                                    "name": name,
                                    "title": name.title(),
                                    "source": SOURCE_ID,
                                    "signals": of_output if name == "wash" else common,
                                }
                                for name in ("saw", "mill", "wash")
                            ],
                        }
                    ],
                }
            ],
        }
    )


def us(at: float) -> int:
    """Microseconds since 1970 of `at` seconds after `START`."""
    return int(START.timestamp() * 1_000_000) + round(at * 1_000_000)


def moment(at: float) -> datetime:
    """The time `at` seconds after `START`."""
    return START + timedelta(seconds=at)


class Rig:
    """line_health's fold with one line, fed by hand. Times are seconds after `START`."""

    def __init__(self, plant: Plant | None = None, *, beats: bool = True) -> None:
        """`beats`: the source is heard all the time until a sample is sent."""
        self.plant = plant or make_plant()
        self.beats, self.heard = beats, 0.0
        self.lines = Lines()
        self.rows: list[LineRow] = []
        self.events: list[Any] = []
        self.sequence = 0
        self.signals: dict[str, Signal] = {
            signal.path.removeprefix(LINE + "/"): signal
            for unit in self.plant.units()
            for signal in unit.signals()
        }
        for record in self.asset_records():
            self.lines.learn(record, us(0))

    def asset_records(self) -> list[Record]:
        """The plant's assets as Kafka has them."""
        return [
            Record(ASSETS.name, 0, n, 0, asset.id.encode(), asset.encode())
            for n, asset in enumerate(self.plant.assets())
        ]

    def sample(
        self,
        at: float,
        name: str,
        value: Value,
        *,
        received: float | None = None,
        source_time: int | None = None,
        **more: Any,
    ) -> Sample:
        """A sample of `unit/signal`, received at the gateway at `received`, by default at once;
        `source_time`: what the source says, microseconds, by default `at`."""
        kind = {int: ValueType.INT64, float: ValueType.DOUBLE, str: ValueType.TEXT}.get(
            type(value), ValueType.NULL
        )
        gateway_time = us(at if received is None else received)
        source_time = us(at) if source_time is None else source_time
        return Sample(self.signals[name], value, kind, source_time, gateway_time, **more)

    def record(self, samples: Iterable[Sample], sequence: int | None = None) -> Record:
        """A batch as Kafka has it."""
        self.sequence += 1
        batch = make_batch(
            list(samples),
            owner="pilot-a",
            gateway="opcua-1",
            boot=1,
            sequence=sequence or self.sequence,
            line=LINE,
        )
        return Record(SAMPLES.name, 0, self.sequence, 0, LINE.encode(), codec.encode(batch))

    def send(self, at: float, name: str, value: Value, **more: Any) -> None:
        """Fold one sample."""
        while self.beats and self.heard < at:
            self.hear(self.heard)
            self.heard += 10
        arrived = max(at, more.get("received") or at)
        self.fold(self.record([self.sample(at, name, value, **more)]), arrived)

    def fold(self, record: Record, now: float) -> None:
        """Fold a record."""
        self._keep(self.lines.fold(record, us(now)))

    def hear(self, at: float, *units: str) -> None:
        """Learn that units of the source were heard; none named: all of the source."""
        self._learn(at, heartbeat=codec.Heartbeat(heard_at=us(at), assets=self.assets(*units)))

    def bear(self, at: float, *units: str) -> None:
        """Learn that units were born."""
        self._learn(at, birth=codec.Birth(assets=self.assets(*units)))

    def die(self, at: float, *units: str) -> None:
        """Learn that units died; none named: all of the source."""
        self._learn(at, death=codec.Death(reason="cable", assets=self.assets(*units)))

    def refuse(self, at: float, name: str, reason: str) -> None:
        """Learn that a value of `unit/signal` was refused at the gateway."""
        signal = self.signals[name]
        refused = codec.Refused(asset=signal.asset, signal=signal.id, reason=reason)
        self._learn(at, refused=refused)

    def assets(self, *units: str) -> list[str]:
        """Asset ids of units."""
        return [self.signals[f"{unit}/state"].asset for unit in units]

    def tick(self, at: float) -> None:
        """Let time pass."""
        self._keep(self.lines.tick(us(at)))

    def live(self, start: float, end: float, step: float = 5.0, units: Iterable[str] = ()) -> None:
        """Let time pass with a heartbeat every `step` seconds, of the whole source or of `units`
        alone."""
        named = tuple(units)
        at = start
        while at < end:
            self.hear(at, *named)
            self.tick(at)
            at += step
        self.hear(end, *named)
        self.tick(end)

    def states(self) -> list[tuple[float, float | None, str]]:
        """The rows of line_state by their key: start, end (seconds after START), state."""
        rows = {row.started_at: row for row in self.rows if isinstance(row, StateRow)}
        return [
            (
                (row.started_at - START).total_seconds(),
                None if row.ended_at is None else (row.ended_at - START).total_seconds(),
                row.state,
            )
            for row in (rows[key] for key in sorted(rows))
        ]

    @property
    def state(self) -> str:
        """The present state."""
        return self.states()[-1][2]

    def newest_row(self) -> StateRow:
        """The row of the present state."""
        return [row for row in self.rows if isinstance(row, StateRow)][-1]

    def stops(self) -> list[StopRow]:
        """The rows of stop by their key, oldest first."""
        return list({row.id: row for row in self.rows if isinstance(row, StopRow)}.values())

    def alarms(self) -> list[AlarmRow]:
        """The rows of alarm by their key, oldest first."""
        return list({row.id: row for row in self.rows if isinstance(row, AlarmRow)}.values())

    def kpis(self) -> list[KpiRow]:
        """All rows of kpi, as they were published."""
        return [row for row in self.rows if isinstance(row, KpiRow)]

    def published(self, part: str) -> list[dict[str, Any]]:
        """Data of the events whose type contains `part`."""
        return [event.data for event in self.events if part in event.type]

    def _learn(self, at: float, **kind: Any) -> None:
        event = codec.SourceEvent(
            owner="pilot-a", gateway="opcua-1", boot=1, source=SOURCE, time=us(at), **kind
        )
        record = Record(SOURCE_EVENTS.name, 0, 0, 0, SOURCE.encode(), codec.encode_event(event))
        self.lines.learn(record, us(at))

    def _keep(self, effects: Effects[LineRow]) -> None:
        self.rows += effects.rows
        self.events += [out.event for out in effects.events]


HISTORICAL = Flag.HISTORICAL
