"""What the templates draw, taken from the live picture at one moment. Pure; called by routes.py.

The browser's elements repeat these rules (static/js/elements.js) once the stream is open.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo
from typing import Any
from zoneinfo import ZoneInfo

from aurelian.model.asset import Asset
from aurelian.model.packml import read_state
from aurelian.model.plant_parts import LineState
from aurelian.model.sample import ValueType
from dashboard import words
from dashboard.encoding import from_ms
from dashboard.freshness import Freshness
from dashboard.live import LivePlant
from dashboard.things import Body, LiveSignal

TILE_SIGNALS = 4


@dataclass(frozen=True, slots=True)
class Mark:
    """A state as shown: never better than what is known now. `since_ms` 0: unknown."""

    look: words.Look
    word: str
    text: str
    since_ms: int


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
class MachineView:
    """A machine on a line's tile or page."""

    asset: Asset
    mark: Mark
    freshness: Freshness
    age: str
    key_signals: tuple[ValueView, ...]
    all_signals: tuple[ValueView, ...]
    state_signal: str
    health: Body | None
    health_text: str


@dataclass(frozen=True, slots=True)
class Score:
    """Target, actual and efficiency of the running shift, as text; `bar` is the actual in percent
    of the target."""

    shift: str
    target: str
    actual: str
    delta: str
    tone: str
    oee: str
    bar: float
    bar_tone: str
    availability: str
    effectiveness: str
    quality: str
    scrap: str
    lost: str


@dataclass(frozen=True, slots=True)
class LineView:
    """A line as a tile or as the head of its page."""

    asset: Asset
    place: str
    mark: Mark
    freshness: Freshness
    age: str
    source: str
    zone: tzinfo
    score: Score
    machines: tuple[MachineView, ...]
    alarms: tuple[Body, ...]
    capacity: str
    capacity_note: str


@dataclass(frozen=True, slots=True)
class SiteView:
    """A site of a company with its lines."""

    title: str
    company: str
    lines: tuple[LineView, ...]


def sites(plant: LivePlant, now_ms: int) -> list[SiteView]:
    """All sites with their lines in the order of their paths."""
    groups: dict[str, list[Asset]] = {}
    for asset in sorted(plant.assets.values(), key=lambda asset: natural(asset.path)):
        if asset.level == "line":
            groups.setdefault("/".join(asset.path.split("/")[:2]), []).append(asset)
    by_path = {asset.path: asset for asset in plant.assets.values()}
    out = []
    for path, lines in groups.items():
        site, company = by_path.get(path), by_path.get(path.split("/", maxsplit=1)[0])
        out.append(
            SiteView(
                site.title if site is not None else path.rpartition("/")[2],
                company.title if company is not None else path.split("/", maxsplit=1)[0],
                tuple(line_view(plant, line, now_ms) for line in lines),
            )
        )
    return out


def line_view(plant: LivePlant, line: Asset, now_ms: int, *, all_signals: bool = False) -> LineView:
    """One line now. `all_signals`: each machine with all of its signals, not only the first few."""
    zone = zone_of(line)
    live = plant.line(line.id)
    freshness = plant.freshness(line.id, now_ms)
    capacity, note = capacity_words(this_week(live.capacity, now_ms, zone))
    return LineView(
        asset=line,
        place=area_name(plant, line),
        mark=line_mark(plant, line, now_ms, zone),
        freshness=freshness,
        age=age_words(plant, line.id, now_ms, zone),
        source=plant.source_of(line.id),
        zone=zone,
        score=score(live.kpi),
        machines=tuple(
            machine_view(plant, unit, now_ms, zone, all_signals) for unit in plant.units_of(line)
        ),
        alarms=tuple(alarms(plant, line)),
        capacity=capacity,
        capacity_note=note,
    )


def line_mark(plant: LivePlant, line: Asset, now_ms: int, zone: tzinfo) -> Mark:
    """The line's state; once its constraint machine is not heard, only that there is no data since
    when."""
    if plant.freshness(line.id, now_ms) is Freshness.STALE:
        return no_data(plant, line.id, now_ms, zone)
    state = plant.line(line.id).state
    if state is None:
        return Mark(words.LOOKS[LineState.NO_DATA], "No data", "waiting for the first state", 0)
    look = words.look(state["state"])
    return Mark(
        look, look.word, "for " + words.duration((now_ms - state["since"]) / 1000), state["since"]
    )


def unit_mark(plant: LivePlant, unit: Asset, now_ms: int, zone: tzinfo) -> tuple[Mark, str]:
    """A machine's own state from its state signal, and that signal's id (empty: it has none)."""
    signal = next((s for s in plant.signals_of(unit.id) if s.role == "state"), None)
    if plant.freshness(unit.id, now_ms) is Freshness.STALE:
        return no_data(plant, unit.id, now_ms, zone), signal.id if signal is not None else ""
    if signal is None:
        return Mark(words.Look("Reporting", "ring", "running"), "Reporting", "", 0), ""
    reported = None if signal.status >> 30 == 2 else read_state(signal.value)
    state, word = reported.shown if reported is not None else (LineState.NO_DATA, "No data")
    return Mark(words.look(state), word, "", signal.time_us // 1000), signal.id


def no_data(plant: LivePlant, asset: str, now_ms: int, zone: tzinfo) -> Mark:
    """`No data since 14:02:11`."""
    heard = plant.heard_ms(asset)
    text = "since " + when(heard, now_ms, zone) if heard else "never heard"
    return Mark(words.LOOKS[LineState.NO_DATA], "No data", text, heard)


def machine_view(
    plant: LivePlant, unit: Asset, now_ms: int, zone: tzinfo, all_signals: bool
) -> MachineView:
    """One machine now."""
    mark, state_signal = unit_mark(plant, unit, now_ms, zone)
    signals = sorted(plant.signals_of(unit.id), key=lambda signal: natural(signal.name))
    ranked = sorted(
        (signal for signal in signals if signal.role in words.ROLE_ORDER),
        key=lambda signal: words.ROLE_ORDER.index(signal.role),
    )
    health = plant.health.get(unit.id)
    return MachineView(
        asset=unit,
        mark=mark,
        freshness=plant.freshness(unit.id, now_ms),
        age=age_words(plant, unit.id, now_ms, zone),
        key_signals=tuple(value_view(plant, s, now_ms, zone) for s in ranked[:TILE_SIGNALS]),
        all_signals=tuple(value_view(plant, s, now_ms, zone) for s in signals)
        if all_signals
        else (),
        state_signal=state_signal,
        health=health,
        health_text=words.percent(health["index"]) if health else "–",
    )


def value_view(plant: LivePlant, signal: LiveSignal, now_ms: int, zone: tzinfo) -> ValueView:
    """A signal's newest value now; JSON and bytes as short text."""
    return ValueView(
        signal=signal,
        label=words.name(signal.name),
        text=words.value(signal.value) if signal.time_us else "–",
        unit=words.unit(signal.unit),
        quality=words.quality(signal.status) if signal.time_us else "No value yet",
        status=words.status_words(signal.status),
        time=when(signal.time_us // 1000, now_ms, zone) if signal.time_us else "",
        freshness=plant.freshness(signal.asset, now_ms, signal.source),
    )


def score(kpi: Body | None) -> Score:
    """The running shift's figures as text; dashes where nothing is known."""
    if kpi is None:
        return Score(
            "no shift",
            "–",
            "–",
            "no figures yet",
            "none",
            "–",
            0,
            "running",
            "–",
            "–",
            "–",
            "–",
            "–",
        )
    good, target = kpi["good"] or 0, kpi["target"] or 0
    lost_s = max(
        0.0, (kpi["planned_busy_s"] or 0) - (kpi["production_s"] or 0) - (kpi["no_data_s"] or 0)
    )
    return Score(
        shift=kpi["shift"],
        target=words.number(round(target)),
        actual=words.number(round(good)),
        delta=words.delta(good, target),
        tone="behind" if round(good) < round(target) else "ahead",
        oee=words.percent(kpi["oee"]),
        bar=min(120.0, round(100 * good / target, 1)) if target else 0,
        bar_tone="slow" if good < 0.95 * target else "running",
        availability=words.percent(kpi["availability"]),
        effectiveness=words.percent(kpi["effectiveness"]),
        quality=words.percent(kpi["quality"]),
        scrap=words.number(round(kpi["scrap"] or 0)),
        lost=words.duration(lost_s),
    )


def alarms(plant: LivePlant, line: Asset | None = None) -> list[Body]:
    """Active alarms, of one line or of all: high before low, then the newest first."""
    rank = {"high": 0, "medium": 1, "low": 2}
    chosen = [
        alarm
        for alarm in plant.alarms.values()
        if line is None or plant.line_of_alarm(alarm) == line.id
    ]
    return sorted(chosen, key=lambda alarm: (rank.get(alarm["priority"], 3), -alarm["raised_at"]))


def this_week(weeks: dict[str, Body], now_ms: int, zone: tzinfo) -> Body | None:
    """The running week's estimate in the plant's zone."""
    today = from_ms(now_ms).astimezone(zone).date()
    return weeks.get((today - timedelta(days=today.weekday())).isoformat())


def capacity_words(week: Body | None) -> tuple[str, str]:
    """This week's free capacity in one phrase, and what it is part of."""
    if week is None:
        return "–", "no estimate yet"
    share = week["available"] / week["total"] if week["total"] else None
    return (
        f"{words.number(round(week['available']))} of {words.number(round(week['total']))}",
        f"{words.percent(share)} free this week",
    )


def age_words(
    plant: LivePlant, asset: str, now_ms: int, zone: tzinfo, source: str | None = None
) -> str:
    """`live`, `12 s old`, `last 14:02:11`, and why if somebody said."""
    heard = plant.heard_ms(asset, source)
    match plant.freshness(asset, now_ms, source):
        case Freshness.LIVE:
            return "live"
        case Freshness.LATE:
            return f"{(now_ms - heard) // 1000} s old"
        case Freshness.STALE:
            return "last " + when(heard, now_ms, zone) if heard else "never heard"


def when(ms: int, now_ms: int, zone: tzinfo) -> str:
    """A time of day in the plant's zone; with the date when it is not today."""
    local, today = from_ms(ms).astimezone(zone), from_ms(now_ms).astimezone(zone)
    return (
        words.clock(local) if local.date() == today.date() else local.strftime("%Y-%m-%d %H:%M:%S")
    )


def area_name(plant: LivePlant, line: Asset) -> str:
    """Name of the area that the line is in."""
    area = plant.assets.get(line.parent or "")
    return area.title if area is not None else ""


def zone_of(line: Asset | None) -> tzinfo:
    """The plant's time zone as the line's model says; UTC where nothing is said."""
    name = line.meaning.get("time_zone") if line is not None else None
    return ZoneInfo(str(name)) if name else UTC


def plant_zone(plant: LivePlant) -> tzinfo:
    """The zone of pages that show more than one line: that of the first."""
    lines = sorted(
        (a for a in plant.assets.values() if a.level == "line"), key=lambda a: natural(a.path)
    )
    return zone_of(lines[0] if lines else None)


def data_health(plant: LivePlant, now_ms: int) -> dict[str, int]:
    """How many machines are live, late and stale."""
    counts = dict.fromkeys(("live", "late", "stale"), 0)
    for asset in plant.assets.values():
        if asset.level == "unit":
            counts[plant.freshness(asset.id, now_ms).value] += 1
    return counts


def steps(signal: LiveSignal) -> bool:
    """True if the signal jumps from value to value, so that a trend holds the last one instead of
    sloping."""
    return signal.role in ("state", "stop_reason", "order", "product") or signal.type in (
        ValueType.BOOL,
        ValueType.INT64,
        ValueType.UINT64,
    )


def natural(path: str) -> list[Any]:
    """Sort key in which line-2 comes before line-10."""
    return [
        (0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", path)
    ]


def now_in(zone: tzinfo, now_ms: int) -> datetime:
    """The given moment in a zone."""
    return from_ms(now_ms).astimezone(zone)
