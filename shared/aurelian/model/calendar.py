"""Shifts, breaks and holidays in a site's time zone; ISO weeks. Called by line_health, capacity and
the dashboard. Pure.

A shift belongs to the local day on which it starts; on a holiday no shift starts. Local times that
the clock skips in spring count as the moment of the change, those that it shows twice in autumn as
the first of the two. So a night shift from 22:00 to 06:00 has 7 or 9 hours then, shifts never
overlap, and the parts of a time add up to the whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta, tzinfo
from functools import lru_cache
from zoneinfo import ZoneInfo

from aurelian.model.plant_parts import Break, CalendarModel, Shift

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
_DAY = timedelta(days=1)
_WEEK_MINUTES = 7 * 24 * 60


class CalendarError(ValueError):
    """A calendar that contradicts itself; the text names the shifts or breaks."""


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of time, UTC; `end` does not belong to it."""

    start: datetime
    end: datetime

    def seconds_within(self, start: datetime, end: datetime) -> float:
        """Seconds that it shares with [start, end)."""
        return max((min(self.end, end) - max(self.start, start)).total_seconds(), 0.0)


@dataclass(frozen=True, slots=True)
class ShiftSpan(Span):
    """A shift on one day. `breaks` lie inside it, ascending."""

    name: str
    breaks: tuple[Span, ...]

    def planned_seconds(self, start: datetime, end: datetime) -> float:
        """Seconds of the shift without its breaks within [start, end)."""
        pauses = sum(pause.seconds_within(start, end) for pause in self.breaks)
        return self.seconds_within(start, end) - pauses

    def in_break(self, instant: datetime) -> bool:
        """Tell whether `instant` is in one of its breaks."""
        return any(pause.start <= instant < pause.end for pause in self.breaks)


def check_calendar(calendar: CalendarModel) -> None:
    """Refuse a calendar whose shifts overlap or whose breaks are not inside their shift, one after
    the other.

    Raises:
        CalendarError: naming the two shifts, or the shift and its break.
    """
    spans = sorted(
        (
            _DAYS.index(day) * 1440 + _minute(shift.start),
            _minutes_long(shift),
            f"{shift.name!r} on {day}",
        )
        for shift in calendar.shifts
        for day in shift.days
    )
    for (start, length, name), (next_start, _, next_name) in zip(
        spans, [*spans[1:], *((s + _WEEK_MINUTES, n, w) for s, n, w in spans[:1])], strict=True
    ):
        if start + length > next_start:
            raise CalendarError(f"shift {name} is not over when shift {next_name} starts")
    for shift in calendar.shifts:
        free_from = 0
        for pause in sorted(shift.breaks, key=lambda pause: _offset(shift, pause)):
            begin = _offset(shift, pause)
            if begin < free_from or begin + pause.minutes > _minutes_long(shift):
                raise CalendarError(
                    f"shift {shift.name!r}: the break at {pause.start:%H:%M} overlaps another or "
                    "leaves the shift"
                )
            free_from = begin + pause.minutes


def shifts_between(
    calendar: CalendarModel, zone: ZoneInfo, start: datetime, end: datetime
) -> list[ShiftSpan]:
    """All shifts that share time with [start, end), ascending, each in full.

    Raises:
        CalendarError: the calendar contradicts itself.
    """
    _check_once(calendar)
    first = start.astimezone(zone).date() - _DAY
    days = (end.astimezone(zone).date() - first).days + 1
    found = [
        span
        for offset in range(days)
        for shift in calendar.shifts
        if (span := _on_day(calendar, shift, zone, first + offset * _DAY)) is not None
    ]
    return sorted(
        (span for span in found if span.start < end and span.end > start), key=lambda s: s.start
    )


def shift_at(calendar: CalendarModel, zone: ZoneInfo, instant: datetime) -> ShiftSpan | None:
    """The shift that runs at `instant`, in a break or not; None outside all shifts.

    Raises:
        CalendarError: the calendar contradicts itself.
    """
    found = shifts_between(calendar, zone, instant, instant + timedelta(microseconds=1))
    return found[0] if found else None


def planned_seconds(
    calendar: CalendarModel, zone: ZoneInfo, start: datetime, end: datetime
) -> float:
    """Planned time (ISO 22400 PBT before planned downtime): shifts without breaks within [start,
    end).

    Additive: planned(a, b) + planned(b, c) = planned(a, c).

    Raises:
        CalendarError: the calendar contradicts itself.
    """
    return sum(
        span.planned_seconds(start, end) for span in shifts_between(calendar, zone, start, end)
    )


def planned_week_seconds(calendar: CalendarModel, zone: ZoneInfo, monday: date) -> float:
    """Planned time of the local week that begins on `monday`; the weeks of changed clocks have 167
    and 169 hours."""
    week = week_span(monday, zone)
    return planned_seconds(calendar, zone, week.start, week.end)


def start_of_week(instant: datetime, zone: tzinfo) -> date:
    """Monday of the local ISO week of `instant`."""
    day = instant.astimezone(zone).date()
    return day - timedelta(days=day.weekday())


def week_span(monday: date, zone: ZoneInfo) -> Span:
    """The local week that begins on `monday`, UTC."""
    return Span(_to_utc(monday, time(), zone), _to_utc(monday + 7 * _DAY, time(), zone))


def iso_week(day: date) -> str:
    """ISO 8601 name of a day's week: 2026-W48."""
    year, week, _ = day.isocalendar()
    return f"{year}-W{week:02d}"


_check_once = lru_cache(maxsize=256)(check_calendar)


def _on_day(calendar: CalendarModel, shift: Shift, zone: ZoneInfo, day: date) -> ShiftSpan | None:
    if _DAYS[day.weekday()] not in shift.days or day in calendar.holidays:
        return None
    start = _to_utc(day, shift.start, zone)
    end = _to_utc(day if shift.end > shift.start else day + _DAY, shift.end, zone)
    if end <= start:
        return None  # all of it is in the hour that the clock skips
    breaks: list[Span] = []
    for pause in sorted(shift.breaks, key=lambda pause: _offset(shift, pause)):
        begin = max(
            _to_utc(day if pause.start >= shift.start else day + _DAY, pause.start, zone), start
        )
        begin = max(begin, breaks[-1].end if breaks else start)
        breaks.append(Span(begin, max(min(begin + timedelta(minutes=pause.minutes), end), begin)))
    return ShiftSpan(start, end, shift.name, tuple(breaks))


def _to_utc(day: date, wall: time, zone: ZoneInfo) -> datetime:
    local = datetime.combine(day, wall, zone)
    instant = local.astimezone(UTC)
    if instant.astimezone(zone).replace(tzinfo=None) == local.replace(tzinfo=None):
        return instant
    # The clock skips this local time: count it as the moment of the change.
    before, after = local.replace(fold=1).astimezone(UTC), instant
    old = before.astimezone(zone).utcoffset()
    while after - before > timedelta(seconds=1):
        middle = before + (after - before) / 2
        if middle.astimezone(zone).utcoffset() == old:
            before = middle
        else:
            after = middle
    return after.replace(microsecond=0)


def _minute(wall: time) -> int:
    return wall.hour * 60 + wall.minute


def _minutes_long(shift: Shift) -> int:
    return (_minute(shift.end) - _minute(shift.start) - 1) % 1440 + 1


def _offset(shift: Shift, pause: Break) -> int:
    return (_minute(pause.start) - _minute(shift.start)) % 1440
