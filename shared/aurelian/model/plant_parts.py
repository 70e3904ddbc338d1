"""The parts of a plant model as its file writes them: signals, units, lines, sources, calendar,
products.

Used by `plant.py`, which puts them together, and wherever one part alone is needed. Values only.
"""

from __future__ import annotations

import uuid
from datetime import date, time
from enum import StrEnum
from typing import Annotated, Literal

from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    model_validator,
)
from pydantic_core import PydanticCustomError

from aurelian.model.sample import ValueType

NAMESPACE = uuid.UUID("6f1d3c1e-5a0b-5d43-9a2e-3d6f0a7c1b55")
"""Namespace of the ids that are derived from a path or from an event's subject."""


class LineState(StrEnum):
    """The one vocabulary of a line's and a unit's state (operator sheet 3.4)."""

    RUNNING = "running"
    SLOW = "slow"
    SHORT_STOP = "short_stop"
    DOWN = "down"
    PLANNED = "planned"
    SETUP = "setup"
    STARVED = "starved"
    BLOCKED = "blocked"
    NO_DATA = "no_data"


class Role(StrEnum):
    """What a signal is to the platform; everything else is `other`."""

    STATE = "state"  # PackML state number (OPC 30050)
    GOOD_COUNT = "good_count"  # total of good pieces, may restart at 0
    SCRAP_COUNT = "scrap_count"
    CYCLE_TIME = "cycle_time"  # seconds of the last cycle
    STOP_REASON = "stop_reason"  # code of `stop_reasons`
    ORDER = "order"
    PRODUCT = "product"
    POWER = "power"
    ENERGY = "energy"
    TEMPERATURE = "temperature"
    VIBRATION = "vibration"
    CURRENT = "current"
    PRESSURE = "pressure"
    BUFFER = "buffer"  # pieces waiting before the unit
    OTHER = "other"


class PlantPart(BaseModel):
    """A part of a plant model: immutable, and no field that nobody knows."""

    model_config = ConfigDict(extra="forbid", frozen=True)


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64)]


def _value_type(text: object) -> object:
    if not isinstance(text, str):
        return text
    if text.upper() not in ValueType.__members__:
        raise ValueError(
            f"{text!r} is no type; say double, int64, uint64, bool, text, bytes or json"
        )
    return ValueType[text.upper()]


def problem_at(*place: int | str, said: str) -> PydanticCustomError:
    """A problem with the place in the file where it is to be mended."""
    return PydanticCustomError("plant", "{said}", {"said": said, "at": place})


class AlarmLimits(PlantPart):
    """Alarm limits of a signal in its own unit; an alarm needs an action for the operator."""

    low: float | None = None
    high: float | None = None
    deadband: float = 0.0
    delay_s: float = 0.0
    priority: Literal["high", "medium", "low"] = "medium"
    action: str = ""

    @model_validator(mode="after")
    def _has_action(self) -> AlarmLimits:
        if not self.action:
            raise ValueError("an alarm limit needs `action`: what shall the operator do?")
        return self


class SignalModel(PlantPart):
    """A signal of a unit.

    Attributes:
        name: last part of its path.
        address: where its source has it (an OPC UA node id, a Sparkplug metric, a field of a JSON
            payload).
        type: declared type; `double int64 uint64 bool text bytes json`.
        unit: UCUM code.
        scale, offset: stored value = raw * scale + offset.
        range: values outside are stored and flagged.
        closed: reject, rather than flag and store, what breaks the contract.
        stale_after_s: own limit for "overdue"; null: the source's heartbeat alone counts.
    """

    name: Name
    address: str = ""
    role: Role = Role.OTHER
    type: Annotated[ValueType, BeforeValidator(_value_type)] = ValueType.DOUBLE
    unit: str = ""
    scale: float = 1.0
    offset: float = 0.0
    range: tuple[float, float] | None = None
    closed: bool = False
    stale_after_s: float | None = None
    limits: AlarmLimits | None = None
    id: str | None = None


class UnitModel(PlantPart):
    """A machine. `source` is the id of the source that speaks for it."""

    name: Name
    source: Name
    title: str = ""
    signals: tuple[SignalModel, ...] = ()
    id: str | None = None
    simulate: dict[str, float | str] = Field(default_factory=dict)  # for pilot_factory only


class Break(PlantPart):
    """A break inside a shift, in the site's local time."""

    start: time
    minutes: int = Field(gt=0)


Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class Shift(PlantPart):
    """A shift; an end at or before the start is on the next day."""

    name: Name
    start: time
    end: time
    days: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri")
    breaks: tuple[Break, ...] = ()


class CalendarModel(PlantPart):
    """When a line is planned to run, in the site's time zone."""

    shifts: tuple[Shift, ...] = ()
    holidays: tuple[date, ...] = ()


class Product(PlantPart):
    """What a line makes. `ideal_cycle_s`: planned run time per item (ISO 22400 PRI)."""

    id: Name
    ideal_cycle_s: float = Field(gt=0)
    unit: str = "piece"


class LineModel(PlantPart):
    """A line: units in flow order.

    Attributes:
        output: unit whose counts are the line's; default the last.
        constraint: unit whose state is the line's; default `output`.
        calendar: replaces the site's.
        products: the first is the default.
    """

    name: Name
    title: str = ""
    units: tuple[UnitModel, ...] = Field(min_length=1)
    output: Name | None = None
    constraint: Name | None = None
    calendar: CalendarModel | None = None
    products: tuple[Product, ...] = Field(min_length=1)
    id: str | None = None


class AreaModel(PlantPart):
    """An area: lines that belong together."""

    name: Name
    title: str = ""
    lines: tuple[LineModel, ...] = ()
    id: str | None = None


class SourceModel(PlantPart):
    """A connection that a gateway keeps.

    Attributes:
        kind: which gateway and which decoder.
        url: `opc.tcp://…` or `mqtt://…`; `${NAME:-default}` is filled from the environment.
        topic: mqtt_json: filter with `{unit}` and, if wanted, `{signal}` in it, say
            `plant/{unit}/state`.
        group, edge_node: sparkplug: which edge nodes; `+` for all.
        publishing_interval_ms: opcua.
        closed: reject unknown signals instead of registering them as discovered.
        time_zone: of times without a zone.
    """

    id: Name
    kind: Literal["opcua", "mqtt_json", "sparkplug"]
    url: str
    topic: str = ""
    group: str = "+"
    edge_node: str = "+"
    publishing_interval_ms: int = Field(250, gt=0)
    closed: bool = False
    time_zone: str = "UTC"


class StopReason(PlantPart):
    """A reason that an operator or a machine gives for a stop; each carries exactly one loss."""

    code: int
    name: str
    loss: Literal[
        "breakdown",
        "setup",
        "small_stop",
        "speed",
        "startup_reject",
        "production_reject",
        "planned",
        "external",
    ]


class Company(PlantPart):
    """The owner of the site's data."""

    id: Name
    name: str
