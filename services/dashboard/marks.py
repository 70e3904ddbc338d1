"""What may be said of a line or machine now: what is stale is never running. Pure; called by
pages.py and routes.py.

The browser repeats these rules (static/js/marks.js) once the stream is open.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import tzinfo

from aurelian.model.asset import Asset
from aurelian.model.machine_states import LineState, Unknown, read_state
from aurelian.model.time import from_ms
from dashboard import formats
from dashboard.freshness import Freshness
from dashboard.live import LivePlant
from dashboard.records import LiveSignal

NO_DATA = formats.LOOKS[LineState.NO_DATA].word
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
    """The line's state; without evidence of now only what is known: the last state, since when
    there is none, and why."""
    live, unit = plant.findings.line(line.id), plant.tree.reporters_of(line.id)[0]
    known = live.before if live.before is not None else live.state
    word = "" if known is None else formats.look(known["state"]).word
    if freshness is Freshness.STALE:
        return _stale(plant, line.id, word, now_ms, zone)
    evidence = plant.evidence.of(unit)
    if evidence.ended:
        return _no_data(word, evidence.ended_us // 1000, evidence.ended, now_ms, zone)
    state = live.state
    unknown = state is None or state["state"] == LineState.NO_DATA
    if unknown and plant.state_signal_of(unit) is None:
        return Mark(REPORTING, REPORTING.word, "no state signal")
    if state is None:
        return Mark(formats.LOOKS[LineState.NO_DATA], NO_DATA, "waiting for the first state")
    if state["state"] == LineState.NO_DATA:
        return _no_data(word, state["since"], state["reason"], now_ms, zone)
    look = formats.look(state["state"])
    text = "for " + formats.duration((now_ms - state["since"]) / 1000)
    return Mark(look, look.word, _joined(text, state["reason"]))


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
        word = "" if signal is None else _state_word(plant, unit, signal)
        return _stale(plant, unit.id, word, now_ms, zone)
    if signal is None:
        return Mark(REPORTING, REPORTING.word, "")
    evidence = plant.evidence.of(unit.id)
    if evidence.ended:
        word = _state_word(plant, unit, signal)
        return _no_data(word, evidence.ended_us // 1000, evidence.ended, now_ms, zone)
    if signal.status >> 30 == 2 or signal.value is None:
        return Mark(formats.LOOKS[LineState.NO_DATA], NO_DATA, "")
    reported = read_state(signal.states, signal.value)
    if isinstance(reported, Unknown):
        return Mark(formats.LOOKS[LineState.NO_DATA], NO_DATA, reported.text)
    return Mark(formats.look(reported.line), reported.word, "")


def _state_word(plant: LivePlant, unit: Asset, signal: LiveSignal) -> str:
    evidence = plant.evidence.of(unit.id)
    last = read_state(signal.states, evidence.last if evidence.ended else signal.value)
    return "" if isinstance(last, Unknown) else last.word


def _stale(plant: LivePlant, asset: str, word: str, now_ms: int, zone: tzinfo) -> Mark:
    reason = plant.silence_reason(asset)
    return _no_data(word, plant.heard_ms(asset), reason, now_ms, zone)


def _no_data(word: str, at_ms: int, reason: str, now_ms: int, zone: tzinfo) -> Mark:
    """`No data` with `last Running 14:02:11`, else `since 14:02:11` or `never heard`; and why."""
    known = word and word != NO_DATA
    time = time_of_day(at_ms, now_ms, zone) if at_ms else ""
    text = f"{f'last {word}' if known else 'since'} {time}" if time else "never heard"
    return Mark(formats.LOOKS[LineState.NO_DATA], NO_DATA, _joined(text, reason))


def _joined(text: str, reason: str) -> str:
    return f"{text}: {reason}" if reason else text


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
