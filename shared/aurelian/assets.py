"""The plant model: a site's ISA-95 tree, signals, sources, calendar and products, read from one YAML file per site.

Used by gateways (what to connect to), line_health, maintenance, capacity (what it means) and pilot_factory (what to
simulate). Values only; reading files is `load_plant`.
"""

from __future__ import annotations

import os
import re
import uuid
from collections.abc import Iterator
from datetime import date, time
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Literal
from zoneinfo import ZoneInfo, available_timezones

import yaml
from pydantic import (
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_core import ErrorDetails, PydanticCustomError

from aurelian.sample import Signal, ValueType

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


class PlantError(ValueError):
    """A plant-model file is unusable; the text names file, line, field and what to do."""


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$", max_length=64)]


def _value_type(text: object) -> object:
    if not isinstance(text, str):
        return text
    if text.upper() not in ValueType.__members__:
        raise ValueError(f"{text!r} is no type; say double, int64, uint64, bool, text, bytes or json")
    return ValueType[text.upper()]


def _at(*place: int | str, said: str) -> PydanticCustomError:
    """A problem with the place in the file where it is to be mended."""
    return PydanticCustomError("plant", "{said}", {"said": said, "at": place})


class Limits(_Part):
    """Alarm limits of a signal in its own unit; an alarm needs an action for the operator."""

    low: float | None = None
    high: float | None = None
    deadband: float = 0.0
    delay_s: float = 0.0
    priority: Literal["high", "medium", "low"] = "medium"
    action: str = ""

    @model_validator(mode="after")
    def _has_action(self) -> Limits:
        if not self.action:
            raise ValueError("an alarm limit needs `action`: what shall the operator do?")
        return self


class SignalModel(_Part):
    """A signal of a unit.

    Attributes:
        name: last part of its path.
        address: where its source has it (an OPC UA node id, a Sparkplug metric, a field of a JSON payload).
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
    limits: Limits | None = None
    id: str | None = None


class UnitModel(_Part):
    """A machine. `source` is the id of the source that speaks for it."""

    name: Name
    source: Name
    title: str = ""
    signals: tuple[SignalModel, ...] = ()
    id: str | None = None
    simulate: dict[str, float | str] = Field(default_factory=dict)  # for pilot_factory only


class Break(_Part):
    """A break inside a shift, in the site's local time."""

    start: time
    minutes: int = Field(gt=0)


Day = Literal["mon", "tue", "wed", "thu", "fri", "sat", "sun"]


class Shift(_Part):
    """A shift; an end at or before the start is on the next day."""

    name: Name
    start: time
    end: time
    days: tuple[Day, ...] = ("mon", "tue", "wed", "thu", "fri")
    breaks: tuple[Break, ...] = ()


class CalendarModel(_Part):
    """When a line is planned to run, in the site's time zone."""

    shifts: tuple[Shift, ...] = ()
    holidays: tuple[date, ...] = ()


class Product(_Part):
    """What a line makes. `ideal_cycle_s`: planned run time per item (ISO 22400 PRI)."""

    id: Name
    ideal_cycle_s: float = Field(gt=0)
    unit: str = "piece"


class LineModel(_Part):
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


class AreaModel(_Part):
    """An area: lines that belong together."""

    name: Name
    title: str = ""
    lines: tuple[LineModel, ...] = ()
    id: str | None = None


class SourceModel(_Part):
    """A connection that a gateway keeps.

    Attributes:
        kind: which gateway and which decoder.
        url: `opc.tcp://…` or `mqtt://…`; `${NAME:-default}` is filled from the environment.
        topic: mqtt_json: filter with `{unit}` and, if wanted, `{signal}` in it, say `plant/{unit}/state`.
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


class StopReason(_Part):
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


class Company(_Part):
    """The owner of the site's data."""

    id: Name
    name: str


class Plant(_Part):
    """One site's plant model, as its file says. `line_count` and others below answer what services ask."""

    company: Company
    site: Name
    title: str = ""
    time_zone: str
    sources: tuple[SourceModel, ...] = Field(min_length=1)
    calendar: CalendarModel = CalendarModel()
    areas: tuple[AreaModel, ...] = Field(min_length=1)
    stop_reasons: tuple[StopReason, ...] = ()

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, zone: str) -> str:
        if zone not in available_timezones():
            raise ValueError(f"{zone!r} is no IANA time zone; say, Europe/Oslo")
        return zone

    @model_validator(mode="after")
    def _consistent(self) -> Plant:
        kinds: dict[str, str] = {}
        for number, source in enumerate(self.sources):
            if source.id in kinds:
                raise _at("sources", number, "id", said=f"source {source.id!r} stands in more than one place")
            kinds[source.id] = source.kind
        paths: set[str] = set()
        for a, area in enumerate(self.areas):
            for n, model in enumerate(area.lines):
                place = ("areas", a, "lines", n)
                line = Line(self, area, model)
                names = [unit.name for unit in model.units]
                for field in ("output", "constraint"):
                    wanted = getattr(model, field)
                    if wanted is not None and wanted not in names:
                        said = f"line {model.name!r}: {field} {wanted!r} is none of its units {names}"
                        raise _at(*place, field, said=said)
                for u, unit in enumerate(line.units):
                    _check_unit(unit, kinds, paths, (*place, "units", u))
        return self

    @property
    def owner(self) -> str:
        """The company's id: owner of all that the site makes."""
        return self.company.id

    @property
    def path(self) -> str:
        """ISA-95 path of the site."""
        return f"{self.company.id}/{self.site}"

    @property
    def zone(self) -> ZoneInfo:
        """The site's time zone."""
        return ZoneInfo(self.time_zone)

    def lines(self) -> Iterator[Line]:
        """All lines with their paths and ids, in the file's order."""
        for area in self.areas:
            for model in area.lines:
                yield Line(self, area, model)

    def units(self) -> Iterator[Unit]:
        """All units, in flow order line by line."""
        for line in self.lines():
            yield from line.units

    def assets(self) -> Iterator[Asset]:
        """The ISA-95 tree from the enterprise down, parents first; what goes to `aurelian.assets.v1`."""
        enterprise = Asset(
            derive_id(self.owner),
            self.owner,
            None,
            "enterprise",
            self.owner,
            self.owner,
            {"name": self.company.name},
        )
        site = Asset(
            derive_id(self.path), self.owner, enterprise.id, "site", self.site, self.path,
            {"title": self.title, "time_zone": self.time_zone, "stop_reasons": [r.model_dump(mode="json") for r in self.stop_reasons]},
        )  # fmt: skip
        yield enterprise
        yield site
        for area_model in self.areas:
            path = f"{self.path}/{area_model.name}"
            area = Asset(
                area_model.id or derive_id(path),
                self.owner,
                site.id,
                "area",
                area_model.name,
                path,
                {"title": area_model.title},
            )
            yield area
            for model in area_model.lines:
                line = Line(self, area_model, model)
                yield Asset(line.id, self.owner, area.id, "line", model.name, line.path, line.meaning())
                for unit in line.units:
                    yield Asset(
                        unit.id, self.owner, line.id, "unit", unit.model.name, unit.path, unit.meaning()
                    )


class Asset:
    """One node of the ISA-95 tree, as written to `aurelian.assets.v1` and `historian.asset`."""

    __slots__ = ("id", "level", "meaning", "name", "owner", "parent", "path")

    def __init__(
        self,
        id: str,
        owner: str,
        parent: str | None,
        level: str,
        name: str,
        path: str,
        meaning: dict[str, object],
    ) -> None:
        self.id, self.owner, self.parent, self.level = id, owner, parent, level
        self.name, self.path, self.meaning = name, path, meaning

    def as_dict(self) -> dict[str, object]:
        """JSON-ready form."""
        return {name: getattr(self, name) for name in self.__slots__}


class Line:
    """A line where it stands in its plant."""

    def __init__(self, plant: Plant, area: AreaModel, model: LineModel) -> None:
        self.plant, self.area, self.model = plant, area, model
        self.path = f"{plant.path}/{area.name}/{model.name}"
        self.id = model.id or derive_id(self.path)
        self.units = [Unit(self, unit) for unit in model.units]

    @property
    def calendar(self) -> CalendarModel:
        """The line's own calendar, else the site's."""
        return self.model.calendar or self.plant.calendar

    @property
    def output(self) -> Unit:
        """The unit whose counts are the line's."""
        return self._unit(self.model.output) or self.units[-1]

    @property
    def constraint(self) -> Unit:
        """The unit whose state is the line's."""
        return self._unit(self.model.constraint) or self.output

    def _unit(self, name: str | None) -> Unit | None:
        return next((unit for unit in self.units if unit.model.name == name), None)

    def meaning(self) -> dict[str, object]:
        """What readers of the asset need beside its path: JSON-ready."""
        return {
            "title": self.model.title or self.model.name,
            "time_zone": self.plant.time_zone,
            "output": self.output.id,
            "constraint": self.constraint.id,
            "units": [unit.id for unit in self.units],
            "calendar": self.calendar.model_dump(mode="json"),
            "products": [product.model_dump(mode="json") for product in self.model.products],
            "stop_reasons": [reason.model_dump(mode="json") for reason in self.plant.stop_reasons],
        }


class Unit:
    """A unit where it stands in its line."""

    def __init__(self, line: Line, model: UnitModel) -> None:
        self.line, self.model = line, model
        self.path = f"{line.path}/{model.name}"
        self.id = model.id or derive_id(self.path)

    def signals(self) -> Iterator[Signal]:
        """Its signals as the dictionary of a batch carries them, in the file's order."""
        for signal in self.model.signals:
            path = f"{self.path}/{signal.name}"
            yield Signal(
                signal.id or derive_id(path), self.id, path, signal.type, signal.unit, self.model.source
            )

    def meaning(self) -> dict[str, object]:
        """What readers of the asset need beside its path: JSON-ready."""
        return {
            "title": self.model.title or self.model.name,
            "source": self.model.source,
            "signals": [
                {
                    "id": signal.id,
                    "name": model.name,
                    "role": model.role.value,
                    "type": int(model.type),
                    "unit": model.unit,
                    "range": model.range,
                    "stale_after_s": model.stale_after_s,
                    "limits": model.limits.model_dump(mode="json") if model.limits else None,
                }
                for signal, model in zip(self.signals(), self.model.signals, strict=True)
            ],
        }


def _check_unit(unit: Unit, kinds: dict[str, str], paths: set[str], place: tuple[int | str, ...]) -> None:
    """Check a unit against the sources by id and the paths before it, to which its own are added."""
    source = unit.model.source
    if source not in kinds:
        raise _at(*place, "source", said=f"unit {unit.path!r}: source {source!r} is not under `sources`")
    if unit.path in paths:
        raise _at(*place, "name", said=f"{unit.path!r} stands twice")
    paths.add(unit.path)
    for number, (model, signal) in enumerate(zip(unit.model.signals, unit.signals(), strict=True)):
        if signal.path in paths:
            raise _at(*place, "signals", number, "name", said=f"{signal.path!r} stands twice")
        paths.add(signal.path)
        if "address" in model.model_fields_set and not model.address.strip():
            said = f"signal {signal.path!r}: the address is empty; say where {source!r} has it, or leave the field out"
            raise _at(*place, "signals", number, "address", said=said)


def derive_id(path: str) -> str:
    """The id of what has none of its own: UUIDv5 of its path. Give an `id` in the file before you rename."""
    return str(uuid.uuid5(NAMESPACE, path))


def load_plant(path: Path) -> Plant:
    """Read and validate one plant-model file.

    Raises:
        PlantError: unreadable, no YAML, or not a valid plant; each problem with its line and field.
    """
    try:
        text = _fill(path.read_text(encoding="utf-8"))
        node = yaml.compose(text, Loader=yaml.SafeLoader)
        content = yaml.safe_load(text)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        where = f"{path}:{mark.line + 1}" if mark is not None else str(path)
        raise PlantError(f"{where}: {' '.join(filter(None, (error.context, error.problem)))}") from error
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise PlantError(f"{path}: {error}") from error
    for line_number, key in _keys_twice(node):
        raise PlantError(f"{path}:{line_number}: {key}: stands twice; which one shall count?")
    from aurelian.calendar import check_calendar  # which needs the models of this file

    try:
        plant = Plant.model_validate(content)
        for line in plant.lines():
            check_calendar(line.calendar)
        return plant
    except ValidationError as error:
        problems = [
            f"{path}:{_line_of(node, place)}: {'.'.join(map(str, place)) or 'plant'}: {problem['msg']}"
            for problem in _root_problems(error)
            for place in (problem.get("ctx", {}).get("at", problem["loc"]),)
        ]
        raise PlantError("\n".join(problems)) from error
    except ValueError as error:
        raise PlantError(f"{path}: calendar of {line.path}: {error}") from error


def load_plants(folder: Path) -> list[Plant]:
    """Read all `*.yaml` files of a folder, sorted by name.

    Raises:
        PlantError: no file there, one is unusable, or two name the same site or source.
    """
    files = {path: load_plant(path) for path in sorted(folder.glob("*.yaml"))}
    if not files:
        raise PlantError(f"{folder}: no plant-model file (*.yaml); the README shows one to start from")
    found: dict[tuple[str, str], Path] = {}
    for path, plant in files.items():
        places: list[tuple[str, str, tuple[int | str, ...]]] = [("site", plant.path, ("site",))]
        places += [("source", source.id, ("sources", n, "id")) for n, source in enumerate(plant.sources)]
        for what, name, place in places:
            if (what, name) in found:
                node = yaml.compose(_fill(path.read_text(encoding="utf-8")), Loader=yaml.SafeLoader)
                raise PlantError(
                    f"{path}:{_line_of(node, place)}: {'.'.join(map(str, place))}: "
                    f"{what} {name!r} stands in more than one place, in {found[what, name]} too"
                )
            found[what, name] = path
    return list(files.values())


def _fill(text: str) -> str:
    return re.sub(r"\$\{(\w+)(?::-([^}]*))?\}", lambda m: os.environ.get(m[1]) or m[2] or "", text)


def _root_problems(error: ValidationError) -> list[ErrorDetails]:
    """The problems without those that only follow from another: a list counts as empty when its items are invalid."""
    problems = error.errors()

    def follows(problem: ErrorDetails) -> bool:
        at = problem["loc"]
        return problem["type"] == "too_short" and any(
            len(other["loc"]) > len(at) and other["loc"][: len(at)] == at for other in problems
        )

    return [problem for problem in problems if not follows(problem)]


def _keys_twice(node: yaml.Node | None) -> Iterator[tuple[int, str]]:
    """Line and key of each key that stands twice in one mapping; YAML itself lets the last one win."""
    waiting, seen = [node], set()
    while waiting:
        each = waiting.pop()
        if id(each) in seen:  # an alias
            continue
        seen.add(id(each))
        if isinstance(each, yaml.SequenceNode):
            waiting += each.value
        elif isinstance(each, yaml.MappingNode):
            keys: set[str] = set()
            for key, value in each.value:
                waiting.append(value)
                if isinstance(key, yaml.ScalarNode):
                    if key.value in keys:
                        yield key.start_mark.line + 1, key.value
                    keys.add(key.value)


def _line_of(node: yaml.Node | None, location: tuple[int | str, ...]) -> int:
    """Line (from 1) of the deepest node of the file that `location` names."""
    line = 1
    for part in location:
        if node is None:
            break
        line = node.start_mark.line + 1
        if isinstance(node, yaml.MappingNode):
            node = next((value for key, value in node.value if key.value == part), None)
        elif isinstance(node, yaml.SequenceNode) and isinstance(part, int) and part < len(node.value):
            node = node.value[part]
        else:
            break
    return node.start_mark.line + 1 if node is not None else line
