"""A live picture of as many machines as wanted: copies of the pilot plant's lines with all of their
signals. Used by the bench `plant_page_1000` and by unit tests of the pages.

States are shuffled, alarms are spread over the lines, and values come report-by-exception: after
each machine's first report every batch carries a random few of the line's signals.
"""

from __future__ import annotations

import random
from pathlib import Path

from aurelian.model.machine_states import PackMl
from aurelian.model.plant import Line, Plant
from aurelian.model.plant_file import load_plants
from aurelian.model.plant_parts import LineState, Role
from aurelian.model.sample import Sample, Value, ValueType, make_batch
from dashboard.live import LivePlant

PLANTS = Path(__file__).parent.parent / "services" / "pilot_factory" / "plants"
ROUNDS = 4
"""Batches of each line after its first report."""

WEEK = "2027-01-11"
NOW_MS = 1_800_000_000_000
"""A Friday of that week."""


def make_plants(machines: int) -> list[Plant]:
    """Copies of the pilot plant's first site, each with areas of its own, until there are at least
    so many machines."""
    model = load_plants(PLANTS)[0]
    each = sum(1 for _ in model.units())
    return [
        model.model_copy(
            update={
                "site": f"{model.site}-{number // 25}",
                "areas": [
                    area.model_copy(update={"name": f"{area.name}-{number}"})
                    for area in model.areas
                ],
            }
        )
        for number in range(-(-machines // each))
    ]


def make_live_plant(machines: int, now_ms: int = NOW_MS, seed: int = 1) -> LivePlant:
    """The picture at `now_ms`: every twentieth line is silent, every fifth has alarms."""
    random_ = random.Random(seed)
    live = LivePlant()
    plants = make_plants(machines)
    assets = [asset for plant in plants for asset in plant.assets()]
    random_.shuffle(assets)
    for asset in assets:
        live.put_asset(asset)
    lines = [line for plant in plants for line in plant.lines()]
    random_.shuffle(lines)
    for number, line in enumerate(lines):
        silent = number % 20 == 0
        _report(live, line, now_ms - (60_000 if silent else 500), random_)
        _judge(live, line, now_ms, random_)
        if number % 5 == 0:
            _raise_alarms(live, line, now_ms, random_)
    return live


def _report(live: LivePlant, line: Line, at_ms: int, random_: random.Random) -> None:
    declared = [
        (signal, model)
        for unit in line.units
        for signal, model in zip(unit.signals(), unit.model.signals, strict=True)
    ]
    for round_ in range(ROUNDS + 1):
        chosen = declared if round_ == 0 else random_.sample(declared, len(declared) // 5)
        time_us = (at_ms - (ROUNDS - round_) * 1000) * 1000
        samples = [
            Sample(signal, _value(signal.type, model.role, random_), signal.type, time_us, time_us)
            for signal, model in random_.sample(chosen, len(chosen))
        ]
        batch = make_batch(
            samples,
            owner=line.plant.owner,
            gateway="gateway",
            boot=1,
            sequence=round_ + 1,
            line=line.path,
        )
        live.apply_batch(batch, at_ms)


def _value(kind: ValueType, role: Role, random_: random.Random) -> Value:
    if role is Role.STATE:
        state = PackMl(random_.choice((2, 4, 5, 6, 9, 10, 11)))
        return state.name.capitalize() if kind is ValueType.TEXT else int(state)
    match kind:
        case ValueType.TEXT:
            return random_.choice(("shaft-40", "shaft-55"))
        case ValueType.BOOL:
            return random_.random() < 0.5
        case ValueType.INT64 | ValueType.UINT64:
            return random_.randrange(10_000)
        case _:
            return random_.gauss(60, 20)


def _judge(live: LivePlant, line: Line, now_ms: int, random_: random.Random) -> None:
    """What line_health, maintenance and capacity said of the line."""
    live.findings.put_state(
        {
            "line": line.id,
            "state": str(random_.choice(list(LineState))),
            "unit": line.constraint.id,
            "reason": random_.choice(("", "Jam", "Tool breakage")),
            "since": now_ms - random_.randrange(7_200_000),
        }
    )
    live.findings.put_kpi(
        {
            "line": line.id,
            "shift": "late",
            "shift_start": now_ms - 18_000_000,
            "shift_end": now_ms + 10_800_000,
            "good": float(random_.randrange(2000, 3100)),
            "scrap": float(random_.randrange(60)),
            "target": 2906.0,
            "availability": random_.random(),
            "effectiveness": random_.random(),
            "quality": random_.random(),
            "oee": random_.random(),
            "planned_busy_s": 18_000.0,
            "production_s": 15_000.0,
            "no_data_s": 0.0,
            "computed_at": now_ms - 30_000,
        }
    )
    live.findings.put_capacity(
        {
            "line": line.id,
            "week_start": WEEK,
            "total": 100_800.0,
            "available": float(random_.randrange(60_000)),
            "committed": 30_000.0,
            "unattainable": 10_000.0,
            "unit": "piece",
            "revision": 1,
            "p10": None,
            "p90": None,
        }
    )
    for unit in line.units:
        live.findings.put_health(
            {
                "asset": unit.id,
                "index": random_.random(),
                "score": random_.random(),
                "drivers": [],
                "at": now_ms - 60_000,
            }
        )


def _raise_alarms(live: LivePlant, line: Line, now_ms: int, random_: random.Random) -> None:
    for number in range(random_.randrange(1, 4)):
        signal = random_.choice(list(random_.choice(line.units).signals()))
        live.findings.raise_alarm(
            {
                "id": f"{line.id}-{number}",
                "asset": signal.asset,
                "line": line.path,
                "signal": signal.id,
                "priority": random_.choice(("high", "medium", "low")),
                "message": f"{signal.path.rpartition('/')[2]} is above its limit",
                "action": "Look at the machine",
                "value": 91.5,
                "limit": 90.0,
                "raised_at": now_ms - random_.randrange(3_600_000),
            }
        )
