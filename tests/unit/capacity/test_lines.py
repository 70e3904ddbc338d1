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
from capacity.lines import Lines, Row
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
    "path": "x",
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


def _available(effects: Effects[Row], week: date = MONDAY) -> float:
    return next(
        float(row.values["available"]) for row in effects.rows if row.values["week"] == week
    )  # type: ignore[arg-type]


def test_eight_weeks_are_told_at_first_and_nothing_more_while_nothing_moves() -> None:
    lines = _lines()
    first = lines.tick(_us(NOW))
    assert [out.event.type for out in first.events] == [CAPACITY_ESTIMATE_UPDATED] * 8
    assert first.rows[0].values["total"] == 5 * 8 * 3600 / 10
    assert len({out.event.id for out in first.events}) == 8
    later = lines.tick(_us(NOW + timedelta(seconds=10)))
    assert len(later.rows) == 8
    assert not later.events


def test_a_stop_lowers_available_and_is_told_while_it_lasts() -> None:
    lines = _lines()
    _state(lines, "running", NOW)
    before = _available(lines.tick(_us(NOW)))
    _state(lines, "down", NOW + timedelta(minutes=10))
    effects = lines.tick(_us(NOW + timedelta(minutes=14)))
    assert _available(effects) < before * 0.98
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
    once = json.dumps(lines.changed(), sort_keys=True)
    for state, time in zip(["running", "down", "running", "starved"], times, strict=True):
        _state(lines, state, time)
    _send(lines, LINE_EVENTS, LINE_KPI_UPDATED, "line-1", kpi, times[3])
    assert json.dumps(lines.changed(), sort_keys=True) == once


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
    assert _available(lines.tick(_us(NOW)), coming) == before


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
    later = _us(NOW + timedelta(minutes=1))
    assert [row.values for row in one.tick(later).rows] == [
        row.values for row in other.tick(later).rows
    ]
