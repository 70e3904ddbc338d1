"""The running shift's figures of a line as text: target, actual, efficiency, and what is to be said
of them. Pure; called by pages.py.

The browser's elements repeat these rules (static/js/elements.js) once the stream is open.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass
from datetime import tzinfo

from dashboard import formats
from dashboard.marks import time_of_day
from dashboard.records import Body

SAME_MS = 1000
"""Figures that count from less than this after their shift's start count from its start."""


@dataclass(frozen=True, slots=True)
class Score:
    """Target, actual and efficiency of the running shift, as text; `bar` is the actual in percent
    of the target. `since`: from when it counts, where that is not the shift's start; `note`: why
    a figure cannot be as it is; `bridged`: pieces of a time without data. Each a sentence, empty
    where there is nothing to say."""

    shift: str
    target: str
    actual: str
    delta: str
    delta_word: str
    tone: str
    oee: str
    bar: float
    bar_tone: str
    availability: str
    effectiveness: str
    quality: str
    scrap: str
    lost: str
    since: str
    note: str
    bridged: str


def make_score(kpi: Body | None, now_ms: int, zone: tzinfo, unknown: Collection[str] = ()) -> Score:
    """The running shift's figures as text; dashes where nothing is known. `unknown`: figures that
    the plant model cannot give, whatever they add up to."""
    if kpi is None:
        return Score(
            "no shift",
            "–",
            "–",
            "no figures yet",
            "",
            "none",
            "–",
            0,
            "running",
            "–",
            "–",
            "–",
            "–",
            "–",
            "",
            "",
            "",
        )
    kpi = kpi | dict.fromkeys(unknown)
    lost_s = max(
        0.0, (kpi["planned_busy_s"] or 0) - (kpi["production_s"] or 0) - (kpi["no_data_s"] or 0)
    )
    good, target = kpi["good"] or 0, kpi["target"] or 0
    is_counted = not {"good", "target"} & set(unknown)
    off, word = formats.delta(good, target) if is_counted else ("–", "")
    tone = "behind" if round(good) < round(target) else "ahead"
    return Score(
        shift=kpi["shift"],
        target="–" if "target" in unknown else formats.number(round(target)),
        actual="–" if "good" in unknown else formats.number(round(good)),
        delta=off,
        delta_word=word,
        tone=tone if is_counted else "none",
        oee=formats.percent(kpi["oee"]),
        bar=min(120.0, round(100 * good / target, 1)) if target and is_counted else 0,
        bar_tone="slow" if good < 0.95 * target else "running",
        availability=formats.percent(kpi["availability"]),
        effectiveness=formats.percent(kpi["effectiveness"]),
        quality=formats.percent(kpi["quality"]),
        scrap=formats.number(round(kpi["scrap"] or 0)),
        lost="–" if "production_s" in unknown else formats.duration(lost_s),
        since=_since_text(kpi, now_ms, zone),
        note=_note_text(kpi),
        bridged=_bridged_text(kpi),
    )


def _since_text(kpi: Body, now_ms: int, zone: tzinfo) -> str:
    since = kpi.get("counts_from")
    if since is None or since < kpi["shift_start"] + SAME_MS:
        return ""
    return f"Counted since {time_of_day(since, now_ms, zone)}, not from the start of the shift"


def _note_text(kpi: Body) -> str:
    """The note of line_health; figures that came without one are never over 100 % without a
    word."""
    if note := kpi.get("note"):
        return str(note)
    over = max(kpi["oee"] or 0, kpi["effectiveness"] or 0) > 1
    return "More than 100 %: the ideal cycle in the plant file is too slow" if over else ""


def _bridged_text(kpi: Body) -> str:
    count = round(kpi.get("bridged") or 0)
    return f"{formats.number(count)} of the pieces were made while no data came" if count else ""
