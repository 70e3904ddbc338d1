"""What the templates draw, taken from the live picture at one moment. Pure; called by routes.py.

The browser's elements repeat these rules (static/js/elements.js) once the stream is open.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import UTC, timedelta, tzinfo
from zoneinfo import ZoneInfo

from aurelian.model.asset import Asset
from aurelian.model.figures import Missing
from aurelian.model.machine_states import LineState
from aurelian.model.sample import ValueType
from aurelian.model.time import from_ms
from dashboard import formats
from dashboard.asset_tree import natural_key
from dashboard.connections import Trouble, trouble_of
from dashboard.figures import missing_of
from dashboard.freshness import Freshness
from dashboard.live import LivePlant
from dashboard.marks import Mark, age_text, line_mark, time_of_day, unit_mark
from dashboard.records import Body, LiveSignal, Shown
from dashboard.score import Score, make_score

MACHINE_SIGNALS = 4
"""Signals of a machine that its line's page shows without a click."""

PRIORITIES = {"high": 0, "medium": 1, "low": 2}


@dataclass(frozen=True, slots=True)
class ValueView:
    """A signal's newest value as shown."""

    signal: LiveSignal
    label: str
    text: str
    unit: str
    quality: str
    status: str
    time: str
    freshness: Freshness


@dataclass(frozen=True, slots=True)
class MachineMark:
    """A machine on its line's tile. `state_signal` empty: it has none;
    `states`: the name of its vocabulary, or its own as JSON."""

    asset: Asset
    mark: Mark
    freshness: Freshness
    state_signal: str
    states: str


@dataclass(frozen=True, slots=True)
class MachineView:
    """A machine on its line's page."""

    asset: Asset
    mark: Mark
    freshness: Freshness
    age: str
    key_signals: tuple[ValueView, ...]
    all_signals: tuple[ValueView, ...]
    state_signal: str
    states: str
    health: Body | None
    health_text: str


@dataclass(frozen=True, slots=True)
class Cases:
    """Open maintenance cases of a line's machines: `Case open: CNC 1, Saw 1`; empty: none.
    `machines`: ids and titles, JSON, for the browser."""

    text: str
    shape: str
    tone: str
    machines: str


@dataclass(frozen=True, slots=True)
class Standing:
    """How many alarms of their own a line's machines have: `2 machine alarms`; empty: none."""

    text: str = ""
    shape: str = ""
    tone: str = ""


@dataclass(frozen=True, slots=True)
class LineView:
    """A line as a tile or as the head of its page. `sources`: keys, JSON, for the browser;
    `unknown`: figures that its plant model cannot give, with spaces between."""

    asset: Asset
    place: str
    mark: Mark
    freshness: Freshness
    age: str
    source: str
    zone: tzinfo
    score: Score
    machines: tuple[MachineMark, ...]
    alarms: Sequence[Body]
    machine_alarms: Standing
    trouble: Trouble
    sources: str
    cases: Cases
    capacity: str
    capacity_note: str
    missing: tuple[Missing, ...]
    unknown: str


@dataclass(frozen=True, slots=True)
class SiteView:
    """A site of a company with its lines."""

    title: str
    company: str
    lines: tuple[LineView, ...]


def sites(plant: LivePlant, now_ms: int) -> list[SiteView]:
    """All sites with their lines in the order of their paths."""
    groups: dict[str, list[Asset]] = {}
    for line in plant.tree.lines():
        groups.setdefault("/".join(line.path.split("/")[:2]), []).append(line)
    by_path = {
        asset.path: asset
        for asset in plant.tree.assets.values()
        if asset.level in ("enterprise", "site")
    }
    alarms, standing = alarms_by_line(plant), plant.standing.by_line()
    out = []
    for path, lines in groups.items():
        site, company = by_path.get(path), by_path.get(path.split("/", maxsplit=1)[0])
        out.append(
            SiteView(
                site.title if site is not None else path.rpartition("/")[2],
                company.title if company is not None else path.split("/", maxsplit=1)[0],
                tuple(
                    line_view(plant, line, now_ms, alarms.get(line.id, ()), standing.get(line.id))
                    for line in lines
                ),
            )
        )
    return out


def line_view(
    plant: LivePlant,
    line: Asset,
    now_ms: int,
    alarms: Sequence[Body] = (),
    standing: Body | None = None,
) -> LineView:
    """One line now. `alarms`: its active ones, the most urgent first; `standing`: how many its
    machines tell."""
    sources = plant.tree.sources_of(line)
    zone = zone_of(line)
    live = plant.findings.line(line.id)
    freshness = plant.freshness(line.id, now_ms)
    capacity, note = capacity_text(this_week(live.capacity, now_ms, zone))
    missing = missing_of(plant, line)
    unknown = sorted({figure for each in missing for figure in each.unknown})
    return LineView(
        asset=line,
        place=area_name(plant, line),
        mark=line_mark(plant, line, freshness, now_ms, zone),
        freshness=freshness,
        age=age_text(plant, line.id, now_ms, zone),
        source=plant.tree.reporters_of(line.id)[1],
        zone=zone,
        score=make_score(live.kpi, now_ms, zone, unknown),
        machines=tuple(
            machine_mark(plant, unit, now_ms, zone) for unit in plant.tree.units_of(line)
        ),
        alarms=alarms,
        machine_alarms=_standing(standing, freshness),
        trouble=trouble_of(plant.connections, sources),
        sources=json.dumps(sources),
        cases=cases_of(plant, line),
        capacity=capacity,
        capacity_note=note,
        missing=missing,
        unknown=" ".join(unknown),
    )


def _standing(body: Body | None, freshness: Freshness) -> Standing:
    """Of a line that is not heard they may be otherwise by now."""
    if body is None:
        return Standing()
    count = body["standing"]
    text = f"{count} machine alarm{'' if count == 1 else 's'}"
    if freshness is Freshness.STALE:
        return Standing(f"{text} when last heard", "hatch", "none")
    look = formats.urgency(machine_priority(body["severity"]))
    return Standing(text, look.shape, look.tone)


def machine_priority(severity: int) -> str:
    """High, medium or low, of an OPC UA severity."""
    return "high" if severity >= 667 else "medium" if severity >= 334 else "low"


def cases_of(plant: LivePlant, line: Asset) -> Cases:
    """The open maintenance cases of a line's machines, in flow order."""
    units = plant.tree.units_of(line)
    found = [
        (unit, case)
        for unit in units
        if (case := plant.findings.health.get(unit.id, {}).get("case")) is not None
    ]
    high = any(case["severity"] == "high" for _, case in found)
    look = formats.look(LineState.DOWN if high else LineState.SLOW)
    text = "Case open: " + ", ".join(unit.title for unit, _ in found) if found else ""
    machines = json.dumps([[unit.id, unit.title] for unit in units])
    return Cases(text, look.shape, look.tone, machines)


def machine_mark(plant: LivePlant, unit: Asset, now_ms: int, zone: tzinfo) -> MachineMark:
    """One machine now, as its line's tile shows it."""
    freshness = plant.freshness(unit.id, now_ms)
    signal = plant.state_signal_of(unit.id)
    mark = unit_mark(plant, unit, signal, freshness, now_ms, zone)
    if signal is None:
        return MachineMark(unit, mark, freshness, "", "")
    states = signal.states
    table = states if isinstance(states, str) else json.dumps(formats.states_table(states))
    return MachineMark(unit, mark, freshness, signal.id, table)


def machine_views(plant: LivePlant, line: Asset, now_ms: int) -> list[MachineView]:
    """The line's machines now in flow order, with their signals and health."""
    zone = zone_of(line)
    return [_machine_view(plant, unit, now_ms, zone) for unit in plant.tree.units_of(line)]


def _machine_view(plant: LivePlant, unit: Asset, now_ms: int, zone: tzinfo) -> MachineView:
    shown = machine_mark(plant, unit, now_ms, zone)
    signals = sorted(plant.signals_of(unit.id), key=lambda signal: natural_key(signal.name))
    views = [value_view(plant, signal, now_ms, zone) for signal in signals]
    ranked = sorted(
        (view for view in views if view.signal.role in formats.ROLE_ORDER),
        key=lambda view: formats.ROLE_ORDER.index(view.signal.role),
    )
    health = plant.findings.health.get(unit.id)
    return MachineView(
        asset=unit,
        mark=shown.mark,
        freshness=shown.freshness,
        age=age_text(plant, unit.id, now_ms, zone),
        key_signals=tuple(ranked[:MACHINE_SIGNALS]),
        all_signals=tuple(views),
        state_signal=shown.state_signal,
        states=shown.states,
        health=health,
        health_text=formats.percent(health["index"]) if health else "–",
    )


def value_view(plant: LivePlant, signal: LiveSignal, now_ms: int, zone: tzinfo) -> ValueView:
    """A signal's newest value now; JSON and bytes as short text."""
    return ValueView(
        signal=signal,
        label=formats.name(signal.name),
        text=formats.value(signal.value) if signal.time_us else "–",
        unit=formats.unit(signal.unit),
        quality=formats.quality(signal.status) if signal.time_us else "No value yet",
        status=formats.status_text(signal.status),
        time=time_of_day(signal.time_us // 1000, now_ms, zone) if signal.time_us else "",
        freshness=plant.freshness(signal.asset, now_ms, signal.source),
    )


def shown_on_plant(plant: LivePlant, sites: Sequence[SiteView]) -> Shown:
    """What the script of the plant page begins with: lines, and the machines' own states."""
    lines = [line for site in sites for line in site.lines]
    return Shown(
        lines={line.asset.id for line in lines},
        signals=[
            plant.signals[machine.state_signal]
            for line in lines
            for machine in line.machines
            if machine.state_signal
        ],
        health_of=[unit for unit, health in plant.findings.health.items() if health.get("case")],
    )


def shown_on_line(plant: LivePlant, line: Asset) -> Shown:
    """What the script of a line's page begins with: all of the line."""
    units = [unit.id for unit in plant.tree.units_of(line)]
    signals = [signal for unit in units for signal in plant.signals_of(unit)]
    return Shown(lines={line.id}, signals=signals, health_of=units)


def alarms_of(plant: LivePlant, line: Asset | None = None) -> list[Body]:
    """Active alarms, of one line or of all: high before low, then the newest first."""
    return _by_urgency(
        alarm
        for alarm in plant.findings.alarms.values()
        if line is None or plant.findings.line_of_alarm(alarm) == line.id
    )


def alarms_by_line(plant: LivePlant) -> dict[str, list[Body]]:
    """Active alarms by the id of their line (empty: unknown), in the order of `alarms_of`."""
    groups: dict[str, list[Body]] = {}
    for alarm in _by_urgency(plant.findings.alarms.values()):
        groups.setdefault(plant.findings.line_of_alarm(alarm), []).append(alarm)
    return groups


def _by_urgency(alarms: Iterable[Body]) -> list[Body]:
    return sorted(
        alarms, key=lambda alarm: (PRIORITIES.get(alarm["priority"], 3), -alarm["raised_at"])
    )


def this_week(weeks: dict[str, Body], now_ms: int, zone: tzinfo) -> Body | None:
    """The running week's estimate in the plant's zone."""
    today = from_ms(now_ms).astimezone(zone).date()
    return weeks.get((today - timedelta(days=today.weekday())).isoformat())


def capacity_text(week: Body | None) -> tuple[str, str]:
    """This week's free capacity in one phrase, and what it is part of."""
    if week is None:
        return "–", "no estimate yet"
    share = week["available"] / week["total"] if week["total"] else None
    return (
        f"{formats.number(round(week['available']))} of {formats.number(round(week['total']))}",
        f"{formats.percent(share)} free this week",
    )


def area_name(plant: LivePlant, line: Asset) -> str:
    """Name of the area that the line is in."""
    area = plant.tree.assets.get(line.parent or "")
    return area.title if area is not None else ""


def zone_of(line: Asset | None) -> tzinfo:
    """The plant's time zone as the line's model says; UTC where nothing is said."""
    name = line.meaning.get("time_zone") if line is not None else None
    return ZoneInfo(str(name)) if name else UTC


def plant_zone(plant: LivePlant) -> tzinfo:
    """The zone of pages that show more than one line: that of the first."""
    lines = plant.tree.lines()
    return zone_of(lines[0] if lines else None)


def data_health(plant: LivePlant, now_ms: int) -> dict[str, int]:
    """How many machines are live, late and stale."""
    counts = dict.fromkeys(("live", "late", "stale"), 0)
    for unit in plant.tree.units():
        counts[plant.freshness(unit.id, now_ms).value] += 1
    return counts


def is_stepped(signal: LiveSignal) -> bool:
    """True if the signal jumps from value to value, so that a trend holds the last one instead of
    sloping."""
    return signal.role in ("state", "stop_reason", "order", "product") or signal.type in (
        ValueType.BOOL,
        ValueType.INT64,
        ValueType.UINT64,
    )
