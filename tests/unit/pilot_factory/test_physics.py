"""The pilot plant's machines: pieces are conserved, the same seed gives the same day, machines wait
for each other."""

import random
from datetime import datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import pilot_factory
from aurelian.model.machine_states import PackMl
from aurelian.model.plant_file import PlantError, load_plant, load_plants
from pilot_factory.physics import Line, Parameters, Reason
from pilot_factory.simulation import simulate_lines

PLANTS = Path(pilot_factory.__file__).parent / "plants"

lively = st.builds(
    Parameters,
    cycle_s=st.floats(0.5, 20),
    jitter=st.floats(0, 0.3),
    scrap_rate=st.floats(0, 1),
    buffer=st.integers(1, 10),
    bearing_life_h=st.floats(0.01, 10),
    micro_stops_per_h=st.floats(0, 60),
    stops_per_h=st.floats(0, 20),
)


@settings(max_examples=40, deadline=None)
@given(
    machines=st.lists(lively, min_size=1, max_size=5),
    steps=st.lists(st.tuples(st.floats(0, 30), st.booleans()), max_size=50),
    seed=st.integers(),
)
def test_pieces_in_are_pieces_out_scrap_and_in_the_line(
    machines: list[Parameters], steps: list[tuple[float, bool]], seed: int
) -> None:
    line = Line(machines, str(seed), cycle_factors=(1.0, 1.3), changes_per_h=20, setup_s=20)
    for dt, planned in steps:
        line.step(dt, planned=planned)
        assert line.fed == line.finished + line.scrapped + line.held
        assert (
            line.finished
            == line.machines[-1].good - line.machines[-1].holding * line.machines[-1]._waits
        )
        assert all(0 <= m.buffer <= m.parameters.buffer for m in line.machines)


def test_the_same_seed_gives_the_same_day_and_another_seed_another() -> None:
    def day(seed: str) -> list[tuple[object, ...]]:
        line = Line([Parameters()] * 3, seed)
        out = []
        for _ in range(500):
            line.step(5)
            out.append(
                tuple((m.good, m.state, m.power_kw, m.vibration_mm_s) for m in line.machines)
            )
        return out

    assert day("a") == day("a")
    assert day("a") != day("b")


def test_a_stopped_machine_starves_what_follows_and_blocks_what_comes_before() -> None:
    quiet = Parameters(
        micro_stops_per_h=0, stops_per_h=0, bearing_life_h=1e6, scrap_rate=0, buffer=4
    )
    line = Line([quiet] * 3, "x")
    line.step(60)
    line.machines[1].stop(600, PackMl.STOPPED, Reason.STOPPED_BY_HAND)
    for _ in range(120):
        line.step(1)
    states = [(m.state, m.reason) for m in line.machines]
    assert states == [
        (PackMl.SUSPENDED, Reason.BLOCKED),
        (PackMl.STOPPED, Reason.STOPPED_BY_HAND),
        (PackMl.SUSPENDED, Reason.STARVED),
    ]
    line.machines[1].release()
    for _ in range(60):
        line.step(1)
    assert [m.state for m in line.machines] == [PackMl.EXECUTE] * 3


def test_fast_wear_raises_vibration_until_the_bearing_fails_within_a_minute() -> None:
    line = Line([Parameters(micro_stops_per_h=0, stops_per_h=0)], "x")
    machine = line.machines[0]
    machine.wear, machine.wear_factor = 0.0, 1000.0
    seen = []
    for _ in range(60):
        line.step(1)
        seen.append(machine.vibration_mm_s)
        if machine.state is PackMl.ABORTED:
            break
    assert (machine.state, machine.reason) == (PackMl.ABORTED, Reason.BEARING_FAILURE)
    assert max(seen) > 4 * seen[0]
    while machine.state is not PackMl.EXECUTE:
        line.step(10)
    assert machine.wear < 0.01 and machine.wear_factor == 1.0


def test_temperature_rises_at_work_and_falls_at_rest() -> None:
    quiet = Parameters(micro_stops_per_h=0, stops_per_h=0, bearing_life_h=1e6, warm_up_s=100)
    line = Line([quiet], "x")
    machine = line.machines[0]
    line.step(2000)
    warm = machine.temperature_c
    assert warm == pytest.approx(quiet.ambient_c + quiet.rise_c, abs=3)  # its bearing is not new
    machine.stop(3000, PackMl.STOPPED, Reason.STOPPED_BY_HAND)
    for _ in range(100):
        line.step(10)
    assert machine.temperature_c == pytest.approx(quiet.ambient_c, abs=0.1)
    assert machine.power_kw == pytest.approx(quiet.idle_kw, rel=0.2)


def test_throughput_is_that_of_the_slowest_machine() -> None:
    quiet = {"micro_stops_per_h": 0, "stops_per_h": 0, "bearing_life_h": 1e6, "scrap_rate": 0}
    line = Line([Parameters(cycle_s=c, **quiet) for c in (4, 6, 5)], "x")
    line.step(6000, resolution_s=1)
    assert line.finished == pytest.approx(1000, rel=0.02)


def test_the_step_size_does_not_change_the_throughput() -> None:
    def finished(dt: float) -> int:
        line = Line([Parameters(), Parameters(cycle_s=5.5)], "x")
        for _ in range(int(36_000 / dt)):
            line.step(dt, resolution_s=2)
        return line.finished

    assert finished(10) == pytest.approx(finished(1), rel=0.05)


def test_a_machine_finishes_its_piece_before_a_break() -> None:
    line = Line([Parameters(micro_stops_per_h=0, stops_per_h=0)], "x")
    line.step(3)
    line.step(20, planned=False)
    assert line.machines[0].state is PackMl.IDLE
    assert line.held == 0


def test_the_pilot_plants_have_two_companies_three_lines_and_eleven_machines_of_ten_signals() -> (
    None
):
    plants = load_plants(PLANTS)
    assert {plant.owner for plant in plants} == {"pilot-a", "pilot-b"}
    lines = simulate_lines(plants, "x")
    assert len(lines) == 3
    assert sum(len(line.units) for line in lines) == 11
    assert all(len(unit.model.signals) >= 10 for line in lines for unit in line.units)
    assert {source.kind for plant in plants for source in plant.sources} == {
        "opcua",
        "sparkplug",
        "mqtt_json",
    }


def test_every_reason_that_a_machine_gives_has_a_name_in_the_plant_model() -> None:
    for plant in load_plants(PLANTS):
        assert {reason.code for reason in plant.stop_reasons} == {int(r) for r in Reason if r}


def test_only_what_changed_is_measured_beside_the_steady_signals() -> None:
    line = simulate_lines([load_plant(PLANTS / "pilot-a.yaml")], "x")[0]
    line.step(0, 0)
    everything = line.measure(0)
    assert len(everything) == sum(len(unit.model.signals) for unit in line.units)
    again = line.measure(1_000_000)
    assert {each.signal.model.name for each in again} == {
        "power",
        "energy",
        "current",
        "temperature",
        "vibration",
    }
    assert len(line.measure(2_000_000, everything=True)) == len(everything)


def test_a_simulate_entry_that_nobody_knows_is_named(tmp_path: Path) -> None:
    text = (PLANTS / "pilot-b.yaml").read_text().replace("run_kw: 15", "run_kilowatt: 15")
    file = tmp_path / "plant.yaml"
    file.write_text(text)
    with pytest.raises(PlantError, match=r"press-1.*'run_kilowatt' is not known"):
        simulate_lines([load_plant(file)], "x")


def test_machines_are_idle_in_a_break_of_their_calendar_and_go_on_after_it() -> None:
    (line,) = simulate_lines([load_plant(PLANTS / "pilot-b.yaml")], "x")
    start = datetime(2026, 11, 22, 9, 50, tzinfo=line.asset.plant.zone)
    idle = []
    for second in range(0, 1800, 5):
        at = start + timedelta(seconds=second)
        line.step(5, int(at.timestamp()) * 1_000_000)
        if line.machines[0].state is PackMl.IDLE:
            idle.append(at.strftime("%H:%M"))
    assert idle[0] == "10:00" and idle[-1] == "10:09"


def test_a_machine_never_gives_a_number_that_is_none() -> None:
    rng = random.Random(1)
    line = Line([Parameters(stops_per_h=30, micro_stops_per_h=60)] * 4, "x")
    for _ in range(500):
        line.step(rng.uniform(0, 20), planned=rng.random() > 0.1)
        for m in line.machines:
            assert m.power_kw >= 0 and m.vibration_mm_s > 0 and -50 < m.temperature_c < 150
            assert isinstance(m.good, int) and 0 <= m.wear < 1
