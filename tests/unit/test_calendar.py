"""Shifts in the site's time zone: the 23 h and 25 h days, nights, breaks, holidays; parts add up to the whole."""

from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurelian.assets import Break, CalendarModel, Shift
from aurelian.calendar import (
    check_calendar,
    is_planned,
    planned_seconds,
    shift_at,
    shifts_between,
    start_of_week,
)

OSLO = ZoneInfo("Europe/Oslo")
WEEK = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
ROUND = CalendarModel(
    shifts=(
        Shift(name="early", start=time(6), end=time(14), days=WEEK),
        Shift(name="late", start=time(14), end=time(22), days=WEEK),
        Shift(name="night", start=time(22), end=time(6), days=WEEK),
    )
)
DAY = CalendarModel(
    shifts=(Shift(name="day", start=time(7), end=time(15), breaks=(Break(start=time(11), minutes=30),)),),
    holidays=(date(2026, 12, 25),),
)


def _local(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=OSLO)  # type: ignore[misc, arg-type]


@pytest.mark.parametrize(
    ("day", "hours"), [((2026, 3, 29), 23), ((2026, 10, 25), 25), ((2026, 6, 1), 24)], ids=["spring", "autumn", "summer"]
)
def test_round_the_clock_is_as_long_as_the_day_is(day: tuple[int, int, int], hours: int) -> None:
    start = _local(*day)
    end = datetime.combine(start.date() + timedelta(days=1), time(), OSLO)
    assert planned_seconds(ROUND, OSLO, start, end) == hours * 3600


def test_the_night_shift_over_the_change_to_summer_time_is_seven_hours() -> None:
    shift = shift_at(ROUND, OSLO, _local(2026, 3, 29, 1))
    assert shift is not None
    assert (shift.name, shift.day, shift.time.seconds) == ("night", date(2026, 3, 28), 7 * 3600)


def test_a_day_shift_has_its_break_its_weekend_and_its_holiday() -> None:
    assert planned_seconds(DAY, OSLO, _local(2026, 11, 23), _local(2026, 11, 24)) == 7.5 * 3600
    assert planned_seconds(DAY, OSLO, _local(2026, 11, 28), _local(2026, 11, 30)) == 0
    assert planned_seconds(DAY, OSLO, _local(2026, 12, 25), _local(2026, 12, 26)) == 0
    assert not is_planned(DAY, OSLO, _local(2026, 11, 23, 11, 10))
    assert is_planned(DAY, OSLO, _local(2026, 11, 23, 12))
    assert shift_at(DAY, OSLO, _local(2026, 11, 23, 11, 10)) is not None
    assert shift_at(DAY, OSLO, _local(2026, 11, 23, 15)) is None


@given(
    st.lists(st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC)), min_size=3, max_size=6)
)
def test_the_parts_of_a_time_span_add_up_to_the_whole(instants: list[datetime]) -> None:
    instants.sort()
    for calendar in (ROUND, DAY):
        parts = [planned_seconds(calendar, OSLO, a, b) for a, b in zip(instants, instants[1:], strict=False)]
        whole = planned_seconds(calendar, OSLO, instants[0], instants[-1])
        assert sum(parts) == pytest.approx(whole, abs=1e-3)
        assert 0 <= whole <= (instants[-1] - instants[0]).total_seconds() + 1e-6


@given(st.datetimes(datetime(2026, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC)))
def test_round_the_clock_there_is_one_shift_at_every_instant(instant: datetime) -> None:
    shift = shift_at(ROUND, OSLO, instant)
    assert shift is not None
    assert shift.time.start <= instant < shift.time.end
    found = shifts_between(ROUND, OSLO, instant, instant + timedelta(microseconds=1))
    assert found == [shift]


def test_a_week_begins_on_monday_at_the_site_not_in_utc() -> None:
    # Sunday 23:30 UTC is Monday 00:30 in Oslo.
    assert start_of_week(datetime(2026, 11, 29, 23, 30, tzinfo=UTC), OSLO) == date(2026, 11, 30)


def test_overlapping_shifts_and_a_break_outside_its_shift_are_refused_by_name() -> None:
    overlapping = CalendarModel(
        shifts=(Shift(name="a", start=time(6), end=time(15)), Shift(name="b", start=time(14), end=time(22)))
    )
    with pytest.raises(ValueError, match="'a' and 'b' overlap on Monday"):
        check_calendar(overlapping, OSLO)
    stray = CalendarModel(
        shifts=(Shift(name="a", start=time(6), end=time(14), breaks=(Break(start=time(13, 50), minutes=30),)),)
    )
    with pytest.raises(ValueError, match="break of shift 'a'"):
        check_calendar(stray, OSLO)
    check_calendar(ROUND, OSLO)
