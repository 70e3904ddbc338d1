"""The parts of a plant model as its file writes them: signals, units, lines, sources, calendar,
products.

Used by `plant.py`, which puts them together, and wherever one part alone is needed. Values only.
"""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from enum import StrEnum
from functools import cache
from typing import Annotated, Literal
from zoneinfo import available_timezones

from pydantic import BeforeValidator, Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from aurelian.model.machine_states import DEFAULT, VOCABULARIES, state_key
from aurelian.model.machine_states import LineState as LineState
from aurelian.model.monitoring import Monitoring
from aurelian.model.plant_base import PlantPart as PlantPart
from aurelian.model.sample import ValueType
from aurelian.model.written import CalendarDate, EndTime, WallTime, suggest

NAMESPACE = uuid.UUID("6f1d3c1e-5a0b-5d43-9a2e-3d6f0a7c1b55")
"""Namespace of the ids that are derived from a path or from an event's subject."""


class Role(StrEnum):
    """What a signal is to the platform; everything else is `other`."""

    STATE = "state"  # a number or word of the vocabulary under `states`, by default PackML
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


ONE_A_UNIT = frozenset(
    {
        Role.STATE,
        Role.GOOD_COUNT,
        Role.SCRAP_COUNT,
        Role.CYCLE_TIME,
        Role.STOP_REASON,
        Role.ORDER,
        Role.PRODUCT,
        Role.BUFFER,
    }
)
"""Roles of which a unit has one signal: which of two is meant is nobody's guess."""


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64)]
Id = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.:-]*$", max_length=100)]
"""An id that the file gives itself, so that a rename keeps the history. One stands once."""


def _value_type(text: object) -> object:
    if not isinstance(text, str):
        return text
    if text.upper() not in ValueType.__members__ or text.upper() == "NULL":
        raise ValueError(
            f"{text!r} is no type; say double, int64, uint64, bool, text, bytes or json"
        )
    return ValueType[text.upper()]


def check_zone(zone: str) -> str:
    """Return the zone.

    Raises:
        ValueError: no IANA time zone of this machine's.
    """
    zones = _zones()
    if zone not in zones or zone == "localtime":
        by_ending = {each.rpartition("/")[2].lower(): each for each in zones}
        near = by_ending.get(zone.rpartition("/")[2].strip().lower())
        meant = f"; did you mean {near!r}?" if near else suggest(zone, zones)
        raise ValueError(f"{zone!r} is no IANA time zone{meant or '; say, Europe/Oslo'}")
    return zone


@cache
def _zones() -> frozenset[str]:
    """Once a process: it reads each file of the machine's time zones."""
    return frozenset(available_timezones())


def problem_at(*place: int | str, said: str) -> PydanticCustomError:
    """A problem with the place in the file where it is to be mended."""
    return PydanticCustomError("plant", "{said}", {"said": said, "at": place})


def all_of(problems: Sequence[PydanticCustomError]) -> PydanticCustomError:
    """Several problems as the one that a validator may raise; `plant_file.py` reads them all."""
    said = [each.context or {} for each in problems]
    return PydanticCustomError("plant", "{said}", {**said[0], "more": said[1:]})


class AlarmLimits(PlantPart):
    """Alarm limits of a signal in its own unit; an alarm needs an action for the operator."""

    low: float | None = None
    high: float | None = None
    deadband: float = Field(0.0, ge=0)
    delay_s: float = Field(0.0, ge=0)
    priority: Literal["high", "medium", "low"] = "medium"
    action: str = ""

    @model_validator(mode="after")
    def _has_action(self) -> AlarmLimits:
        if not self.action:
            raise ValueError("an alarm limit needs `action`: what shall the operator do?")
        if self.low is not None and self.high is not None and self.low > self.high:
            raise ValueError(f"low {self.low:g} is above high {self.high:g}")
        return self


_LINE_STATES = tuple(each.value for each in LineState)


def _states(given: object) -> object:
    """A vocabulary's name as it is; a machine's own values as `state_key` writes them."""
    if isinstance(given, str):
        if given not in VOCABULARIES:
            known = ", ".join(VOCABULARIES)
            raise ValueError(f"{given!r} is no vocabulary; say {known}, or a value for each state")
        return given
    if not isinstance(given, dict):
        known = ", ".join(VOCABULARIES)
        raise ValueError(f"say {known}, or `value: state` for each value of the machine")
    states: dict[str, object] = {}
    for value, line in given.items():
        key = state_key(value)
        if key is None:
            raise ValueError(f"{value!r} can be no state; write a whole number or a word")
        if key in states:
            raise ValueError(f"{value!r} stands twice")
        if line not in _LINE_STATES:
            raise ValueError(
                f"{value}: {line!r} is no state; one of {', '.join(_LINE_STATES)}"
                f"{suggest(str(line), _LINE_STATES)}"
            )
        states[key] = line
    if not states:
        raise ValueError("no state stands here; write each value of the machine with its state")
    return states


States = Annotated[str | dict[str, LineState], BeforeValidator(_states)]


_GIVEN: dict[frozenset[str], set[str]] = {}


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
        states: of a state signal: the vocabulary's name (`packml opc30060 machinery operation_mode
            mtconnect`), or each value of the machine with the line state that it is; null: the
            unit's.
        wraps_at: of a counter: begins again at 0 there; null: at 16 or 32 bits, if at all.
        monitoring: opcua: how its values are asked for, where not as its source says.
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
    stale_after_s: float | None = Field(None, gt=0)
    limits: AlarmLimits | None = None
    states: States | None = None
    wraps_at: float | None = Field(None, gt=1)
    monitoring: Monitoring | None = None
    id: Id | None = None

    def model_post_init(self, _: object) -> None:
        """Share the set of fields that are given: one a signal would be 200 to 700 bytes."""
        given = self.model_fields_set
        shared = _GIVEN.setdefault(frozenset(given), given)
        object.__setattr__(self, "__pydantic_fields_set__", shared)

    @field_validator("scale")
    @classmethod
    def _not_zero(cls, scale: float) -> float:
        if scale == 0:
            raise ValueError("a scale of 0 makes every value the same")
        return scale

    @field_validator("range")
    @classmethod
    def _ascending(cls, limits: tuple[float, float] | None) -> tuple[float, float] | None:
        if limits is not None and limits[0] > limits[1]:
            raise ValueError(f"{limits[0]:g} is above {limits[1]:g}; the lower comes first")
        return limits


class UnitModel(PlantPart):
    """A machine.

    Attributes:
        source: id of the source that speaks for it.
        address: what its source calls it, exactly, with blanks and umlauts: a level of an MQTT
            topic, a Sparkplug `device`, `node/device` or `group/node/device` (`node/` or
            `group/node/`: the edge node itself); by default its name.
        alarm_nodes: opcua: node ids whose events, and those of nodes below them, are this unit's.
        states: the vocabulary of its state signal, by default PackML.
    """

    name: Name
    source: Name
    address: str = ""
    title: str = ""
    signals: tuple[SignalModel, ...] = ()
    alarm_nodes: tuple[str, ...] = ()
    states: States = DEFAULT
    id: Id | None = None
    simulate: dict[str, float | str] = Field(default_factory=dict)  # for pilot_factory only


class Break(PlantPart):
    """A break inside a shift, in the site's local time."""

    start: WallTime
    minutes: int = Field(gt=0)


Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class Shift(PlantPart):
    """A shift; an end at or before the start is on the next day."""

    name: Name
    start: WallTime
    end: EndTime
    days: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri")
    breaks: tuple[Break, ...] = ()


class CalendarModel(PlantPart):
    """When a line is planned to run, in the site's time zone."""

    shifts: tuple[Shift, ...] = ()
    holidays: tuple[CalendarDate, ...] = ()


class Product(PlantPart):
    """What a line makes. `ideal_cycle_s`: planned run time per item (ISO 22400 PRI)."""

    id: Name
    ideal_cycle_s: float = Field(ge=0.001)
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
    id: Id | None = None


class AreaModel(PlantPart):
    """An area: lines that belong together."""

    name: Name
    title: str = ""
    lines: tuple[LineModel, ...] = ()
    id: Id | None = None


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
