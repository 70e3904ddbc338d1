"""What may be said of a line or machine now: what is stale is never running. Pure; called by
pages.py and routes.py.

The browser repeats these rules (static/js/marks.js) once the stream is open.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import tzinfo

from aurelian.model.asset import Asset
from aurelian.model.packml import read_state
from aurelian.model.plant_parts import LineState
from aurelian.model.time import from_ms
from dashboard import formats
from dashboard.freshness import Freshness
from dashboard.live import LivePlant
from dashboard.records import LiveSignal

REPORTING = formats.Look("Reporting", "ring", "running")
"""Of a machine that is heard and has no state signal."""


@dataclass(frozen=True, slots=True)
class Mark:
    """A state as shown: never better than what is known now."""

    look: formats.Look
    word: str
    text: str


def line_mark(
    plant: LivePlant, line: Asset, freshness: Freshness, now_ms: int, zone: tzinfo
) -> Mark:
    """The line's state; once its constraint machine is not heard, only that there is no data since
    when."""
    if freshness is Freshness.STALE:
        return no_data(plant, line.id, now_ms, zone)
    state = plant.line(line.id).state
    if state is None:
        return Mark(formats.LOOKS[LineState.NO_DATA], "No data", "waiting for the first state")
    look = formats.look(state["state"])
    return Mark(look, look.word, "for " + formats.duration((now_ms - state["since"]) / 1000))


def unit_mark(
    plant: LivePlant,
    unit: Asset,
    signal: LiveSignal | None,
    freshness: Freshness,
    now_ms: int,
    zone: tzinfo,
) -> Mark:
    """A machine's own state from its state signal (None: it has none)."""
    if freshness is Freshness.STALE:
        return no_data(plant, unit.id, now_ms, zone)
    if signal is None:
        return Mark(REPORTING, REPORTING.word, "")
    reported = None if signal.status >> 30 == 2 else read_state(signal.value)
    state, word = reported.shown if reported is not None else (LineState.NO_DATA, "No data")
    return Mark(formats.look(state), word, "")


def no_data(plant: LivePlant, asset: str, now_ms: int, zone: tzinfo) -> Mark:
    """`No data since 14:02:11`."""
    heard = plant.heard_ms(asset)
    text = "since " + time_of_day(heard, now_ms, zone) if heard else "never heard"
    return Mark(formats.LOOKS[LineState.NO_DATA], "No data", text)


def age_text(
    plant: LivePlant, asset: str, now_ms: int, zone: tzinfo, source: str | None = None
) -> str:
    """`live`, `12 s old`, `last 14:02:11`, `never heard`."""
    heard = plant.heard_ms(asset, source)
    match plant.freshness(asset, now_ms, source):
        case Freshness.LIVE:
            return "live"
        case Freshness.LATE:
            return f"{(now_ms - heard) // 1000} s old"
        case Freshness.STALE:
            return "last " + time_of_day(heard, now_ms, zone) if heard else "never heard"


def time_of_day(ms: float, now_ms: int, zone: tzinfo) -> str:
    """A time of day in the plant's zone; with the date when it is not today."""
    local, today = from_ms(ms).astimezone(zone), from_ms(now_ms).astimezone(zone)
    return (
        formats.clock(local)
        if local.date() == today.date()
        else local.strftime("%Y-%m-%d %H:%M:%S")
    )
