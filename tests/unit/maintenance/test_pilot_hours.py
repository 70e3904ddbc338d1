"""An hour of the pilot's machines through the detector: its jams, breakages and changes of product
open no case; a bearing that wears a thousand times faster does."""

from __future__ import annotations

from pathlib import Path

import pytest

from aurelian.backbone.topics import ASSETS, SAMPLES
from aurelian.events.schemas import MAINTENANCE_CASE_OPENED
from aurelian.model import codec
from aurelian.model.machine_states import PackMl
from aurelian.model.plant_file import load_plant
from aurelian.model.record import Record
from aurelian.model.sample import Sample, make_batch
from maintenance.machines import Machines, MaintenanceRow
from maintenance.settings import MaintenanceSettings
from pilot_factory.physics import Reason
from pilot_factory.simulation import SimulatedLine, simulate_lines
from tests.long_tests import seeds

PLANTS = Path(__file__).parents[3] / "services" / "pilot_factory" / "plants"
START = 1_795_500_000_000_000  # a Tuesday, 06:00 UTC
SECOND = 1_000_000
HOUR_S = 3600


class Pilot:
    """The pilot's lines in fast motion, one batch a line and second, and the worker's fold."""

    def __init__(self, seed: str, *, behind_s: float = 0.0) -> None:
        plants = [load_plant(path) for path in sorted(PLANTS.glob("pilot-*.yaml"))]
        self.lines = simulate_lines(plants, seed)
        self.machines = Machines(MaintenanceSettings())
        self.opened: list[tuple[str, object]] = []
        self.rows: list[MaintenanceRow] = []
        self.second = 0
        self.behind_us = int(behind_s * SECOND)
        for plant in plants:
            for asset in plant.assets():
                record = Record(ASSETS.name, 0, 0, 0, asset.id.encode(), asset.encode())
                self.machines.learn(record, START)

    def run(self, seconds: int) -> None:
        """Let time pass; only what is new is sent, as its source would."""
        for _ in range(seconds):
            self.second += 1
            now = START + self.second * SECOND
            for line in self.lines:
                self._send(line, now)
            effects = self.machines.tick(now)
            self.rows += effects.rows
            for out in effects.events:
                if out.event.type == MAINTENANCE_CASE_OPENED:
                    self.opened.append((str(out.event.data["asset"]), out.event.data["reason"]))

    def _send(self, line: SimulatedLine, now: int) -> None:
        line.step(1.0, now)
        samples = [
            Sample(
                m.signal.signal,
                m.value,
                m.signal.signal.type,
                m.source_time - self.behind_us,
                now,
            )
            for m in line.measure(now, everything=self.second == 1)
        ]
        path, owner = line.asset.path, line.asset.plant.owner
        batch = make_batch(
            samples, owner=owner, gateway="g", boot=1, sequence=self.second, line=path
        )
        self.machines.fold(
            Record(SAMPLES.name, 0, self.second, 0, path.encode(), codec.encode(batch)), now
        )


@pytest.mark.parametrize("seed", seeds(usual=1, long=5))
def test_an_hour_of_healthy_machines_opens_no_case(seed: int) -> None:
    pilot = Pilot(str(seed))
    pilot.run(HOUR_S)
    assert pilot.opened == []
    judged = {row.values["asset"] for row in pilot.rows if row.table == "health"}
    assert len(judged) > 8, "most machines have learned their baseline"


@pytest.mark.parametrize("seed", seeds(usual=1, long=2))
def test_a_bearing_that_wears_a_thousand_times_faster_opens_a_case_with_its_reason(
    seed: int,
) -> None:
    pilot = Pilot(str(seed))
    pilot.run(900)
    line = pilot.lines[0]
    at = next(i for i, m in enumerate(line.machines) if m.state is PackMl.EXECUTE and m.wear < 0.6)
    machine, path = line.machines[at], line.units[at].path
    machine.wear_factor = 1000.0
    for _ in range(300):
        pilot.run(1)
        if machine.reason is Reason.BEARING_FAILURE:
            break
    pilot.run(10)
    assert [name for name, _ in pilot.opened] == [path]
    assert "vibration" in str(pilot.opened[0][1])
    written = [row.values["reason"] for row in pilot.rows if row.table == "case"]
    assert "Bearing failure" in str(written[-1])


def test_a_machine_whose_clock_is_a_minute_slow_is_judged() -> None:
    pilot = Pilot("1", behind_s=60.0)
    pilot.run(900)
    assert {row.values["asset"] for row in pilot.rows if row.table == "health"}
    assert pilot.opened == []
