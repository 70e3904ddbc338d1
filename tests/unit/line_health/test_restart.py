"""A crash at any moment: what was committed and the records after it give the rows, the events and
the state of one uninterrupted run."""

import json
from collections.abc import Callable
from dataclasses import asdict
from random import Random
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from aurelian.fold.contract import State
from aurelian.model.machine_states import PackMl
from aurelian.model.sample import BAD, Flag
from line_health.line_status import LineStatus
from line_health.rows import LineRow
from tests.linerig import LINE, Rig, make_plant

Step = Callable[[Rig], None]

PLANT = make_plant(
    [
        {
            "name": name,
            "start": start,
            "end": end,
            "days": ["mon", "tue"],
            "breaks": [{"start": pause, "minutes": 2}],
        }
        for name, start, end, pause in (
            ("early", "07:00", "07:20", "07:10"),
            ("late", "07:20", "09:00", "07:30"),
        )
    ],
    {"high": 80, "deadband": 2, "delay_s": 5, "action": "Look."},
)
STATES = (PackMl.EXECUTE, PackMl.EXECUTE, PackMl.ABORTED, PackMl.SUSPENDED, PackMl.HELD)
COMMIT = "commit"


@settings(max_examples=100, deadline=None)
@given(seed=st.integers(0, 2**32), crashes=st.sets(st.integers(1, 79), min_size=1, max_size=4))
def test_a_crash_at_any_moment_changes_nothing(seed: int, crashes: set[int]) -> None:
    steps = make_steps(Random(seed), 80)
    assert run(steps, crashes) == run(steps, set())


def test_the_version_before_is_restored_and_saved_in_parts() -> None:
    steps = make_steps(Random(7), 60)
    rig = Rig(PLANT, beats=False)
    for step in steps:
        if not isinstance(step, str):
            step(rig)
    live = rig.lines.watched[LINE]
    before = asdict(live.status)
    for name in ("received_at", "changed", "saved_signals"):
        del before[name]
    before["mark"] = before.pop("time_passed")
    before["kpi_told_at"] = before.pop("kpi_published_at")
    whole: State = json.loads(json.dumps({"memory": before, "seen": live.seen.runs}))
    restored, seen = LineStatus.restore(whole)
    assert seen == live.seen
    parts = json.loads(json.dumps(restored.unsaved_parts(seen)))
    again, _ = LineStatus.restore(whole | parts)
    assert _comparable(again) | {"received_at": 0} == _comparable(live.status) | {"received_at": 0}


def test_a_batch_without_news_for_the_line_writes_only_what_was_seen() -> None:
    rig = Rig(PLANT)
    rig.send(0, "mill/state", int(PackMl.EXECUTE))
    rig.send(1, "mill/temperature", 20.0)
    rig.tick(2)
    assert set(rig.lines.changed()[LINE]) == {"seen", "memory", "signals"}
    rig.send(3, "mill/speed", 1500.0)
    rig.send(3, "mill/temperature", 21.0)
    assert set(rig.lines.changed()[LINE]) == {"seen"}
    rig.send(4, "mill/state", int(PackMl.ABORTED))
    assert set(rig.lines.changed()[LINE]) == {"seen", "memory"}
    rig.tick(4)
    assert rig.lines.changed() == {}


def make_steps(random: Random, count: int) -> list[Step | str]:
    """Batches, signs of life, time and commits, in an order and at times that the seed chooses."""
    maker = Rig(PLANT, beats=False)
    steps: list[Step | str] = []
    at = 0.0
    for _ in range(count):
        at += random.choice((0.1, 0.5, 1.0, 3.0, 12.0, 45.0, 130.0))
        match random.choice(("batch", "batch", "batch", "tick", "tick", "hear", "die", COMMIT)):
            case "batch":
                samples = [_sample(random, maker, at) for _ in range(random.randrange(1, 6))]
                record = maker.record(samples)
                steps.append(lambda rig, record=record, now=at: rig.fold(record, now))
                if random.random() < 0.1:
                    steps.append(steps[-1])  # sent again
            case "tick":
                steps.append(lambda rig, now=at: rig.tick(now))
            case "hear":
                units = random.choice(((), ("mill",), ("saw", "wash")))
                steps.append(lambda rig, now=at, units=units: rig.hear(now, *units))
            case "die":
                units = random.choice(((), ("mill",)))
                steps.append(lambda rig, now=at, units=units: rig.die(now, *units))
            case _:
                steps.append(COMMIT)
    return [*steps, COMMIT]


def run(
    steps: list[Step | str], crashes: set[int]
) -> tuple[list[LineRow], list[Any], dict[str, object]]:
    """Committed rows, committed events, and the state at the end. Each crash comes once, after that
    many steps, and loses what was not committed."""
    rig, done, committed = Rig(PLANT, beats=False), 0, 0
    rows: list[LineRow] = []
    events: list[Any] = []
    states: dict[str, State] = {}
    memory: State = {}
    left = set(crashes)
    while done < len(steps):
        step = steps[done]
        done += 1
        if isinstance(step, str):
            rows, events = [*rows, *rig.rows], [*events, *rig.events]
            rig.rows, rig.events = [], []
            for key, parts in json.loads(json.dumps(rig.lines.changed())).items():
                states.setdefault(key, {}).update(parts)
            memory, committed = json.loads(json.dumps(rig.lines.memory())), done
        else:
            step(rig)
        if done in left:
            left.remove(done)
            rig, done = Rig(PLANT, beats=False), committed
            rig.lines.recall(json.loads(json.dumps(memory)))
            rig.lines.restore(json.loads(json.dumps(states)))
    watched = rig.lines.watched.get(LINE)
    return rows, events, {} if watched is None else _comparable(watched.status)


def _sample(random: Random, rig: Rig, at: float) -> Any:
    unit = random.choice(("saw", "mill", "mill", "mill", "wash"))
    name, value = random.choice(
        (
            ("state", int(random.choice(STATES))),
            ("reason", random.choice((0, 20, 30, 40, 50))),
            ("waiting", random.randrange(3)),
            ("good", random.randrange(50)),
            ("scrap", random.randrange(5)),
            ("cycle", random.uniform(4, 9)),
            ("product", random.choice(("shaft", "axle"))),
            ("speed", 1500.0),
            ("temperature", random.choice((20.0, 79.0, 85.0, 95.0))),
        )
    )
    more: dict[str, Any] = {}
    if random.random() < 0.1:
        more["status"] = BAD
    if random.random() < 0.05:
        more["flags"] = Flag.HISTORICAL
    sent = at - random.choice((0.0, 0.0, 0.0, 0.4, 20.0))
    return rig.sample(sent, f"{unit}/{name}", value, received=at, **more)


def _comparable(status: LineStatus) -> dict[str, Any]:
    """All but how it is saved, and what an alarm keeps that neither stands nor comes."""
    kept = {**asdict(status), "changed": False, "saved_signals": ()}
    for alarm in kept["alarms"].values():
        if not alarm["raised_at"]:
            alarm |= {"raised_value": 0.0, "calm_since": 0}
            if not alarm["beyond_since"]:
                alarm |= {"value": 0.0, "limit": 0.0}
    return kept
