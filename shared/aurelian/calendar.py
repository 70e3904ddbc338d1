"""Shifts, breaks, holidays and weeks in a site's own time zone. Pure; used by line_health and capacity.

A shift belongs to the local date on which it starts. Lengths are of real time: a night shift over the change to summer
time is an hour shorter, over the change to winter time an hour longer. Instants are aware datetimes; answers are in UTC.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

from aurelian.assets import Break, CalendarModel, Shift

_DAYS = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")


@dataclass(frozen=True, slots=True)
class Interval:
    """From `start` (included) to `end` (excluded), in UTC."""

    start: datetime
    end: datetime

    @property
    def seconds(self) -> float:
        """Its length."""
        return max(0.0, (self.end - self.start).total_seconds())

    def overlap(self, start: datetime, end: datetime) -> Interval:
        """The part between two instants; of length 0 where there is none."""
        first = max(self.start, start)
        return Interval(first, max(first, min(self.end, end)))


@dataclass(frozen=True, slots=True)
class PlannedShift:
    """One shift on one day.

    Attributes:
        name: of the shift in the calendar.
        day: local date on which it starts.
        time: from its start to its end.
        breaks: inside `time`, in order.
    """

    name: str
    day: date
    time: Interval
    breaks: tuple[Interval, ...]

    def planned_seconds(self, start: datetime, end: datetime) -> float:
        """Its time without breaks between two instants, in seconds."""
        return self.time.overlap(start, end).seconds - sum(b.overlap(start, end).seconds for b in self.breaks)


def shifts_between(
    calendar: CalendarModel, zone: ZoneInfo, start: datetime, end: datetime
) -> list[PlannedShift]:
    """The shifts that overlap [start, end), in order of their start."""
    day = start.astimezone(zone).date() - timedelta(days=1)
    last = end.astimezone(zone).date()
    found = []
    while day <= last:
        if day not in calendar.holidays:
            found += [_plan(s, day, zone) for s in calendar.shifts if _DAYS[day.weekday()] in s.days]
        day += timedelta(days=1)
    return sorted((s for s in found if s.time.overlap(start, end).seconds > 0), key=lambda s: s.time.start)


def shift_at(calendar: CalendarModel, zone: ZoneInfo, instant: datetime) -> PlannedShift | None:
    """The shift that runs at an instant (its breaks included), or None."""
    return next(iter(shifts_between(calendar, zone, instant, instant + timedelta(microseconds=1))), None)


def is_planned(calendar: CalendarModel, zone: ZoneInfo, instant: datetime) -> bool:
    """True inside a shift and outside its breaks."""
    return planned_seconds(calendar, zone, instant, instant + timedelta(microseconds=1)) > 0


def planned_seconds(calendar: CalendarModel, zone: ZoneInfo, start: datetime, end: datetime) -> float:
    """Planned time in [start, end): the shifts' time without their breaks, in seconds."""
    return sum(s.planned_seconds(start, end) for s in shifts_between(calendar, zone, start, end))


def start_of_week(instant: datetime, zone: ZoneInfo) -> date:
    """The Monday of the ISO week that an instant falls into at the site."""
    day = instant.astimezone(zone).date()
    return day - timedelta(days=day.weekday())


def check_calendar(calendar: CalendarModel, zone: ZoneInfo) -> None:
    """Refuse what cannot be planned.

    Raises:
        ValueError: two shifts overlap on some day of the week, or a break leaves its shift; the text names them.
    """
    monday = date(2024, 1, 1)  # a week without a change of clocks anywhere in Europe
    bare = calendar.model_copy(update={"holidays": ()})
    start = datetime.combine(monday, time(), zone)
    planned = shifts_between(bare, zone, start, start + timedelta(days=8))
    for one, other in zip(planned, planned[1:], strict=False):
        if one.time.end > other.time.start:
            raise ValueError(f"shifts {one.name!r} and {other.name!r} overlap on {other.day:%A}")
    for shift in planned:
        for pause in shift.breaks:
            if pause.start < shift.time.start or pause.end > shift.time.end:
                raise ValueError(f"a break of shift {shift.name!r} is not inside it")


def _plan(shift: Shift, day: date, zone: ZoneInfo) -> PlannedShift:
    start = _instant(day, shift.start, zone)
    end = _instant(day if shift.end > shift.start else day + timedelta(days=1), shift.end, zone)
    breaks = sorted((_plan_break(b, shift, day, zone) for b in shift.breaks), key=lambda b: b.start)
    return PlannedShift(shift.name, day, Interval(start, max(start, end)), tuple(breaks))


def _plan_break(pause: Break, shift: Shift, day: date, zone: ZoneInfo) -> Interval:
    start = _instant(day if pause.start >= shift.start else day + timedelta(days=1), pause.start, zone)
    return Interval(start, start + timedelta(minutes=pause.minutes))


def _instant(day: date, clock: time, zone: ZoneInfo) -> datetime:
    """Local wall clock to UTC; a time that the clocks skip counts as the instant they jump to an hour later."""
    return datetime.combine(day, clock, zone).astimezone(UTC)
