"""A line's states as an hour-by-hour picture: one row an hour, height and colour by state. Pure;
called by routes.py.

Drawn on the server, so that it means something without JavaScript and on paper. Only attributes, no
styles: the pages' content security policy forbids those.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta, tzinfo

from dashboard import formats
from dashboard.queries import Span

HOUR_S = 3600
WIDTH = 1200
"""Units of the drawing for one hour."""

ROW = 34
BAR = 24
HEIGHTS = {"running": 0.4, "slow": 0.7, "down": 1.0, "planned": 0.55, "none": 1.0}
"""Height of a bar by tone: they differ without colour too."""


@dataclass(frozen=True, slots=True)
class Bar:
    """One coloured piece of a row; `x`, `y`, `width`, `height` in units of the drawing."""

    x: float
    y: float
    width: float
    height: float
    tone: str
    title: str


@dataclass(frozen=True, slots=True)
class Row:
    """One hour. `y` is its top; `lost_s` the time in it that was not running, planned or without
    data."""

    label: str
    y: int
    bars: tuple[Bar, ...]
    now_x: float | None
    lost_s: float


def rows(spans: Sequence[Span], now: datetime, zone: tzinfo, hours: int = 8) -> list[Row]:
    """The last `hours` clock hours, the newest first. Time that no span covers is no data; the
    future stays empty."""
    newest = now.astimezone(zone).replace(minute=0, second=0, microsecond=0).astimezone(UTC)
    return [
        _row(spans, newest - timedelta(hours=place), now, zone, place) for place in range(hours)
    ]


def _row(spans: Sequence[Span], start: datetime, now: datetime, zone: tzinfo, place: int) -> Row:
    """One row. `start` is UTC: where clocks are put back, two hours have one name and local times
    do not add up."""
    end = min(start + timedelta(hours=1), now)
    y = place * ROW
    bars, lost_s, at = [], 0.0, start
    for span in spans:
        begin, stop = max(span.start, at), min(span.end or now, end)
        if stop <= begin:
            continue
        if begin > at:
            bars.append(_bar("no_data", at, begin, start, zone, y, ""))
        bars.append(_bar(span.state, begin, stop, start, zone, y, span.reason))
        if formats.look(span.state).tone in ("slow", "down"):
            lost_s += (stop - begin).total_seconds()
        at = stop
    if at < end:
        bars.append(_bar("no_data", at, end, start, zone, y, ""))
    now_x = WIDTH * (now - start).total_seconds() / HOUR_S if place == 0 else None
    return Row(start.astimezone(zone).strftime("%H"), y, tuple(bars), now_x, lost_s)


def _bar(
    state: str, begin: datetime, end: datetime, hour: datetime, zone: tzinfo, y: int, reason: str
) -> Bar:
    look = formats.look(state)
    tall = BAR * HEIGHTS[look.tone]
    seconds = (end - begin).total_seconds()
    title = (
        f"{formats.past_word(state)} from {begin.astimezone(zone):%H:%M:%S} for "
        f"{formats.duration(seconds)}" + (f": {reason}" if reason else "")
    )
    return Bar(
        x=round(WIDTH * (begin - hour).total_seconds() / HOUR_S, 2),
        y=round(y + BAR - tall + (ROW - BAR) / 2, 2),
        width=max(1.0, round(WIDTH * seconds / HOUR_S, 2)),
        height=round(tall, 2),
        tone=look.tone,
        title=title,
    )


def until(spans: Sequence[Span], heard: datetime) -> list[Span]:
    """The spans as far as the source was heard: what nobody saw was not running."""
    return [
        Span(span.state, span.start, min(span.end or heard, heard), span.unit, span.reason)
        for span in spans
        if span.start < heard
    ]
