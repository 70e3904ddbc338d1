"""Times: formats decided by the column, clocks that are put forward and back."""

from datetime import UTC, datetime, timedelta
from zoneinfo import ZoneInfo

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from importer.local_times import LocalTimes, Resolved
from importer.time_cells import read_times
from importer.time_formats import UndecidedTime, decide_format, named_format

OSLO = ZoneInfo("Europe/Oslo")


def _texts(times: np.ndarray) -> list[str]:  # type: ignore[type-arg]
    return [str(np.datetime64(int(us), "us")) for us in times]


@pytest.mark.parametrize(
    ("cell", "text", "local"),
    [
        ("2024-02-29T12:34:56.1234567Z", "2024-02-29T12:34:56.123456", False),
        ("2024-02-29 12:34:56+02:00", "2024-02-29T10:34:56.000000", False),
        ("2024-02-29 12:34:56,5", "2024-02-29T12:34:56.500000", True),
        ("2024/2/9 7:05", "2024-02-09T07:05:00.000000", True),
        ("31.12.2023 23:59:59", "2023-12-31T23:59:59.000000", True),
        ("31.12.23 23:59", "2023-12-31T23:59:00.000000", True),
        ("2/13/2024 12:00:00 AM", "2024-02-13T00:00:00.000000", True),
        ("2/13/2024 12:30 PM", "2024-02-13T12:30:00.000000", True),
        ("13/02/2024 14:00", "2024-02-13T14:00:00.000000", True),
        ("01-Jan-24 00:00:00.25", "2024-01-01T00:00:00.250000", True),
        ("3. Mär 2024 08:00", "2024-03-03T08:00:00.000000", True),
        ("Dec 31, 2023 01:02:03 PM", "2023-12-31T13:02:03.000000", True),
        ("20240131T120000", "2024-01-31T12:00:00.000000", True),
        ("1700000000", "2023-11-14T22:13:20.000000", False),
        ("1700000000,5", "2023-11-14T22:13:20.500000", False),
        ("1700000000123", "2023-11-14T22:13:20.123000", False),
        ("1700000000123456", "2023-11-14T22:13:20.123456", False),
        ("1700000000123456789", "2023-11-14T22:13:20.123456", False),
        ("44561.5", "2021-12-31T12:00:00.000000", True),
        ("45292,0000115741", "2024-01-01T00:00:01.000000", True),
        ("2024-01-31 24:00:00", "2024-02-01T00:00:00.000000", True),
    ],
)
def test_a_time_is_read_in_the_format_that_its_column_has(
    cell: str, text: str, local: bool
) -> None:
    form = decide_format([cell], lambda: [])
    read = read_times(pa.array([cell]), form)
    assert read.usable.all() and _texts(read.us) == [text]
    assert read.is_local.tolist() == [local]


@pytest.mark.parametrize(
    "cell", ["2023-02-29 10:00", "2024-13-01 10:00", "2024-01-01 25:00", "2024-01-01 10:61", "x"]
)
def test_a_time_that_cannot_be_is_none(cell: str) -> None:
    read = read_times(pa.array([cell]), named_format("iso"))
    assert not read.usable.any()


def test_day_and_month_are_decided_by_the_whole_column_or_asked_for() -> None:
    first = ["01/02/2024 10:00", "02/02/2024 10:00"]
    assert decide_format(first, lambda: ["03/02/2024", "13/02/2024"]).name == "dmy"
    assert decide_format(first, lambda: ["02/13/2024"]).name == "mdy"
    with pytest.raises(UndecidedTime, match="day or month first"):
        decide_format(first, lambda: ["05/05/2024"])
    with pytest.raises(UndecidedTime, match="'13/02/2024' has its day first"):
        decide_format(first, lambda: ["13/02/2024", "02/13/2024"])
    assert decide_format(["01.02.2024 10:00"], lambda: []).name == "dmy"


def test_a_named_pattern_is_read() -> None:
    form = named_format("%Y%m%d-%H.%M.%S")
    assert _texts(read_times(pa.array(["20240131-01.02.03"]), form).us) == [
        "2024-01-31T01:02:03.000000"
    ]
    for wrong in ("%Q", "yyyy-mm-dd", "%H:%M"):
        with pytest.raises(UndecidedTime):
            named_format(wrong)


def _resolve(walls: list[str], *, newest_first: bool = False, parts: int = 1) -> Resolved:
    wall = np.array([np.datetime64(each, "us").astype(np.int64) for each in walls])
    clocks = LocalTimes(OSLO, newest_first=newest_first)
    found = [
        clocks.resolve(part, np.ones(len(part), np.bool_), np.zeros(len(part), np.int64))
        for part in np.array_split(wall, parts)
    ]
    return Resolved(*(np.concatenate([getattr(f, n) for f in found]) for n in Resolved.__slots__))


@pytest.mark.parametrize("parts", [1, 3])
@pytest.mark.parametrize("step_s", [600, 1800, 3600])
@pytest.mark.parametrize("newest_first", [False, True])
def test_the_hour_that_comes_twice_is_told_by_the_order_of_the_lines(
    newest_first: bool, step_s: int, parts: int
) -> None:
    start = datetime(2024, 10, 26, 20, 0, tzinfo=UTC)
    true = [start + timedelta(seconds=n * step_s) for n in range(9 * 3600 // step_s)]
    true = true[::-1] if newest_first else true
    walls = [each.astimezone(OSLO).replace(tzinfo=None).isoformat() for each in true]
    found = _resolve(walls, newest_first=newest_first, parts=parts)
    assert found.utc.tolist() == [int(each.timestamp()) * 1_000_000 for each in true]
    assert not found.open.any() and not found.missing.any()


def test_a_repeated_hour_that_no_order_explains_is_flagged() -> None:
    found = _resolve(["2024-10-27T02:30", "2024-10-27T03:30"])
    assert found.open.tolist() == [True, False]
    found = _resolve(["2024-10-26T20:00", "2024-10-26T20:01", "2024-10-27T02:30"])
    assert found.open.tolist() == [False, False, True]


def test_the_hour_that_is_left_out_is_no_time() -> None:
    found = _resolve(["2024-03-31T01:59:59", "2024-03-31T02:00", "2024-03-31T03:00"])
    assert found.missing.tolist() == [False, True, False]
    assert _texts(found.utc[[0, 2]]) == ["2024-03-31T00:59:59.000000", "2024-03-31T01:00:00.000000"]


@settings(max_examples=40)
@given(
    st.lists(st.datetimes(datetime(1999, 1, 1), datetime(2027, 1, 1)), min_size=1, max_size=20),
    st.sampled_from(["Europe/Oslo", "America/New_York", "Australia/Lord_Howe", "Asia/Kolkata"]),
)
def test_every_other_time_is_what_the_zone_says(times: list[datetime], name: str) -> None:
    zone = ZoneInfo(name)
    wall = np.array([np.datetime64(each, "us").astype(np.int64) for each in times])
    n = len(wall)
    found = LocalTimes(zone).resolve(wall, np.ones(n, np.bool_), np.zeros(n, np.int64))
    for when, us, missing in zip(times, found.utc.tolist(), found.missing.tolist(), strict=True):
        folds = [when.replace(tzinfo=zone, fold=fold).astimezone(UTC) for fold in (0, 1)]
        exact = [
            (each - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(microseconds=1) for each in folds
        ]
        gone = folds[0].astimezone(zone).replace(tzinfo=None) != when
        assert missing == gone
        assert gone or us in exact
