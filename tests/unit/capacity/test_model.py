"""Weekly capacity: the sum always holds, the measured ratios act in the right direction, publishing
has hysteresis."""

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from capacity.model import (
    PRIOR_S,
    Measured,
    Published,
    estimate_week,
    is_worth_publishing,
)

seconds = st.floats(0, 1e7)
pieces = st.floats(0, 1e6)
measured = st.builds(
    Measured, seconds, seconds, seconds, seconds, pieces, pieces, st.floats(0, 2e9)
).filter(lambda m: m.good <= m.produced)


@given(st.floats(0, 604_800), st.floats(0.1, 3600), measured, st.floats(0, 1e6), st.floats(0, 1e7))
def test_total_is_available_plus_committed_plus_unattainable(
    planned_s: float, cycle_s: float, seen: Measured, down_s: float, promised: float
) -> None:
    week = estimate_week(planned_s, cycle_s, seen, down_s, promised)
    assert week.available + week.committed + week.unattainable == pytest.approx(
        week.total, rel=1e-9, abs=1e-9
    )
    assert min(week.total, week.available, week.committed) >= 0
    assert week.unattainable >= -1e-9 * week.total


def test_a_week_worked_by_hand() -> None:
    # 100 h planned, 10 s a piece, nothing measured: only the priors 0.95 * 0.95 * 0.99 act.
    week = estimate_week(360_000, 10, Measured(), predicted_down_s=3600, commitments=1000)
    assert week.total == 36_000
    attainable = 35_640 * 0.95 * 0.95 * 0.99
    assert week.available == pytest.approx(attainable - 1000)
    assert week.committed == 1000
    assert dict(week.reasons)["maintenance"] == 360


@given(measured, st.floats(1, 1e5))
def test_more_downtime_never_gives_more_capacity(seen: Measured, more_s: float) -> None:
    worse = Measured(
        seen.running_s,
        seen.down_s + more_s,
        seen.ideal_s,
        seen.produced_s,
        seen.good,
        seen.produced,
        seen.at,
    )
    assert (
        estimate_week(1e5, 5, worse, 0, 0).available
        <= estimate_week(1e5, 5, seen, 0, 0).available + 1e-9
    )


def test_commitments_beyond_what_is_attainable_are_named_and_do_not_break_the_sum() -> None:
    week = estimate_week(36_000, 10, Measured(), 0, commitments=10_000)
    assert week.available == 0
    assert dict(week.reasons)["overcommitted"] > 6000
    assert week.total == pytest.approx(week.committed + week.unattainable)


def test_measured_time_outweighs_the_prior_and_is_forgotten() -> None:
    seen = Measured(running_s=9 * PRIOR_S, down_s=0, at=1000.0)
    assert seen.technical == pytest.approx((0.95 + 9) / 10)
    later = seen.forget(1000.0 + 28 * 86400)
    assert later.running_s == pytest.approx(4.5 * PRIOR_S)
    assert replace(seen.forget(500.0), since=0.0) == seen


@pytest.mark.parametrize(
    ("previous", "available", "expected"),
    [
        (None, 100.0, True),
        (Published(100.0), 101.9, False),
        (Published(100.0), 102.0, True),
        (Published(100.0), 98.0, True),
        (Published(100.0, direction=1), 97.5, False),  # turning back needs 3 %
        (Published(100.0, direction=1), 97.0, True),
        (Published(100.0, direction=-1), 98.0, True),
        (Published(0.0), 0.0, False),
    ],
)
def test_an_estimate_is_published_at_two_percent_and_turns_back_at_three(
    previous: Published | None, available: float, expected: bool
) -> None:
    assert is_worth_publishing(previous, available) is expected
