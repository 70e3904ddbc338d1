"""OEE after ISO 22400-2: a shift computed by hand, counters that restart, and the identity A*E*Q =
OEE."""

from datetime import timedelta
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurelian.model.time import to_us
from line_health.oee import compute_oee
from line_health.rows import KpiRow
from line_health.shift import ShiftSums, find_shift
from tests.linerig import START, Rig, make_plant, moment

HOUR = 3600.0


def golden_rig() -> Rig:
    """An early shift of 8 h with a break of 30 min, ideal cycle 6 s.

    07:00 running; 08:00 jam, 1 min; 08:01 running; 09:00 bearing failure, 29 min; 09:29 running;
    10:00 cleaning (planned), 15 min; 10:15 running; 11:00 break of 30 min in which it stands; 11:30
    running; 13:00 silent for 10 min; 13:10 running; 15:00 end. Good pieces 3000, scrap 100; the
    counter restarts once.
    """
    rig = Rig(make_plant())
    steps = [
        (0.0, "mill/state", 6),
        (0.0, "wash/good", 500),
        (0.0, "wash/scrap", 10),
        (1.0 * HOUR, "mill/state", 11),
        (1.0 * HOUR + 1, "mill/reason", 20),
        (1.0 * HOUR + 60, "mill/state", 6),
        (2.0 * HOUR, "mill/state", 9),
        (2.0 * HOUR + 5, "mill/reason", 30),
        (2.0 * HOUR + 29 * 60, "mill/state", 6),
        (3.0 * HOUR, "wash/good", 1900),
        (3.0 * HOUR, "mill/state", 2),
        (3.0 * HOUR + 30, "mill/reason", 50),
        (3.25 * HOUR, "mill/state", 6),
        (3.5 * HOUR, "wash/good", 0),
        (4.0 * HOUR, "mill/reason", 0),
        (4.0 * HOUR, "mill/state", 4),
        (4.5 * HOUR, "mill/state", 6),
        (5.0 * HOUR, "wash/good", 600),
        (5.0 * HOUR, "wash/scrap", 60),
    ]
    for at, name, value in steps:
        rig.send(at, name, value)
        rig.tick(at)
    rig.live(5.0 * HOUR, 6.0 * HOUR, 10)
    rig.tick(6.0 * HOUR + 60)
    rig.heard = 6.0 * HOUR + 600
    rig.hear(rig.heard)
    rig.tick(rig.heard)
    rig.send(7.9 * HOUR, "wash/good", 1600)
    rig.send(7.9 * HOUR, "wash/scrap", 110)
    rig.live(7.9 * HOUR, 8.0 * HOUR + 1, 10)
    return rig


def test_a_golden_shift_gives_what_was_computed_by_hand() -> None:
    kpi = [kpi for kpi in golden_rig().kpis() if kpi.computed_at == moment(8 * HOUR)][-1]
    planned_busy = 8 * HOUR - 30 * 60 - 15 * 60  # 26,100 s: without break and cleaning
    production = planned_busy - 60 - 29 * 60 - 600  # 23,700 s: without jam, failure and silence
    good, scrap = 1400 + 600 + 1000, 50 + 50
    assert (kpi.shift, kpi.shift_start, kpi.shift_end) == (
        "early",
        START,
        START + timedelta(hours=8),
    )
    assert kpi.planned_busy_s == pytest.approx(planned_busy)
    assert kpi.production_s == pytest.approx(production)
    assert kpi.no_data_s == pytest.approx(600)
    assert (kpi.good, kpi.scrap) == (good, scrap)
    assert kpi.target == pytest.approx(4350)
    assert kpi.availability == pytest.approx(0.90805, abs=1e-4)
    assert kpi.effectiveness == pytest.approx(0.78481, abs=1e-4)
    assert kpi.quality == pytest.approx(0.96774, abs=1e-4)
    assert kpi.oee == pytest.approx(0.68966, abs=1e-4)


def test_the_kpi_is_told_every_ten_seconds_at_most_and_at_the_end_of_the_shift() -> None:
    rig = golden_rig()
    times = [kpi.computed_at for kpi in rig.kpis()]
    assert len(rig.published("kpi-updated")) == len(times)
    assert times[-1] == moment(8 * HOUR)
    assert all(b - a >= timedelta(seconds=10) for a, b in pairwise(times[:-1]))


def test_without_a_count_of_good_pieces_scrap_alone_makes_no_oee_of_nought() -> None:
    rig = Rig(make_plant(output_counts_good=False))
    rig.send(0, "mill/state", 6)
    rig.send(0, "wash/scrap", 0)
    rig.send(0.5 * HOUR, "wash/scrap", 20)
    rig.live(0.5 * HOUR, 0.6 * HOUR, 10)
    kpi = rig.kpis()[-1]
    assert kpi.scrap == 20 and kpi.availability == pytest.approx(1, abs=0.01)
    assert (kpi.effectiveness, kpi.quality, kpi.oee) == (None, None, None)


def test_a_new_shift_begins_at_zero() -> None:
    week = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
    rig = Rig(
        make_plant(
            [
                {"name": "early", "start": "07:00", "end": "15:00", "days": week},
                {"name": "late", "start": "15:00", "end": "23:00", "days": week},
            ]
        )
    )
    rig.send(0, "mill/state", 6)
    rig.send(0, "wash/good", 0)
    rig.send(7.99 * HOUR, "wash/good", 100)
    rig.send(8.01 * HOUR, "wash/good", 130)
    rig.live(8.01 * HOUR, 8.1 * HOUR, 10)
    last = {kpi.shift: kpi for kpi in rig.kpis()}
    assert (last["early"].good, last["late"].good) == (100, 30)
    assert last["early"].production_s == pytest.approx(8 * HOUR)
    assert last["late"].production_s == pytest.approx(0.1 * HOUR, abs=11)
    assert rig.states() == [(0, None, "running")]


def test_the_first_shift_counts_from_when_the_line_is_known() -> None:
    rig = Rig(make_plant())
    rig.heard = HOUR
    rig.send(HOUR, "mill/state", 6)
    rig.live(HOUR, HOUR + 100, 10)
    assert rig.kpis()[-1].planned_busy_s == pytest.approx(100, abs=10)


def test_the_mix_of_products_is_weighted_by_their_ideal_cycles() -> None:
    rig = Rig(make_plant())
    rig.send(0, "mill/state", 6)
    rig.send(0, "wash/good", 0)
    rig.send(600, "wash/good", 100)
    rig.send(601, "mill/product", "axle")
    rig.send(1500, "wash/good", 200)
    rig.live(1500, 1510, 5)
    kpi = rig.kpis()[-1]
    assert kpi.effectiveness == pytest.approx((100 * 6 + 100 * 9) / kpi.production_s)


@pytest.mark.parametrize(
    ("busy", "production", "good", "nulls"),
    [
        (0, 0, 0, ("availability", "effectiveness", "quality", "oee")),
        (100, 0, 0, ("effectiveness", "quality", "oee")),
        (100, 50, 0, ("quality", "oee")),
    ],
)
def test_a_zero_denominator_is_null_and_neither_zero_nor_a_hundred_percent(
    busy: float, production: float, good: float, nulls: tuple[str, ...]
) -> None:
    oee = compute_oee(
        planned_busy_s=busy, production_s=production, ideal_s=good * 6.0, good=good, scrap=0
    )
    for name in ("availability", "effectiveness", "quality", "oee"):
        assert (getattr(oee, name) is None) == (name in nulls)


seconds = st.floats(1, 1e5)


@given(seconds, seconds, seconds, st.integers(0, 10_000), st.integers(0, 10_000))
def test_oee_is_availability_times_effectiveness_times_quality(
    busy: float, production: float, ideal: float, good: int, scrap: int
) -> None:
    oee = compute_oee(
        planned_busy_s=busy, production_s=production, ideal_s=ideal, good=good, scrap=scrap
    )
    if good + scrap == 0:
        assert oee.oee is None
        return
    assert oee.availability is not None and oee.effectiveness is not None
    assert oee.quality is not None and oee.oee is not None
    assert oee.oee == pytest.approx(oee.availability * oee.effectiveness * oee.quality)
    assert oee.oee == pytest.approx(ideal * good / (good + scrap) / busy)


def test_kpi_rows_have_the_columns_of_their_table() -> None:
    from dataclasses import fields

    from aurelian.db import tables

    assert {field.name for field in fields(KpiRow)} == set(tables.kpi.columns.keys())


def test_actual_over_target_is_the_oee_also_in_a_shift_of_several_products() -> None:
    rig = Rig()
    rig.send(0.0, "mill/state", 6)
    (watched,) = rig.lines.watched.values()
    assert watched.machine is not None
    line = watched.machine.line
    shift = find_shift(line, to_us(START))
    assert shift is not None
    # 100 pieces at an ideal 6.0 s and 150 at 6.6 s, ten of them scrap; now 6.0 s is made.
    sums = ShiftSums(to_us(START), to_us(START), 2000.0, good=240, scrap=10, ideal_s=1590.0)
    kpi = sums.to_kpi(line, shift, 6.0, to_us(START + timedelta(hours=1)))
    assert kpi.target == pytest.approx(3600 / 6.36)
    assert kpi.oee == pytest.approx(kpi.good / kpi.target)
