"""How the history API cuts a time range into buckets."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from history.buckets import HOUR_US, MINUTE_US, ReadFrom, cut

CENTURY_US = 3_155_760_000_000_000


@given(
    st.integers(-60 * CENTURY_US // 10, 20 * CENTURY_US),
    st.integers(1, 80 * CENTURY_US),
    st.integers(2, 10_000),
)
def test_buckets_are_few_enough_and_leave_nothing_out(start: int, span: int, points: int) -> None:
    end = start + span
    wanted = cut(start, end, points)
    assert wanted.first_us <= start and wanted.end_us >= end
    assert (end - 1) // wanted.width_us - start // wanted.width_us + 1 <= points
    match wanted.read_from:
        case ReadFrom.RAW:
            assert wanted.width_us < MINUTE_US
            assert (wanted.first_us, wanted.end_us) == (start, end)
        case ReadFrom.MINUTES:
            assert wanted.width_us % MINUTE_US == 0 and MINUTE_US <= wanted.width_us < HOUR_US
            assert start - wanted.first_us < MINUTE_US and wanted.end_us - end < MINUTE_US
        case ReadFrom.HOURS:
            assert wanted.width_us % HOUR_US == 0
            assert start - wanted.first_us < HOUR_US and wanted.end_us - end < HOUR_US
    # Half as wide would be too many, unless rounding to whole minutes or hours made it so wide.
    assert wanted.width_us <= max(
        4 * span // points + 1, HOUR_US if wanted.read_from is ReadFrom.HOURS else MINUTE_US
    )


@pytest.mark.parametrize(("start", "end", "points"), [(5, 5, 10), (6, 5, 10), (0, 5, 1)])
def test_an_empty_range_or_too_few_points_are_refused(start: int, end: int, points: int) -> None:
    with pytest.raises(ValueError):
        cut(start, end, points)
