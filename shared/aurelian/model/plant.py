"""The plant model: a site's ISA-95 tree with signals, sources, calendar and products, and its asset
records.

Used by gateways (what to connect to), line_health, maintenance, capacity (what it means) and
pilot_factory (what to simulate). Values only; `plant_file.py` reads them from one YAML file per
site, `plant_parts.py` has the parts.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from zoneinfo import ZoneInfo

from pydantic import Field, field_validator, model_validator
from pydantic_core import PydanticCustomError

from aurelian.model.addresses import AddressError, parse_address
from aurelian.model.alarm_nodes import check_alarm_nodes
from aurelian.model.asset import Asset
from aurelian.model.plant_parts import (
    NAMESPACE,
    ONE_A_UNIT,
    AreaModel,
    CalendarModel,
    Company,
    LineModel,
    Name,
    PlantPart,
    Role,
    SignalModel,
    StopReason,
    UnitModel,
    all_of,
    check_zone,
    problem_at,
)
from aurelian.model.sample import Signal
from aurelian.model.source_model import SourceModel


class Plant(PlantPart):
    """One site's plant model, as its file says. `line_count` and others below answer what services
    ask."""

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
        return check_zone(zone)

    @model_validator(mode="after")
    def _consistent(self) -> Plant:
        if problems := list(self._problems()):
            raise all_of(problems)
        return self

    def _problems(self) -> Iterator[PydanticCustomError]:
        kinds: dict[str, str] = {}
        sources = {source.id: source for source in self.sources}
        for number, source in enumerate(self.sources):
            at = ("sources", number)
            if source.id in kinds:
                said = f"source {source.id!r} stands in more than one place"
                yield problem_at(*at, "id", said=said)
            kinds[source.id] = source.kind
            source.place(self.path)
            if source.is_plain_mqtt and not source.subscriptions:
                said = f"{source.kind} needs a topic; say plant/{{unit}}/state"
                yield problem_at(*at, "topic", said=said)
        taken: set[str] = set()
        paths: set[str] = set()
        addresses: set[tuple[str, ...]] = set()
        for r, reason in enumerate(self.stop_reasons):
            yield from _take(taken, f"stop reason {reason.code}", "stop_reasons", r, "code")
        for a, area in enumerate(self.areas):
            yield from _take(taken, f"area {area.name!r}", "areas", a, "name")
            yield from _take(taken, area.id, "areas", a, "id")
            for n, model in enumerate(area.lines):
                place = ("areas", a, "lines", n)
                line = Line(self, area, model)
                yield from _take(taken, f"line {line.path!r}", *place, "name")
                yield from _take(taken, model.id, *place, "id")
                for p, product in enumerate(model.products):
                    name = f"product {product.id!r} of {line.path!r}"
                    yield from _take(taken, name, *place, "products", p)
                names = [unit.name for unit in model.units]
                for field in ("output", "constraint"):
                    wanted = getattr(model, field)
                    if wanted is not None and wanted not in names:
                        said = (
                            f"line {model.name!r}: {field} {wanted!r} is none of its units {names}"
                        )
                        yield problem_at(*place, field, said=said)
                for u, unit in enumerate(line.units):
                    where = (*place, "units", u)
                    yield from _check_unit(unit, sources.get(unit.model.source), paths, where)
                    if unit.model.source in sources:
                        source = sources[unit.model.source]
                        yield from _check_with_source(unit, source, addresses, where)
                    yield from _take(taken, unit.model.id, *where, "id")
                    for s, signal in enumerate(unit.model.signals):
                        yield from _take(taken, signal.id, *where, "signals", s, "id")

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
        """The ISA-95 tree from the enterprise down, parents first; what goes to
        `aurelian.assets.v1`."""
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
            derive_id(self.path),
            self.owner,
            enterprise.id,
            "site",
            self.site,
            self.path,
            {
                "title": self.title,
                "time_zone": self.time_zone,
                "stop_reasons": [each.model_dump(mode="json") for each in self.stop_reasons],
            },
        )
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
                yield Asset(
                    line.id, self.owner, area.id, "line", model.name, line.path, line.meaning()
                )
                for unit in line.units:
                    yield Asset(
                        unit.id,
                        self.owner,
                        line.id,
                        "unit",
                        unit.model.name,
                        unit.path,
                        unit.meaning(),
                    )


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

    @property
    def source(self) -> str:
        """`SourceModel.key` of the source that speaks for it."""
        return f"{self.line.plant.path}/{self.model.source}"

    def signals(self) -> Iterator[Signal]:
        """Its signals as the dictionary of a batch carries them, in the file's order."""
        for signal in self.model.signals:
            path = f"{self.path}/{signal.name}"
            yield Signal(
                signal.id or derive_id(path),
                self.id,
                path,
                signal.type,
                signal.unit,
                self.source,
            )

    def meaning(self) -> dict[str, object]:
        """What readers of the asset need beside its path: JSON-ready."""
        return {
            "title": self.model.title or self.model.name,
            "source": self.source,
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
                    **self._values(model),
                }
                for signal, model in zip(self.signals(), self.model.signals, strict=True)
            ],
        }

    def _values(self, model: SignalModel) -> dict[str, object]:
        if model.role is Role.STATE:
            return {"states": model.states or self.model.states}
        return {} if model.wraps_at is None else {"wraps_at": model.wraps_at}


def _check_unit(
    unit: Unit, source: SourceModel | None, paths: set[str], place: tuple[int | str, ...]
) -> Iterator[PydanticCustomError]:
    """Problems of a unit with its source and the paths before it, to which its own are added."""
    if source is None:
        said = f"unit {unit.path!r}: source {unit.model.source!r} is not under `sources`"
        yield problem_at(*place, "source", said=said)
    if unit.path in paths:
        yield problem_at(*place, "name", said=f"{unit.path!r} stands twice")
        return
    paths.add(unit.path)
    of_role: dict[Role, str] = {}
    for number, model in enumerate(unit.model.signals):
        path, at = f"{unit.path}/{model.name}", (*place, "signals", number)
        if path in paths:
            yield problem_at(*at, "name", said=f"{path!r} stands twice")
        paths.add(path)
        if model.role in ONE_A_UNIT:
            other = of_role.setdefault(model.role, model.name)
            if other != model.name:
                said = (
                    f"signal {path!r}: {other!r} has the role {model.role.value} already; "
                    "a unit has one of it"
                )
                yield problem_at(*at, "role", said=said)
        if "address" in model.model_fields_set and not model.address.strip():
            said = (
                f"signal {path!r}: the address is empty; say where {unit.model.source!r} has it, "
                "or leave the field out"
            )
            yield problem_at(*at, "address", said=said)
        elif model.address and source is not None and source.kind == "opcua":
            try:
                parse_address(model.address)
            except AddressError as error:
                yield problem_at(*at, "address", said=f"signal {path!r}: address {error}")


def _check_with_source(
    unit: Unit,
    source: SourceModel,
    addresses: set[tuple[str, ...]],
    place: tuple[int | str, ...],
) -> Iterator[PydanticCustomError]:
    yield from _check_monitoring(unit, source, (*place, "signals"))
    try:
        check_alarm_nodes(unit.path, unit.model.alarm_nodes, source, addresses, place)
    except PydanticCustomError as error:
        yield error
    if source.kind != "opcua":
        yield from _check_addresses(unit, source, addresses, place)


def _check_monitoring(
    unit: Unit, source: SourceModel, place: tuple[int | str, ...]
) -> Iterator[PydanticCustomError]:
    """What is said of how a signal's values are asked for and cannot be done."""
    for number, model in enumerate(unit.model.signals):
        own = model.monitoring
        if own is None:
            continue
        if source.kind != "opcua":
            fault = f"`monitoring` is there for signals of kind opcua only; {source.id!r} is none"
        elif own.heartbeat_s and source.event_time == "gateway":
            fault = (
                f"`heartbeat_s` repeats a value with its time, and with `event_time: gateway` of "
                f"{source.id!r} each would be a new one; take one of them out"
            )
        else:
            fault = own.fault_with(model.type)
        if fault:
            said = f"signal {unit.path + '/' + model.name!r}: {fault}"
            yield problem_at(*place, number, "monitoring", said=said)


def _check_addresses(
    unit: Unit, spoken_for: SourceModel, taken: set[tuple[str, ...]], place: tuple[int | str, ...]
) -> Iterator[PydanticCustomError]:
    """What one source calls the same: a message names a unit and a signal by their addresses
    alone (an OPC UA node may be two signals)."""
    source, name = unit.model.source, spoken_for.unit_key(unit.path, unit.model.address)
    parts: list[tuple[tuple[str, ...], str, str, tuple[int | str, ...]]] = [
        ((source, name), "unit", unit.path, place)
    ]
    for number, model in enumerate(unit.model.signals):
        address = model.address or model.name
        at = (*place, "signals", number)
        parts.append(((source, name, address), "signal", f"{unit.path}/{model.name}", at))
    for key, kind, path, at in parts:
        if key in taken:
            said = f"{kind} {path!r}: {source!r} has another {kind} with the address {key[-1]!r}"
            yield problem_at(*at, "address", said=said)
            if kind == "unit":
                return  # each of its signals would be another's too
        taken.add(key)


def _take(taken: set[str], name: str | None, *place: int | str) -> Iterator[PydanticCustomError]:
    """Take a name or an id (None: it has none of its own) that may stand once in a plant."""
    if name in taken:
        yield problem_at(*place, said=f"{name} stands twice")
    if name is not None:
        taken.add(name)


def derive_id(path: str) -> str:
    """The id of what has none of its own: UUIDv5 of its path. Give an `id` in the file before you
    rename."""
    # Half a surrogate pair, say from a payload, is no name, but asking for its id must not raise.
    return str(uuid.uuid5(NAMESPACE, path.encode(errors="backslashreplace").decode()))
