"""The capacity worker's fold: what line and maintenance events do to weekly estimates; repeated
events do nothing."""

import json
from datetime import UTC, date, datetime, timedelta

from aurelian.backbone.topics import ASSETS, LINE_EVENTS, MAINTENANCE_EVENTS, Topic
from aurelian.events.cloudevent import encode_event
from aurelian.events.schemas import (
    CAPACITY_ESTIMATE_UPDATED,
    LINE_KPI_UPDATED,
    LINE_STATE_CHANGED,
    MAINTENANCE_CASE_CLOSED,
    MAINTENANCE_CASE_OPENED,
)
from aurelian.fold.contract import Effects
from aurelian.model.record import Record
from capacity.lines import REFRESH_US, EstimateRow, Lines
from capacity.settings import CapacitySettings
from tests.builders import make_unchecked_event

NOW = datetime(2026, 11, 25, 12, tzinfo=UTC)  # a Wednesday
MONDAY = date(2026, 11, 23)
LINE = {
    "id": "line-1",
    "owner": "c",
    "parent": "area-1",
    "level": "line",
    "name": "line-1",
    "path": "c/site/area/line-1",
    "meaning": {
        "time_zone": "Europe/Oslo",
        "calendar": {
            "shifts": [
                {
                    "name": "day",
                    "start": "06:00",
                    "end": "14:00",
                    "days": ["mon", "tue", "wed", "thu", "fri"],
                    "breaks": [],
                }
            ],
            "holidays": [],
        },
        "products": [{"id": "p", "ideal_cycle_s": 10.0, "unit": "piece"}],
        "stop_reasons": [],
        "units": ["unit-1"],
        "output": "unit-1",
        "constraint": "unit-1",
    },
}
UNIT = {
    "id": "unit-1",
    "owner": "c",
    "parent": "line-1",
    "level": "unit",
    "name": "m",
    "path": "c/site/area/line-1/m",
    "meaning": {"source": "s", "signals": []},
}


def _us(time: datetime) -> int:
    return int(time.timestamp() * 1e6)


def _lines() -> Lines:
    lines = Lines(CapacitySettings())
    for asset in (LINE, UNIT):
        lines.learn(Record(ASSETS.name, 0, 0, 0, None, json.dumps(asset).encode()), _us(NOW))
    return lines


def _send(
    lines: Lines,
    topic: Topic,
    type: str,
    subject: str,
    data: dict[str, object],
    time: datetime = NOW,
) -> None:
    event = make_unchecked_event(
        type, source="/t", subject=subject, owner="c", time=time, data=data
    )
    lines.fold(Record(topic.name, 0, 0, 0, None, encode_event(event).encode()), _us(time))


def _state(lines: Lines, state: str, since: datetime) -> None:
    _send(
        lines,
        LINE_EVENTS,
        LINE_STATE_CHANGED,
        "line-1",
        {
            "line": "c/site/area/line-1",
            "state": state,
            "previous": None,
            "unit": None,
            "reason": "",
            "since": since.isoformat(),
        },
        since,
    )


def _available(effects: Effects[EstimateRow], week: date = MONDAY) -> float:
    return next(
        float(row.values["available"]) for row in effects.rows if row.values["week"] == week
    )  # type: ignore[arg-type]


def running_week(
    now: datetime, states: list[dict[str, str]], promised: float = 0.0
) -> dict[str, object]:
    """The row of the running week at `now`, after states that followed each other."""
    lines = _lines()
    for each in states:
        _state(lines, each["state"], datetime.fromisoformat(each["a"]))
    lines.set_commitments({("line-1", MONDAY): promised})
    rows = lines.tick(_us(now)).rows
    return dict(next(row.values for row in rows if row.values["week"] == MONDAY))


def test_eight_weeks_are_published_at_first_and_nothing_more_while_nothing_moves() -> None:
    lines = _lines()
    first = lines.tick(_us(NOW))
    assert [out.event.type for out in first.events] == [CAPACITY_ESTIMATE_UPDATED] * 8
    assert first.rows[1].values["total"] == 5 * 8 * 3600 / 10
    # Wednesday 13:00 in Oslo: an hour, Thursday and Friday are left
    assert first.rows[0].values["total"] == 17 * 3600 / 10
    assert len({out.event.id for out in first.events}) == 8
    later = lines.tick(_us(NOW + timedelta(seconds=10)))
    assert not later


def test_a_line_without_events_writes_what_is_left_of_its_week_and_no_other() -> None:
    lines = _lines()
    assert len(lines.tick(_us(NOW)).rows) == 8
    lines.changed()
    totals = []
    for minutes in range(1, 120):
        effects = lines.tick(_us(NOW + timedelta(minutes=minutes)))
        assert not effects.events, "an hour is no 5 % of the week"
        assert {row.values["week"] for row in effects.rows} <= {MONDAY}
        totals += [row.values["total"] for row in effects.rows]
    # every five minutes till the shift's end at 14:00; nothing passes after it
    assert totals == [(17 * 3600 - 300 * n) / 10 for n in range(1, 13)]
    assert lines.changed() == {}
    next_week = lines.tick(_us(NOW + timedelta(days=7)))
    weeks = [row.values["week"] for row in next_week.rows]
    assert weeks == [MONDAY + timedelta(weeks=1), MONDAY + timedelta(weeks=8)]


def test_nothing_is_left_after_the_last_shift_of_the_week() -> None:
    friday = datetime(2026, 11, 27, 14, 30, tzinfo=UTC)
    row = running_week(friday, [], promised=0.0)
    assert (row["total"], row["available"], row["committed"]) == (0.0, 0.0, 0.0)
    assert row["inputs"]["whole_week_total"] == 14_400  # type: ignore[index]


def test_what_the_week_has_made_is_subtracted_from_what_was_promised() -> None:
    lines = _lines()
    lines.set_commitments({("line-1", MONDAY): 1000.0})
    before = lines.tick(_us(NOW)).rows[0].values
    _send(lines, LINE_EVENTS, LINE_KPI_UPDATED, "line-1", _kpi(NOW, timedelta(seconds=4000)))
    after = next(
        row.values
        for row in lines.tick(_us(NOW + timedelta(seconds=10))).rows
        if row.values["week"] == MONDAY
    )
    assert (before["committed"], after["committed"]) == (1000.0, 600.0)
    assert after["inputs"]["used"] == 400  # type: ignore[index]


def test_a_stop_of_150_s_moves_no_week_by_two_per_mille_and_sends_no_event() -> None:
    lines = _lines()
    _state(lines, "running", NOW)
    coming = MONDAY + timedelta(weeks=1)
    before = _available(lines.tick(_us(NOW)), coming)
    _state(lines, "down", NOW + timedelta(minutes=10))
    _state(lines, "running", NOW + timedelta(seconds=750))
    effects = lines.tick(_us(NOW + timedelta(seconds=751)))
    assert not effects.events
    assert abs(_available(effects, coming) / before - 1) < 0.002


def test_the_passing_of_a_week_is_published_twenty_times_at_most() -> None:
    lines, events = _lines(), 0
    start = datetime(2026, 11, 22, 23, 0, tzinfo=UTC)
    lines.tick(_us(start))
    for n in range(1, 7 * 24 * 12):
        events += len(lines.tick(_us(start + timedelta(minutes=5 * n))).events)
    assert 10 <= events <= 20


def test_the_figures_say_since_when_from_how_much_and_how_sure() -> None:
    start = NOW - timedelta(days=2)
    states = [{"state": "running", "a": start.isoformat()}]
    inputs = running_week(NOW, states)["inputs"]
    assert inputs["measured_h"] == 48.0  # type: ignore[index]
    assert inputs["confidence"] == 0.5  # type: ignore[index]


def test_a_steady_line_is_written_again_only_to_say_that_it_is_heard() -> None:
    lines = _lines()
    start = NOW - timedelta(days=30)
    written = 0
    for n in range(3600 // 10):
        at = NOW + timedelta(seconds=10 * n)
        if n == 0:
            _state(lines, "running", start)
        _send(lines, LINE_EVENTS, LINE_KPI_UPDATED, "line-1", _kpi(at, at - start), at)
        rows = lines.tick(_us(at)).rows
        written += len(rows)
    assert rows == [] or rows[0].values["data_time"] == at
    assert written == 8 * (3600 * 1_000_000 // REFRESH_US)


def test_a_commitment_writes_the_row_of_its_week_alone() -> None:
    lines = _lines()
    lines.tick(_us(NOW))
    lines.set_commitments({("line-1", MONDAY + timedelta(weeks=3)): 100.0})
    effects = lines.tick(_us(NOW + timedelta(seconds=1)))
    assert [row.values["week"] for row in effects.rows] == [MONDAY + timedelta(weeks=3)]


def _kpi(at: datetime, running: timedelta) -> dict[str, object]:
    pieces = running.total_seconds() / 10
    return {
        "shift_start": (at - running).isoformat(),
        "computed_at": at.isoformat(),
        "production_s": running.total_seconds(),
        "effectiveness": 1.0,
        "good": pieces,
        "scrap": 0.0,
    }


def test_a_stop_lowers_available_and_is_published_while_it_lasts() -> None:
    lines = _lines()
    _state(lines, "running", NOW)
    before = _available(lines.tick(_us(NOW)), MONDAY + timedelta(weeks=1))
    _state(lines, "down", NOW + timedelta(minutes=10))
    effects = lines.tick(_us(NOW + timedelta(hours=8)))
    assert _available(effects, MONDAY + timedelta(weeks=1)) < before * 0.98
    assert effects.events


def test_events_that_come_again_change_nothing() -> None:
    lines = _lines()
    times = [NOW + timedelta(minutes=10 * i) for i in range(4)]
    for state, time in zip(["running", "down", "running", "starved"], times, strict=True):
        _state(lines, state, time)
    kpi: dict[str, object] = {
        "shift_start": NOW.isoformat(),
        "computed_at": times[3].isoformat(),
        "production_s": 1200.0,
        "effectiveness": 0.9,
        "good": 100,
        "scrap": 5,
    }
    _send(lines, LINE_EVENTS, LINE_KPI_UPDATED, "line-1", kpi, times[3])
    assert set(lines.changed()["line-1"]) == {"state", "since", "measured", "shifts", "made"}
    for state, time in zip(["running", "down", "running", "starved"], times, strict=True):
        _state(lines, state, time)
    _send(lines, LINE_EVENTS, LINE_KPI_UPDATED, "line-1", kpi, times[3])
    assert lines.changed() == {}


def test_starved_time_is_not_held_against_the_line() -> None:
    starved, running = _lines(), _lines()
    _state(starved, "starved", NOW)
    _state(running, "planned", NOW)
    later = _us(NOW + timedelta(hours=2))
    assert _available(starved.tick(later)) == _available(running.tick(later))


def test_an_open_case_costs_the_coming_week_and_its_closing_gives_it_back() -> None:
    lines = _lines()
    coming = MONDAY + timedelta(days=7)
    before = _available(lines.tick(_us(NOW)), coming)
    case: dict[str, object] = {"case": "c1", "expected_down_s": 14_400.0}
    _send(lines, MAINTENANCE_EVENTS, MAINTENANCE_CASE_OPENED, "unit-1", case)
    opened = lines.tick(_us(NOW))
    assert _available(opened, coming) < before * 0.95
    _send(lines, MAINTENANCE_EVENTS, MAINTENANCE_CASE_CLOSED, "unit-1", case)
    assert _available(lines.tick(_us(NOW)), coming) == before
    # The opening comes once more after the closing, as a new Kafka log may bring it.
    _send(lines, MAINTENANCE_EVENTS, MAINTENANCE_CASE_OPENED, "unit-1", case)
    assert not lines.tick(_us(NOW + timedelta(minutes=1)))


def test_commitments_move_available_to_committed() -> None:
    lines = _lines()
    before = _available(lines.tick(_us(NOW)))
    lines.set_commitments({("line-1", MONDAY): 1000.0})
    effects = lines.tick(_us(NOW))
    assert _available(effects) == round(before - 1000, 3)
    assert effects.rows[0].values["committed"] == 1000


def test_a_restored_fold_goes_on_as_the_old_one_would() -> None:
    one, other = _lines(), _lines()
    _state(one, "running", NOW)
    one.tick(_us(NOW))
    other.restore(json.loads(json.dumps(one.changed())))
    later = _us(NOW + timedelta(hours=1))
    rows, all_rows = ([row.values for row in each.tick(later).rows] for each in (one, other))
    assert rows
    assert [row for row in all_rows if row in rows] == rows
    assert json.dumps(one.changed()) == json.dumps(other.changed())
