"""From proposals to what a plant file gets: names that nobody has yet, what people say of states,
nothing that is a guess. Pure; called by command.py and by connector.py."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any, Protocol

from aurelian.edge.control.connector import KnownSource, Planned
from aurelian.edge.proposals.proposal import Proposal
from aurelian.model.plant import Plant
from aurelian.model.plant_file import parse_plant, plant_files
from mqtt_gateway.connect.proposed import ProposedSignal, ProposedSource, ProposedUnit

_MOST_NAMED = 3
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}")

States = Mapping[str, str] | str


class Stand(Protocol):
    """Where machines stand whose topics name no area and line."""

    @property
    def area(self) -> str:
        """Its name."""
        ...

    @property
    def line(self) -> str:
        """Its name."""
        ...


def sources_of(folder: Path) -> list[KnownSource]:
    """The sources that the plant files of a folder have.

    Raises:
        PlantError: a file cannot be used.
    """
    return KnownSource.of(parse_plant(path, path.read_bytes()) for path in plant_files(folder))


def free_name(wanted: str, taken: Iterable[str]) -> str:
    """A name that nobody has: the wanted one, or with a number behind it."""
    known, name, number = set(taken), wanted, 1
    while name in known:
        number += 1
        name = f"{wanted[:59]}-{number}"
    return name


def name_of(source: ProposedSource) -> str:
    """What a source is, for people."""
    fields = source.fields
    if fields["kind"] == "sparkplug":
        return f"Sparkplug, group {fields['group']}"
    topics = fields.get("topics", [fields])
    entries = topics if isinstance(topics, list) else [fields]
    more = f" and {len(entries) - _MOST_NAMED} more" if len(entries) > _MOST_NAMED else ""
    return f"MQTT, {', '.join(map(_entry, entries[:_MOST_NAMED]))}{more}"


def _entry(entry: Mapping[str, object]) -> str:
    payload = entry.get("payload", "json")
    return (
        f"{entry['topic']} ({payload})" if entry.get("topic") else f"{payload}, at its own topics"
    )


def misplaced(unit: ProposedUnit) -> str:
    """Why a unit can stand in no plant file, one sentence; empty: it can."""
    odd = [each for each in (unit.area, unit.line) if each and not _NAME.fullmatch(each)]
    return f"unit {unit.fields['name']}: {odd[0]!r} can be no area or line" if odd else ""


def path_of(unit: ProposedUnit, signal: ProposedSignal) -> str:
    """A signal as `press/state`, as its states are said."""
    return f"{unit.fields['name']}/{signal.fields['name']}"


def compose(
    sources: Sequence[ProposedSource],
    states: Mapping[str, States],
    place: Stand,
    plant: Plant | None,
    taken: Iterable[str],
) -> tuple[list[Planned], list[str]]:
    """What the plant file gets, and sentences on what it does not get."""
    ids, left_out = set(taken), []
    units_at: dict[tuple[str, str], set[str]] = {}
    for each in plant.lines() if plant is not None else ():
        names = {unit.model.name for unit in each.units}
        units_at[each.area.name, each.model.name] = names
    made = []
    for source in sources:
        fields = dict(source.fields)
        if not source.known_as:
            fields["id"] = free_name(str(fields["id"]), ids)
            ids.add(str(fields["id"]))
        units: list[tuple[str, str, Mapping[str, object]]] = []
        for unit in source.new_units:
            area, line = unit.area or place.area, unit.line or place.line
            if odd := misplaced(unit):
                left_out.append(odd)
                continue
            names = units_at.setdefault((area, line), set())
            name = str(unit.fields["name"])
            own = free_name(name, names)
            names.add(own)
            signals = [_written(each, states.get(path_of(unit, each))) for each in unit.signals]
            new: dict[str, object] = {"name": own, "source": fields["id"]}
            if own != name or "address" in unit.fields:
                new["address"] = unit.fields.get("address", name)
            units.append((area, line, {**new, "signals": signals}))
        made.append(Planned(fields, units, source.known_as))
    return made, left_out


def _written(signal: ProposedSignal, states: States | None) -> dict[str, Any]:
    """A signal's fields, without a role that is a guess, and with what somebody said."""
    proposal: Proposal = signal.proposal
    fields: dict[str, Any] = dict(signal.fields)
    if states is not None:
        return {**fields, "role": "state", "states": states}
    if not proposal.is_written:
        fields.pop("role", None)
        fields.pop("states", None)
    return fields
