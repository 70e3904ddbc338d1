"""Shifts in a site's zone: changed clocks, nights, breaks, holidays, and sums that add up."""

import itertools
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurelian.model.calendar import (
    CalendarError,
    check_calendar,
    iso_week,
    planned_seconds,
    planned_week_seconds,
    shift_at,
    shifts_between,
    start_of_week,
    week_span,
)
from aurelian.model.plant_parts import Break, CalendarModel, Shift

OSLO = ZoneInfo("Europe/Oslo")
EVERY_DAY = ("mon", "tue", "wed", "thu", "fri", "sat", "sun")
THREE = CalendarModel(
    shifts=(
        Shift(
            name="early",
            start=time(6),
            end=time(14),
            days=EVERY_DAY,
            breaks=(Break(start=time(10), minutes=30),),
        ),
        Shift(name="late", start=time(14), end=time(22), days=EVERY_DAY),
        Shift(
            name="night",
            start=time(22),
            end=time(6),
            days=EVERY_DAY,
            breaks=(Break(start=time(2, 15), minutes=30),),
        ),
    )
)


def utc(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=UTC)  # type: ignore[misc, arg-type]


def local(*parts: int) -> datetime:
    return datetime(*parts, tzinfo=OSLO).astimezone(UTC)  # type: ignore[misc, arg-type]


@pytest.mark.parametrize(
    ("day", "hours"), [(date(2026, 3, 29), 23), (date(2026, 10, 25), 25), (date(2026, 6, 1), 24)]
)
def test_a_day_of_shifts_around_the_clock_has_as_many_hours_as_the_day(
    day: date, hours: int
) -> None:
    start = datetime.combine(day, time(), OSLO).astimezone(UTC)
    end = datetime.combine(day + timedelta(days=1), time(), OSLO).astimezone(UTC)
    breaks = 1.0
    assert planned_seconds(THREE, OSLO, start, end) == (hours - breaks) * 3600


@pytest.mark.parametrize(("day", "hours"), [(date(2026, 3, 28), 7), (date(2026, 10, 24), 9)])
def test_a_night_shift_over_the_change_of_clocks_has_seven_or_nine_hours(
    day: date, hours: int
) -> None:
    shift = shift_at(THREE, OSLO, datetime.combine(day, time(23), OSLO).astimezone(UTC))
    assert shift is not None and shift.name == "night"
    assert (shift.end - shift.start) == timedelta(hours=hours)


def test_a_night_shift_belongs_to_the_day_on_which_it_starts() -> None:
    calendar = CalendarModel(
        shifts=(Shift(name="night", start=time(22), end=time(6), days=("fri",)),)
    )
    assert shift_at(calendar, OSLO, local(2026, 1, 10, 5)) is not None
    assert shift_at(calendar, OSLO, local(2026, 1, 9, 5)) is None


def test_on_a_holiday_no_shift_starts_but_the_night_before_ends() -> None:
    calendar = THREE.model_copy(update={"holidays": (date(2026, 5, 1),)})
    assert shift_at(calendar, OSLO, local(2026, 5, 1, 5)) is not None
    assert shift_at(calendar, OSLO, local(2026, 5, 1, 7)) is None
    assert shift_at(calendar, OSLO, local(2026, 5, 1, 23)) is None
    assert shift_at(calendar, OSLO, local(2026, 5, 2, 7)) is not None


def test_a_shift_ends_before_its_last_moment_and_a_break_counts_as_inside() -> None:
    early = shift_at(THREE, OSLO, local(2026, 1, 5, 10, 10))
    assert early is not None and early.name == "early" and early.in_break(local(2026, 1, 5, 10, 10))
    late = shift_at(THREE, OSLO, local(2026, 1, 5, 14))
    assert late is not None and late.name == "late"


@pytest.mark.parametrize(
    "shifts",
    [
        (
            Shift(name="a", start=time(6), end=time(14)),
            Shift(name="b", start=time(13, 59), end=time(20)),
        ),
        (
            Shift(name="a", start=time(22), end=time(6), days=("sun",)),
            Shift(name="b", start=time(5), end=time(9), days=("mon",)),
        ),
        (
            Shift(name="a", start=time(6), end=time(5, 59)),
            Shift(name="b", start=time(12), end=time(13)),
        ),
        (
            Shift(
                name="a",
                start=time(6),
                end=time(14),
                breaks=(Break(start=time(13, 50), minutes=20),),
            ),
        ),
        (
            Shift(
                name="a",
                start=time(6),
                end=time(14),
                breaks=(Break(start=time(9), minutes=30), Break(start=time(9, 15), minutes=5)),
            ),
        ),
        (Shift(name="a", start=time(6), end=time(14), breaks=(Break(start=time(5), minutes=5),)),),
    ],
)
def test_overlapping_shifts_and_stray_breaks_are_refused(shifts: tuple[Shift, ...]) -> None:
    with pytest.raises(CalendarError):
        check_calendar(CalendarModel(shifts=shifts))
    with pytest.raises(CalendarError):
        shift_at(CalendarModel(shifts=shifts), OSLO, utc(2026, 1, 5))


def test_a_shift_of_24_hours_is_allowed_once_a_day() -> None:
    calendar = CalendarModel(
        shifts=(Shift(name="all", start=time(6), end=time(6), days=EVERY_DAY),)
    )
    assert planned_week_seconds(calendar, OSLO, date(2026, 1, 5)) == 7 * 86400


def test_shifts_that_touch_do_not_overlap() -> None:
    check_calendar(THREE)


def test_weeks_of_changed_clocks_have_167_and_169_hours() -> None:
    for monday, hours in (
        (date(2026, 3, 23), 167),
        (date(2026, 10, 19), 169),
        (date(2026, 1, 5), 168),
    ):
        week = week_span(monday, OSLO)
        assert week.end - week.start == timedelta(hours=hours)
        assert planned_week_seconds(THREE, OSLO, monday) == hours * 3600 - 7 * 3600


def test_weeks_have_iso_names_and_start_on_monday_of_the_site() -> None:
    assert iso_week(date(2026, 11, 23)) == "2026-W48"
    assert iso_week(date(2027, 1, 1)) == "2026-W53"
    assert start_of_week(utc(2026, 11, 22, 23, 30), OSLO) == date(2026, 11, 23)
    assert week_span(date(2026, 11, 23), OSLO).start == utc(2026, 11, 22, 23)


def test_a_break_in_the_hour_that_is_skipped_stays_inside_its_shift() -> None:
    night = shift_at(THREE, OSLO, local(2026, 3, 28, 23))
    assert night is not None
    assert night.breaks[0].start == utc(2026, 3, 29, 1)
    assert night.planned_seconds(night.start, night.end) == 6.5 * 3600


instants = st.datetimes(datetime(2025, 1, 1), datetime(2027, 12, 31), timezones=st.just(UTC))
near_changes = st.sampled_from([utc(2026, 3, 29, 1), utc(2026, 10, 25, 1)]).flatmap(
    lambda change: st.integers(-90_000, 90_000).map(lambda s: change + timedelta(seconds=s))
)
times = st.one_of(instants, near_changes)


@st.composite
def calendars(draw: st.DrawFn) -> CalendarModel:
    marks = sorted(draw(st.sets(st.integers(0, 24 * 12 - 1), min_size=1, max_size=6)))
    walls = [time(m * 5 // 60, m * 5 % 60) for m in marks]
    shifts = [
        Shift(
            name=f"s{i}",
            start=start,
            end=end,
            days=tuple(draw(st.sets(st.sampled_from(EVERY_DAY)))),
        )
        for i, (start, end) in enumerate(zip(walls, [*walls[1:], walls[0]], strict=True))
    ]
    holidays = draw(
        st.sets(st.sampled_from([date(2026, 3, 29), date(2026, 10, 25), date(2026, 5, 1)]))
    )
    return CalendarModel(shifts=tuple(shifts), holidays=tuple(holidays))


@given(calendars(), times, times, times)
def test_the_parts_of_a_time_add_up_to_the_whole(
    calendar: CalendarModel, one: datetime, two: datetime, three: datetime
) -> None:
    a, b, c = sorted((one, two, three))
    c = min(c, a + timedelta(days=30))
    b = min(b, c)
    parts = planned_seconds(calendar, OSLO, a, b) + planned_seconds(calendar, OSLO, b, c)
    assert parts == pytest.approx(planned_seconds(calendar, OSLO, a, c), abs=1e-3)


@given(calendars(), times)
def test_shifts_never_overlap_and_breaks_stay_inside(
    calendar: CalendarModel, start: datetime
) -> None:
    spans = shifts_between(calendar, OSLO, start, start + timedelta(days=9))
    for before, after in itertools.pairwise(spans):
        assert before.end <= after.start
    for span in spans:
        assert span.start < span.end


@given(times)
def test_shifts_around_the_clock_cover_every_instant(instant: datetime) -> None:
    found = shift_at(THREE, OSLO, instant)
    assert found is not None and found.start <= instant < found.end
