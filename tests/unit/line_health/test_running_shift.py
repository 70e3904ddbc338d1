"""Figures of the running shift: what was before it was watched comes from the store, a changed
calendar counts at once, and a figure that cannot be says so."""

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from aurelian.model.machine_states import PackMl
from aurelian.model.plant import Plant
from aurelian.model.plant_parts import StopReason
from line_health.rows import KpiRow
from line_health.shift_past import Gap, Past, PastSpan, count_past
from tests.linerig import LINE, START, Rig, make_plant, moment, us

EXECUTE, HELD = int(PackMl.EXECUTE), int(PackMl.HELD)
WEEK = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
HOUR = 3600.0


def shift(name: str, start: str, end: str, **more: Any) -> dict[str, object]:
    return {"name": name, "start": start, "end": end, "days": WEEK, **more}


def kpi(rig: Rig) -> KpiRow:
    return rig.kpis()[-1]


def change(rig: Rig, plant: Plant) -> None:
    """Publish another plant model."""
    rig.plant = plant
    for record in rig.asset_records():
        rig.lines.learn(record, us(0))


def gap_of(rig: Rig, at: float) -> Gap:
    (gap,) = rig.lines.gaps(us(at))
    return gap


def late_rig(at: float = HOUR) -> Rig:
    """A line first heard an hour after its shift began."""
    rig = Rig(make_plant())
    rig.heard = at
    rig.send(at, "mill/state", EXECUTE)
    rig.send(at, "wash/good", 560)
    return rig


def test_a_shift_that_was_not_watched_from_its_start_says_since_when_it_counts() -> None:
    rig = late_rig()
    rig.live(HOUR, HOUR + 100, 10)
    assert kpi(rig).counts_from == moment(HOUR)
    assert kpi(rig).planned_busy_s == pytest.approx(100, abs=10)
    assert rig.published("kpi-updated")[-1]["counts_from"] == "2026-01-05T07:00:00Z"


def test_a_state_from_before_anybody_listened_counts_since_it_is_heard() -> None:
    """As its pieces do: else the target is of half an hour, and the actual of a minute."""
    rig = Rig(make_plant())
    rig.heard = HOUR
    rig.send(HOUR - 1500, "mill/state", EXECUTE, received=HOUR)
    rig.send(HOUR, "wash/good", 560)
    rig.live(HOUR, HOUR + 100, 10)
    rig.send(HOUR + 90, "wash/good", 575)
    rig.live(HOUR + 90, HOUR + 120, 10)
    assert rig.states()[0][0] == HOUR - 1500
    row = kpi(rig)
    at = (row.computed_at - START).total_seconds()
    assert row.counts_from == moment(HOUR)
    assert row.planned_busy_s == pytest.approx(at - HOUR)
    assert row.production_s == pytest.approx(at - HOUR)


def test_what_the_store_has_of_the_shift_is_added_and_counts_from_its_start() -> None:
    rig = late_rig()
    gap = gap_of(rig, HOUR)
    good = rig.signals["wash/good"].id
    assert (gap.start, gap.watched_from, gap.firsts) == (
        us(0),
        us(HOUR),
        {good: [560.0, us(HOUR)]},
    )
    past = count_past(gap, {good: [(us(-60), 100.0), (us(10), 101.0), (us(3000), 500.0)]}, [], [])
    past.spans = [
        PastSpan(us(0), us(1800), "running", False),
        PastSpan(us(1800), us(2100), "down", False),
        PastSpan(us(2100), us(2400), "planned", True),
        PastSpan(us(2400), us(3500), "running", False),  # 100 s are missing
    ]
    rig.lines.pasts[LINE] = past
    rig.live(HOUR, HOUR + 100, 10)
    row = kpi(rig)
    at = (row.computed_at - START).total_seconds()
    assert row.counts_from == START
    assert row.planned_busy_s == pytest.approx(at - 300)
    assert row.production_s == pytest.approx(1800 + 1100 + at - HOUR)
    assert row.no_data_s == pytest.approx(100)
    assert row.good == 460
    assert rig.lines.gaps(us(HOUR + 10_000)) == []


def test_history_that_begins_inside_the_shift_counts_from_there() -> None:
    rig = late_rig()
    past = Past(gap_of(rig, HOUR), [PastSpan(us(1200), us(HOUR), "running", False)])
    rig.lines.pasts[LINE] = past
    rig.live(HOUR, HOUR + 20, 10)
    assert kpi(rig).counts_from == moment(HOUR)  # its pieces count from here only
    assert kpi(rig).production_s == pytest.approx(2400 + 20, abs=10)


def test_the_store_is_asked_again_for_what_comes_later_and_not_for_ever() -> None:
    rig = late_rig()
    asked = 0
    for at in range(0, 3600, 5):
        rig.hear(HOUR + at)
        rig.tick(HOUR + at)
        for gap in rig.lines.gaps(us(HOUR + at)):
            asked += 1
            rig.lines.pasts[LINE] = Past(gap)
    assert 5 <= asked <= 10


def test_the_answer_to_an_older_question_changes_nothing() -> None:
    rig = late_rig()
    past = Past(gap_of(rig, HOUR), [PastSpan(us(0), us(HOUR), "running", False)])
    rig.lines.pasts[LINE] = past
    rig.tick(HOUR + 1)
    before = rig.lines.watched[LINE].status.shift
    assert before is not None
    production = before.production_s
    rig.lines.pasts[LINE] = past
    rig.tick(HOUR + 2)
    after = rig.lines.watched[LINE].status.shift
    assert after is not None and after.production_s == production


def test_pieces_of_the_past_follow_products_resets_and_silences() -> None:
    gap = Gap("l", LINE, us(0), us(100), {"g": [5.0, us(100)]}, frozenset(), {"g": None}, "p", CYC)
    totals = [(us(0), 50.0), (us(10), 52.0), (us(30), 0.0), (us(40), 1.0), (us(90), 4.0)]
    past = count_past(gap, {"g": totals}, [(us(0), "shaft"), (us(35), "axle")], [(us(50), us(80))])
    assert past.pieces == [
        (False, 2.0, 6.0, False),
        (False, 1.0, 9.0, False),
        (False, 3.0, 9.0, True),
        (False, 1.0, 9.0, False),
    ]


CYC = {"": 6.0, "shaft": 6.0, "axle": 9.0}


# --- the plant model changes


@pytest.mark.parametrize("restart", [False, True])
def test_a_changed_calendar_counts_at_once_also_after_a_restart(restart: bool) -> None:
    rig = Rig(make_plant([shift("early", "07:00", "08:00")]))
    rig.send(0, "mill/state", EXECUTE)
    rig.send(1 * HOUR + 60, "mill/state", HELD)
    rig.live(1 * HOUR + 60, 1 * HOUR + 90)
    assert rig.state == "planned"
    saved = json.loads(json.dumps(rig.lines.changed()))
    changed = make_plant([shift("early", "07:00", "15:00")])
    if restart:
        memory = json.loads(json.dumps(rig.lines.memory()))
        rig = Rig(changed)
        rig.lines.recall(memory)
        rig.lines.restore(saved)
    else:
        change(rig, changed)
    at = 1 * HOUR + 91
    rig.hear(at)
    rig.tick(at)
    assert rig.newest_row().state == "short_stop"
    rig.live(at, at + 200, 10)
    assert rig.newest_row().state == "down"
    assert (kpi(rig).shift_end - kpi(rig).shift_start) == timedelta(hours=8)


def test_a_line_that_was_heard_before_it_had_a_calendar_gets_figures_with_it() -> None:
    plant = make_plant([shift("night", "22:00", "06:00")])
    rig = Rig(plant)
    rig.send(0, "mill/state", EXECUTE)
    rig.live(0, 60, 10)
    assert not rig.kpis()
    change(rig, make_plant())
    rig.live(61, 121, 10)
    assert kpi(rig).shift == "early"
    assert kpi(rig).production_s == pytest.approx(60, abs=11)
    assert kpi(rig).counts_from == moment(61)
    gap = gap_of(rig, 130)
    assert (gap.start, gap.watched_from) == (us(0), us(61))


def test_other_breaks_in_the_same_shift_sum_its_time_anew_and_keep_its_pieces() -> None:
    rig = Rig(make_plant([shift("early", "07:00", "15:00")]))
    rig.send(0, "mill/state", EXECUTE)
    rig.send(0, "wash/good", 0)
    rig.send(600, "wash/good", 90)
    rig.live(600, 1200, 10)
    pause = [{"start": "07:05", "minutes": 5}]
    change(rig, make_plant([shift("early", "07:00", "15:00", breaks=pause)]))
    rig.hear(1201)
    rig.tick(1201)
    gap = gap_of(rig, 1202)
    assert gap.watched_from == us(1201) and gap.firsts == {}
    rig.lines.pasts[LINE] = Past(gap, [PastSpan(us(0), us(1201), "running", False)])
    rig.live(1202, 1220, 10)
    at = (kpi(rig).computed_at - START).total_seconds()
    assert kpi(rig).planned_busy_s == kpi(rig).production_s == pytest.approx(at - 300)
    assert kpi(rig).good == 90 and kpi(rig).counts_from == START


def test_a_stop_reason_that_the_plant_model_names_later_is_named_in_the_running_stop() -> None:
    rig = Rig()
    rig.send(0, "mill/state", EXECUTE)
    rig.send(10, "mill/state", HELD)
    rig.send(10, "mill/reason", 77)
    rig.tick(11)
    assert rig.newest_row().reason == "machine held"
    named = StopReason(code=77, name="No operator", loss="external")
    more = (*rig.plant.stop_reasons, named)
    change(rig, rig.plant.model_copy(update={"stop_reasons": more}))
    rig.tick(12)
    assert rig.newest_row().reason == "No operator"


# --- over 100 %


def test_an_effectiveness_over_100_percent_stands_and_says_that_the_ideal_cycle_is_slow() -> None:
    rig = Rig()
    rig.send(0, "mill/state", EXECUTE)
    rig.send(0, "wash/good", 0)
    for n in range(1, 101):
        rig.send(n * 3, "wash/good", n)
    rig.live(300, 310, 5)
    row = kpi(rig)
    assert row.effectiveness is not None and row.effectiveness == pytest.approx(2, rel=0.05)
    assert row.oee is not None and row.oee > 1
    assert row.note.startswith("The ideal cycle is too slow: 100 pieces took ")


def test_pieces_made_while_no_data_came_are_flagged() -> None:
    rig = Rig(beats=False)
    rig.send(0, "mill/state", EXECUTE)
    rig.send(0, "wash/good", 0)
    rig.tick(60)
    rig.send(600, "mill/state", EXECUTE)
    rig.send(600, "wash/good", 80)
    rig.live(601, 611, 1)
    row = kpi(rig)
    assert (row.good, row.bridged) == (80, 80)
    assert row.note == "80 pieces were made while no data came: more than 100 %"


@settings(max_examples=30, deadline=None)
@given(
    busy=st.lists(st.tuples(st.integers(1, 30), st.integers(0, 12)), min_size=1, max_size=20),
)
def test_no_oee_over_100_percent_is_without_its_mark(busy: list[tuple[int, int]]) -> None:
    rig = Rig()
    rig.send(0, "mill/state", EXECUTE)
    rig.send(0, "wash/good", 0)
    at, total = 0, 0
    for seconds, pieces in busy:
        at, total = at + seconds, total + pieces
        rig.send(at, "wash/good", total)
    rig.live(at, at + 11, 1)
    for row in rig.kpis():
        assert row.oee is None or row.oee <= 1 or row.note


# --- counters inside the line (23)


@pytest.mark.parametrize(
    ("totals", "good"),
    [
        ([120000, 120001, 0, 120002, 120003], 3),
        ([1020, 1019], 0),
        ([1018, 1019, 1020, 1019], 1),
        ([65534, 65535, 0, 1], 3),
        ([500, 0, 1, 2], 2),
    ],
)
def test_the_shift_counts_what_can_have_been_made(totals: list[int], good: int) -> None:
    rig = Rig()
    rig.send(0, "mill/state", EXECUTE)
    for n, total in enumerate(totals):
        rig.send(n * 6.0, "wash/good", total)
    rig.live(40, 51, 1)
    assert kpi(rig).good == good
    assert kpi(rig).oee is None or kpi(rig).oee <= 1


@pytest.mark.parametrize("value", [float("nan"), float("inf"), -5.0, True, "12"])
def test_a_total_that_is_no_number_of_pieces_counts_nothing(value: Any) -> None:
    rig = Rig()
    rig.send(0, "mill/state", EXECUTE)
    rig.send(0, "wash/good", 5)
    rig.send(6, "wash/good", value)
    rig.send(12, "wash/good", 6)
    rig.live(12, 23, 1)
    assert kpi(rig).good == 1
    json.dumps(rig.lines.changed(), allow_nan=False)
