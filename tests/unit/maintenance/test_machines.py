"""The maintenance worker's fold: what batches of samples do to machines, cases and events;
snapshots lose nothing."""

import json

import numpy as np
import pytest

from aurelian.backbone.topics import ASSETS, SAMPLES
from aurelian.events.schemas import (
    MAINTENANCE_CASE_CLOSED,
    MAINTENANCE_CASE_OPENED,
    MAINTENANCE_HEALTH_UPDATED,
)
from aurelian.model import codec
from aurelian.model.decode_errors import DecodeError
from aurelian.model.record import Record
from aurelian.model.sample import Flag, Sample, Signal, ValueType, make_batch
from maintenance.machines import Machines
from maintenance.settings import MaintenanceSettings

LINE = "c/site/area/line-1"
STATE = Signal("sig-state", "unit-1", f"{LINE}/m1/state", ValueType.INT64)
VIBRATION = Signal("sig-vib", "unit-1", f"{LINE}/m1/vibration", ValueType.DOUBLE)
START = 1_800_000_000_000_000
SECOND = 1_000_000


def _asset(owner: str = "c") -> Record:
    asset = {
        "id": "unit-1",
        "owner": owner,
        "parent": "line-1",
        "level": "unit",
        "name": "m1",
        "path": f"{LINE}/m1".replace("c", owner, 1),
        "meaning": {
            "source": "s",
            "signals": [
                {"id": "sig-state", "name": "state", "role": "state"},
                {"id": "sig-vib", "name": "vibration", "role": "vibration"},
            ],
        },
    }
    return Record(ASSETS.name, 0, 0, 0, b"unit-1", json.dumps(asset).encode())


def _batch(
    second: int,
    vibration: float,
    *,
    state: int = 6,
    sequence: int | None = None,
    owner: str = "c",
    flags: Flag = Flag.NONE,
    received: int = 0,
) -> Record:
    time = START + second * SECOND
    samples = [
        Sample(STATE, state, ValueType.INT64, time, received or time, flags=flags),
        Sample(VIBRATION, vibration, ValueType.DOUBLE, time, received or time, flags=flags),
    ]
    batch = make_batch(
        samples, owner=owner, gateway="g", boot=1, sequence=sequence or second + 1, line=LINE
    )
    return Record(SAMPLES.name, 0, second, 0, LINE.encode(), codec.encode(batch))


def _machines() -> Machines:
    machines = Machines(MaintenanceSettings())
    machines.learn(_asset(), START)
    return machines


def _run(machines: Machines, seconds: range, level: float, state: int = 6) -> list[str]:
    """Fold one batch a second with a little noise and tick; return the types of the events."""
    rng = np.random.default_rng(seconds.start)
    types = []
    for second in seconds:
        machines.fold(
            _batch(second, level + 0.02 * rng.standard_normal(), state=state),
            START + second * SECOND,
        )
        types += [out.event.type for out in machines.tick(START + second * SECOND).events]
    return types


def test_a_worn_bearing_opens_one_case_and_its_repair_closes_it() -> None:
    machines = _machines()
    assert MAINTENANCE_CASE_OPENED not in _run(machines, range(0, 400), 2.0)
    worn = _run(machines, range(400, 500), 8.0)
    assert worn.count(MAINTENANCE_CASE_OPENED) == 1
    assert MAINTENANCE_HEALTH_UPDATED in worn
    repaired = _run(machines, range(500, 1000), 2.0)
    assert repaired.count(MAINTENANCE_CASE_CLOSED) == 1
    assert MAINTENANCE_CASE_OPENED not in repaired


def test_a_machine_that_stands_still_is_neither_judged_nor_learned_from() -> None:
    machines = _machines()
    _run(machines, range(0, 400), 2.0)
    assert MAINTENANCE_CASE_OPENED not in _run(machines, range(400, 600), 0.0, state=0)


def test_a_machine_that_is_not_heard_of_gets_no_new_health_row() -> None:
    machines = _machines()
    _run(machines, range(0, 400), 2.0)
    assert not machines.tick(START + 500 * SECOND).rows


def test_a_batch_that_comes_again_changes_nothing() -> None:
    machines = _machines()
    _run(machines, range(0, 300), 2.0)
    machines.changed()
    machines.fold(_batch(299, 99.0), START + 300 * SECOND)
    assert machines.changed() == {}


def test_a_restored_fold_goes_on_as_the_old_one_would() -> None:
    one, other = _machines(), _machines()
    _run(one, range(0, 300), 2.0)
    saved = json.loads(json.dumps(one.changed()))
    other.restore(saved)
    assert _run(one, range(300, 420), 8.0) == _run(other, range(300, 420), 8.0)
    assert one.changed() == other.changed()


def test_samples_of_a_foreign_owner_are_not_used() -> None:
    machines = Machines(MaintenanceSettings())
    machines.learn(_asset(owner="somebody-else"), START)
    _run(machines, range(0, 5), 2.0)
    assert next(iter(machines.changed().values())).keys() == {"seen"}
    with pytest.raises(DecodeError, match="belongs to 'c', not to 'somebody-else'"):
        machines.fold(_batch(5, 2.0, owner="somebody-else"), START)


def test_a_gateways_clock_that_is_ahead_keeps_no_machine_in_judgement() -> None:
    machines = _machines()
    _run(machines, range(0, 400), 2.0)
    machines.fold(_batch(3400, 2.0), START + 400 * SECOND)
    assert not machines.tick(START + 432 * SECOND).rows


def test_the_versions_before_keep_their_case_and_learn_their_baselines_anew() -> None:
    case = "7f3c0a52-0000-5000-8000-000000000000"
    signals = {"sig-vib": [2.0, START, 2.0, 0.1]}
    whole = {
        "signals": {"sig-vib": [2.0, START, [], 2.0, 0.1]},
        **{"state": 6, "state_time": START, "newest": START, "minute": 0},
        **{"told_index": 0.4, "told_at": START, "over_since": START, "calm_since": None},
        **{"case": case, "case_opened_at": START},
    }
    parts = [signals, 6, START, START, 0.4, START, 0, START, None, case, START]
    for saved in ({"machines": {"unit-1": whole}}, {"machine/unit-1": parts}):
        machines = _machines()
        machines.restore({LINE: json.loads(json.dumps({"seen": [], **saved}))})
        types = _run(machines, range(300, 700), 2.0)
        assert MAINTENANCE_CASE_OPENED not in types
        assert MAINTENANCE_CASE_CLOSED not in types
        assert _run(machines, range(700, 900), 2.0).count(MAINTENANCE_CASE_CLOSED) == 1


def test_a_short_value_after_a_stop_and_one_before_it_are_not_used() -> None:
    machines = _machines()
    _run(machines, range(0, 400), 2.0)
    for start in range(400, 900, 20):
        _run(machines, range(start, start + 3), 0.0, state=11)
        types = _run(machines, range(start + 3, start + 5), 9.0)  # running up
        types += _run(machines, range(start + 5, start + 20), 2.0)
        assert MAINTENANCE_CASE_OPENED not in types


def test_a_machine_that_breaks_off_with_a_high_score_gets_its_case_and_reason_at_once() -> None:
    machines = _machines()
    _run(machines, range(0, 400), 2.0)
    assert MAINTENANCE_CASE_OPENED not in _run(machines, range(400, 412), 8.0)
    assert _run(machines, range(412, 414), 0.0, state=9).count(MAINTENANCE_CASE_OPENED) == 1


def test_a_clock_that_was_ahead_once_does_not_stop_the_judgement() -> None:
    machines = _machines()
    _run(machines, range(0, 400), 2.0)
    ahead = START + 3400 * SECOND
    samples = [Sample(VIBRATION, 2.0, ValueType.DOUBLE, ahead, START + 400 * SECOND)]
    batch = make_batch(samples, owner="c", gateway="g", boot=1, sequence=401, line=LINE)
    machines.fold(Record(SAMPLES.name, 0, 400, 0, b"", codec.encode(batch)), START + 400 * SECOND)
    assert _run(machines, range(401, 450), 8.0).count(MAINTENANCE_CASE_OPENED) == 1


def test_the_newest_state_of_one_time_is_the_one_that_came_last() -> None:
    machines = _machines()
    time = START + 5 * SECOND
    samples = [Sample(STATE, value, ValueType.INT64, time, time) for value in (9, 6, 9)]
    batch = make_batch(samples, owner="c", gateway="g", boot=1, sequence=1, line=LINE)
    machines.fold(Record(SAMPLES.name, 0, 1, 0, b"", codec.encode(batch)), time)
    assert machines._lines[LINE].machines["unit-1"].state == 9


def test_what_is_saved_of_a_machine_stays_small() -> None:
    machines = _machines()
    _run(machines, range(0, 400), 2.0)
    machines.changed()
    _run(machines, range(400, 401), 2.0)
    assert len(json.dumps(machines.changed())) < 1000


def test_repeated_values_are_used_for_nothing() -> None:
    machines = _machines()
    _run(machines, range(0, 60), 1.0)
    assert "machine/unit-1" in machines.changed()[LINE]
    for second in range(60, 90):
        late = START + second * SECOND
        repeat = _batch(second - 10, 9.0, state=2, flags=Flag.HEARTBEAT, received=late)
        machines.fold(repeat, late)
    assert set(machines.changed()[LINE]) == {"seen"}  # the numbers of the records
