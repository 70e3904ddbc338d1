"""Local times without a zone in the nights of the clock change (issue 7: 17)."""

from datetime import datetime
from zoneinfo import ZoneInfo

import pytest

from aurelian.model.time import to_datetime, to_iso, to_us
from mqtt_gateway.local_time import LocalClock

HOUR = 3_600_000_000


def read(
    *local: str, zone: str = "Europe/Oslo", day: str = "2026-10-25", at: int | None = None
) -> list[str]:
    """Times as `HH:MM:SS` in UTC, with `?` where they stay open."""
    clock = LocalClock(ZoneInfo(zone))
    found = [clock.resolve(datetime.fromisoformat(f"{day}T{each}"), "s", at) for each in local]
    return [
        to_iso(to_datetime(each.us))[11:19].removesuffix(":00") + "?" * each.ambiguous
        for each in found
    ]


@pytest.mark.parametrize(
    ("local", "utc"),
    [
        # The sequence of the issue.
        (
            ["01:45", *["02:00", "02:15", "02:30", "02:45"] * 2, "03:00"],
            [
                "23:45",
                "00:00",
                "00:15",
                "00:30",
                "00:45",
                "01:00",
                "01:15",
                "01:30",
                "01:45",
                "02:00",
            ],
        ),
        (
            ["01:55", "02:59:59", "02:00", "02:00:01", "03:00"],
            ["23:55", "00:59:59?", "01:00", "01:00:01", "02:00"],
        ),
        # The first that is ever heard: nobody knows.
        (["02:30"], ["00:30?"]),
        (["02:30", "02:10", "02:20"], ["00:30?", "01:10", "01:20"]),
        # A silence in which the first pass may have gone by.
        (["00:30", "02:30"], ["22:30", "00:30?"]),
        # Out of order by seconds is not the second pass.
        (["02:20", "02:19:58", "02:20:02"], ["00:20?", "00:19:58?", "00:20:02"]),
        # The same time again: another value of it.
        (["01:59", "02:10", "02:10"], ["23:59", "00:10", "00:10"]),
        # One that comes after the whole hour.
        (["01:45", "03:00", "02:30"], ["23:45", "02:00", "01:30?"]),
        # Outside the hour nothing is open.
        (["12:00", "11:00", "13:00"], ["11:00", "10:00", "12:00"]),
    ],
)
def test_order_of_arrival_decides_and_what_stays_open_is_marked(
    local: list[str], utc: list[str]
) -> None:
    assert read(*local) == utc


def test_a_pass_that_lies_in_the_future_is_not_meant() -> None:
    at = to_us(datetime.fromisoformat("2026-10-25T00:30:01+00:00"))
    assert read("02:30", at=at) == ["00:30"]
    assert read("02:30", at=at + HOUR) == ["00:30?"]


def test_a_time_that_the_night_in_march_leaves_out_is_marked() -> None:
    assert read("01:45", "02:30", "03:30", day="2026-03-29") == ["00:45", "01:30?", "01:30"]
    # A clock that is set late: it comes to 03:00 a second time.
    assert read("02:45", "03:00", "03:45", day="2026-03-29") == ["01:45?", "01:00?", "01:45"]


@pytest.mark.parametrize(
    ("zone", "day", "local", "utc"),
    [
        (
            "America/New_York",
            "2026-11-01",
            ["00:45", "01:00", "01:30", "01:00"],
            ["04:45", "05:00", "05:30", "06:00"],
        ),
        # Half an hour: Lord Howe Island.
        (
            "Australia/Lord_Howe",
            "2026-04-05",
            ["01:20", "01:30", "01:50", "01:30", "02:00"],
            ["14:20", "14:30", "14:50", "15:00", "15:30"],
        ),
        ("Asia/Kolkata", "2026-10-25", ["02:30", "02:10"], ["21:00", "20:40"]),
        ("UTC", "2026-10-25", ["02:30", "02:10"], ["02:30", "02:10"]),
    ],
)
def test_other_zones_have_other_hours(
    zone: str, day: str, local: list[str], utc: list[str]
) -> None:
    assert read(*local, zone=zone, day=day) == utc


def test_a_zone_in_the_time_is_never_open_and_streams_do_not_mix() -> None:
    clock = LocalClock(ZoneInfo("Europe/Oslo"))
    aware = clock.resolve(datetime.fromisoformat("2026-10-25T02:30:00+02:00"), "a")
    assert not aware.ambiguous
    clock.resolve(datetime.fromisoformat("2026-10-25T01:59:00"), "a")
    clock.resolve(datetime.fromisoformat("2026-10-25T02:50:00"), "b")
    first = clock.resolve(datetime.fromisoformat("2026-10-25T02:05:00"), "a")
    assert (first.us, first.ambiguous) == (
        to_us(datetime.fromisoformat("2026-10-25T00:05:00+00:00")),
        False,
    )
