"""The maintenance worker's fold: what batches of samples do to machines, cases and events;
snapshots lose nothing."""

import json

import numpy as np

from aurelian.backbone.topics import ASSETS, SAMPLES
from aurelian.events.schemas import (
    MAINTENANCE_CASE_CLOSED,
    MAINTENANCE_CASE_OPENED,
    MAINTENANCE_HEALTH_UPDATED,
)
from aurelian.model import codec
from aurelian.model.record import Record
from aurelian.model.sample import Sample, Signal, ValueType, make_batch
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
        "path": f"{LINE}/m1",
        "meaning": {
            "source": "s",
            "signals": [
                {"id": "sig-state", "name": "state", "role": "state"},
                {"id": "sig-vib", "name": "vibration", "role": "vibration"},
            ],
        },
    }
    return Record(ASSETS.name, 0, 0, 0, b"unit-1", json.dumps(asset).encode())


def _batch(second: int, vibration: float, *, state: int = 4, sequence: int | None = None) -> Record:
    time = START + second * SECOND
    samples = [
        Sample(STATE, state, ValueType.INT64, time, time),
        Sample(VIBRATION, vibration, ValueType.DOUBLE, time, time),
    ]
    batch = make_batch(
        samples, owner="c", gateway="g", boot=1, sequence=sequence or second + 1, line=LINE
    )
    return Record(SAMPLES.name, 0, second, 0, LINE.encode(), codec.encode(batch))


def _machines() -> Machines:
    machines = Machines(MaintenanceSettings())
    machines.learn(_asset(), START)
    return machines


def _run(machines: Machines, seconds: range, level: float, state: int = 4) -> list[str]:
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


def test_the_version_before_is_restored_and_saved_in_parts() -> None:
    def after(machines: Machines) -> tuple[list[str], object]:
        types = _run(machines, range(300, 400), 8.0)
        return types, json.dumps(machines.changed(), sort_keys=True)

    machines, restored = _machines(), _machines()
    _run(machines, range(0, 300), 2.0)
    line = machines._lines[LINE]
    kept = {
        name: getattr(line.machines["unit-1"], name)
        for name in ("state", "state_time", "newest", "minute", "over_since", "calm_since")
    }
    state = line.machines["unit-1"]
    signals = {
        name: [s.smoothed, s.time, s.training, s.median, s.deviation]
        for name, s in state.signals.items()
    }
    told = {"told_index": state.published_index, "told_at": state.published_at}
    case = {"case": state.case, "case_opened_at": state.case_opened_at}
    machine = {**kept, **told, **case, "signals": signals}
    before = {"seen": line.seen.runs, "machines": {"unit-1": machine}}
    restored.restore({LINE: json.loads(json.dumps(before))})
    assert after(restored) == after(machines)
