"""Figures of line_health against the tests' SQL over the same raw rows: states, silences, data that
were held back by the gateway or waited in a queue, counters that reset and take back."""

from __future__ import annotations

from collections.abc import Iterator
from random import Random

import psycopg
import pytest

from aurelian.db.engine import connect
from aurelian.model.machine_states import PackMl
from aurelian.model.sample import Sample, ValueType
from aurelian.model.time import to_datetime
from line_health.past import read_past
from tests.independent.shift_figures import recompute
from tests.linerig import Rig, make_plant, us

WEEK = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
SHIFT = {
    "name": "early",
    "start": "07:00",
    "end": "09:00",
    "days": WEEK,
    "breaks": [{"start": "07:20", "minutes": 5}, {"start": "07:50", "minutes": 3}],
}
STATES = (PackMl.EXECUTE, PackMl.EXECUTE, PackMl.EXECUTE, PackMl.ABORTED, PackMl.HELD, PackMl.IDLE)


@pytest.mark.parametrize("seed", (0, 1, 2, 3, 4, 8, 14, 32, 42, 43))
def test_figures_equal_those_of_the_raw_rows(database_url: str, seed: int) -> None:
    rig = Rig(make_plant([SHIFT]), beats=False)
    sent: list[Sample] = []
    for now, record in life(Random(seed), rig, sent):
        if record:
            rig.fold(rig.record(record), now)
        rig.tick(now)
    row = rig.kpis()[-1]
    assert row.no_data_s > 20 and row.production_s > 600 and row.good > 100
    with psycopg.connect(database_url, autocommit=True) as conn:
        store(conn, rig, sent)
        (line,) = rig.plant.lines()
        computed = recompute(conn, line, row.computed_at)
    for name in ("planned_busy_s", "production_s", "no_data_s", "good", "scrap"):
        assert getattr(row, name) == pytest.approx(getattr(computed, name), abs=1e-3), name
    for name in ("availability", "effectiveness", "quality", "oee"):
        assert getattr(row, name) == pytest.approx(getattr(computed, name), abs=1e-6), name


def life(random: Random, rig: Rig, sent: list[Sample]) -> Iterator[tuple[float, list[Sample]]]:
    """An hour of a line: (now, batch) in the order in which line_health gets them. A batch is late
    where the gateway held it back, its samples where they waited for the gateway."""
    machine = Machine(random, rig)
    at = 0.0
    yield at, keep(sent, machine.all(at, at))
    while at < 3600:
        match random.choice(("live", "live", "live", "silent", "held_back", "queued")):
            case "live":
                for _ in range(random.randrange(20, 200)):
                    at += random.choice((0.5, 1.0, 1.0, 8.0))
                    yield at, keep(sent, machine.some(at, at))
            case "silent":
                for _ in range(random.randrange(10, 150)):
                    at += 1
                    yield at, []
                yield at, keep(sent, machine.all(at, at))
            case "held_back":
                batches = []
                for _ in range(random.randrange(10, 100)):
                    at += 1
                    batches.append(keep(sent, machine.some(at, at)))
                    yield at, []
                for batch in batches:
                    yield at, batch
            case _:
                times = []
                for _ in range(random.randrange(10, 100)):
                    at += 1
                    times.append(at)
                    yield at, []
                yield at, keep(sent, [s for then in times for s in machine.some(then, at)])
    for _ in range(12):
        at += 1
        yield at, keep(sent, machine.some(at, at))


def keep(sent: list[Sample], samples: list[Sample]) -> list[Sample]:
    """Note what was sent."""
    sent += samples
    return samples


class Machine:
    """A machine that makes a piece every six seconds while it runs, and says what changed."""

    def __init__(self, random: Random, rig: Rig) -> None:
        self.random, self.rig = random, rig
        self.state, self.good, self.scrap, self.made_at = PackMl.EXECUTE, 120_000, 40, 0.0

    def all(self, at: float, received: float) -> list[Sample]:
        """All that it has to say."""
        values = {
            "mill/state": int(self.state),
            "wash/good": self.good,
            "wash/scrap": self.scrap,
            "mill/speed": 900.0,
        }
        return [self.rig.sample(at, *each, received=received) for each in values.items()]

    def some(self, at: float, received: float) -> list[Sample]:
        """What changed; its speed always."""
        changed: dict[str, float | int] = {"mill/speed": 900 + self.random.random()}
        if self.random.random() < 0.03:
            self.state = self.random.choice(STATES)
            changed["mill/state"] = int(self.state)
        if self.state is PackMl.EXECUTE and at - self.made_at >= 6:
            self.made_at = at
            self.good += 1
            changed["wash/good"] = self.good
            if self.random.random() < 0.05:
                self.good, self.scrap = self.good - 1, self.scrap + 1
                changed |= {"wash/good": self.good, "wash/scrap": self.scrap}
            # Not within the first pieces: a 0 between 1 and 1 may be a fault or a reset.
            if self.good > 20 and self.random.random() < 0.01:
                self.good = 0  # switched off and on
                changed["wash/good"] = self.good
        return [self.rig.sample(at, *each, received=received) for each in changed.items()]


def store(conn: psycopg.Connection, rig: Rig, sent: list[Sample]) -> None:
    """Write the samples as the historian does."""
    keys = {}
    for name, signal in rig.signals.items():
        row = conn.execute(
            "INSERT INTO historian.signal (id, owner, asset, path, name, type, unit, role, source, "
            "discovered, limits, changed_at) VALUES (%s, 'pilot-a', %s, %s, %s, %s, '', 'other', "
            "'s', false, '{}', now()) RETURNING key",
            (signal.id, signal.asset, signal.path, name, int(signal.type)),
        ).fetchone()
        assert row is not None
        keys[signal.id] = row[0]
    with (
        conn.cursor() as cursor,
        cursor.copy(
            "COPY historian.sample_number (signal, time, sub, gateway_time, status, flags, type, "
            "value) FROM STDIN"
        ) as copy,
    ):
        for sample in sent:
            assert isinstance(sample.value, int | float)
            at, received = to_datetime(sample.time), to_datetime(sample.gateway_time)
            key, kind = keys[sample.signal.id], int(ValueType.DOUBLE)
            copy.write_row((key, at, 0, received, 0, 0, kind, float(sample.value)))


async def test_totals_count_once_the_states_of_their_time_are_there(database_url: str) -> None:
    rig = Rig(make_plant([SHIFT]))
    rig.heard = 600
    rig.send(600, "mill/state", int(PackMl.EXECUTE))
    rig.send(600, "wash/good", 560)
    (gap,) = rig.lines.gaps(us(600))
    samples = [rig.sample(at, "wash/good", 500 + at // 10) for at in range(1, 600, 10)]
    async with await connect(database_url, autocommit=True) as conn:
        with psycopg.connect(database_url, autocommit=True) as owner:
            store(owner, rig, samples)
            past = await read_past(conn, gap)
            assert (past.counted_from, past.pieces, past.spans) == (0, [], ())
            owner.execute(
                "INSERT INTO line_health.line_state (line, started_at, ended_at, owner, state, "
                "unit, reason) VALUES (%s, %s, NULL, 'pilot-a', 'running', NULL, '')",
                (gap.line, to_datetime(us(-50))),
            )
            past = await read_past(conn, gap)
    assert past.counted_from == us(1) and sum(pieces for _, pieces, *_ in past.pieces) == 60
    assert [(s.start, s.end, s.state) for s in past.spans] == [(us(0), us(600), "running")]
