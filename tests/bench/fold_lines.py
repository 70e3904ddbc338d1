"""Benchmark `fold_lines`: how many lines `line_health` folds on one core.

`LINES` lines of four machines with 12 signals each, as those of the pilot plant. Each machine
reports once a second at a phase of its own what changed: state, stop reason, counters, cycle,
buffer and process values, of which two have limits. A gateway sends a batch a line every 250 ms
where there is something (the default publishing interval): so 2.7 batches a line and second, with
another choice of signals each time, in random order. They go through Kafka to a real
`python -m line_health` with the commit interval of production, and a PostgreSQL with fsync on.
After a warm-up the CPU time is taken for `SECONDS` and until all is folded; `value` is lines per
core of the process. The CPU time of PostgreSQL for the same commits is beside it.
"""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import psycopg

from aurelian.backbone.client import Producer
from aurelian.backbone.topics import ASSETS, SAMPLES, SOURCE_EVENTS, create_topics
from aurelian.db.engine import as_role
from aurelian.db.logs import declare_log
from aurelian.db.migrate import upgrade
from aurelian.model import codec
from aurelian.model.machine_states import PackMl
from aurelian.model.plant import Plant
from aurelian.model.sample import Sample, Signal, Value, ValueType, make_batch
from aurelian.model.time import now_us
from aurelian.runtime.settings import KafkaSettings
from tests import servers
from tests.bench.framework import cpu_and_memory, say

LINES = int(os.environ.get("BENCH_LINES", "1000"))
SECONDS = float(os.environ.get("BENCH_SECONDS", "30"))
WARM_UP_S = 8.0
LINES_PER_AREA = 20
UNITS = ("saw", "mill", "wash", "pack")
PUBLISHES = 4
"""Batches that a line may send in a second."""

SLOTS = 20
"""A second has so many slots; each line sends in `PUBLISHES` of them."""

HEARTBEAT_EVERY_S = 5
CYCLE_S = 6
TARGET = 2000

_KIND = {int: ValueType.INT64, float: ValueType.DOUBLE}


def run() -> Iterator[dict[str, object]]:
    """Yield the one result."""
    plant = make_plant(LINES)
    with servers.postgres_server(durable=True) as postgres, servers.kafka_broker() as broker:
        url = postgres.create_database()
        upgrade(url)
        declare_log(url, "bench")
        asyncio.run(create_topics(broker.bootstrap))
        with tempfile.TemporaryDirectory(prefix="aurelian-bench-") as folder:
            log = Path(folder) / "line_health.log"
            process = _start(broker.bootstrap, url, log)
            try:
                used = asyncio.run(_feed(broker.bootstrap, url, plant, process.pid, postgres.pid))
                _, peak_mb = cpu_and_memory(process.pid)
            except BaseException:
                print(log.read_text()[-4000:], file=sys.stderr)
                raise
            finally:
                process.terminate()
                process.wait(20)
        folded, states, snapshot_bytes = _folded(url), *_written(url)
    # Line seconds, by what was sent: where this machine is too slow for the rate, it is lower.
    worked = LINES * SECONDS
    wal_bytes = used.wal_bytes / worked
    say(
        f"{LINES} lines for {used.seconds:.1f} s, {used.batches / worked:.2f} batches and"
        f" {used.samples / worked:.1f} samples a line and second: line_health used"
        f" {used.fold_cpu_s:.1f} s of CPU, PostgreSQL {used.store_cpu_s:.1f} s; all was folded"
        f" {used.lag_s:.1f} s after the last was sent; {wal_bytes:.0f} bytes of WAL a line and"
        f" second, snapshot of {snapshot_bytes:.0f} bytes a line, {states} states"
    )
    yield {
        "bench": "fold_lines",
        "value": round(worked / used.fold_cpu_s),
        "unit": "lines/core",
        "target": TARGET,
        "cpu_s": round(used.fold_cpu_s, 1),
        "peak_mb": round(peak_mb, 1),
        "samples": used.samples,
        "lost": used.sent - folded,
        "lines": LINES,
        "batches_per_line_s": round(used.batches / worked, 2),
        "lag_s": round(used.lag_s, 1),
        "postgres_cpu_s": round(used.store_cpu_s, 1),
        "lines_per_core_with_postgres": round(worked / (used.fold_cpu_s + used.store_cpu_s)),
        "wal_bytes_per_line_s": round(wal_bytes),
        "snapshot_bytes_per_line": round(snapshot_bytes),
        "store": "PostgreSQL 18, fsync on",
        "broker": "Apache Kafka 4.3",
    }


class _Used:
    """What was sent, and what the processes used for it, in the measured time."""

    sent = samples = batches = 0
    seconds = lag_s = fold_cpu_s = store_cpu_s = 0.0
    wal_bytes = 0


def make_plant(lines: int) -> Plant:
    """A plant of `lines` lines of `UNITS`, `LINES_PER_AREA` an area; one source per area."""
    week = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
    limits = {
        "high": 90,
        "low": 5,
        "deadband": 2,
        "delay_s": 2,
        "priority": "low",
        "action": "Look.",
    }
    signals: list[dict[str, object]] = [
        {"name": "state", "role": "state", "type": "int64"},
        {"name": "reason", "role": "stop_reason", "type": "int64"},
        {"name": "waiting", "role": "buffer", "type": "int64"},
        {"name": "good", "role": "good_count", "type": "int64"},
        {"name": "scrap", "role": "scrap_count", "type": "int64"},
        {"name": "cycle", "role": "cycle_time", "unit": "s"},
        {"name": "speed", "unit": "1/min"},
        {"name": "temperature", "role": "temperature", "unit": "Cel", "limits": limits},
        {
            "name": "vibration",
            "role": "vibration",
            "unit": "mm/s",
            "limits": {**limits, "low": None},
        },
        {"name": "current", "role": "current", "unit": "A"},
        {"name": "power", "role": "power", "unit": "kW"},
        {"name": "energy", "unit": "kW.h"},
    ]
    areas = range(-(-lines // LINES_PER_AREA))
    return Plant.model_validate(
        {
            "company": {"id": "bench", "name": "Bench"},
            "site": "site",
            "time_zone": "UTC",
            "sources": [
                {"id": f"source-{n}", "kind": "opcua", "url": f"opc.tcp://127.0.0.1:{10_000 + n}"}
                for n in areas
            ],
            "calendar": {
                "shifts": [{"name": "day", "start": "00:00", "end": "00:00", "days": week}]
            },
            "stop_reasons": [
                {"code": 20, "name": "Jam", "loss": "small_stop"},
                {"code": 30, "name": "Bearing failure", "loss": "breakdown"},
            ],
            "areas": [
                {
                    "name": f"area-{area}",
                    "lines": [
                        {
                            "name": f"line-{line}",
                            "constraint": "mill",
                            "output": "pack",
                            "products": [{"id": "shaft", "ideal_cycle_s": CYCLE_S}],
                            "units": [
                                {
                                    "name": unit,
                                    "title": unit.title(),
                                    "source": f"source-{area}",
                                    "signals": signals,
                                }
                                for unit in UNITS
                            ],
                        }
                        for line in range(LINES_PER_AREA)
                        if area * LINES_PER_AREA + line < lines
                    ],
                }
                for area in areas
            ],
        }
    )


class LineSource:
    """What one line's machines report: seeded, by exception, a batch for each second."""

    def __init__(self, path: str, signals: dict[str, list[Signal]], seed: int) -> None:
        """`signals`: unit name to its signals, named by the last part of their paths."""
        self.path, self.random = path, random.Random(seed)
        self.units = {
            unit: {signal.path.rpartition("/")[2]: signal for signal in own}
            for unit, own in signals.items()
        }
        self.phase = {unit: self.random.randrange(PUBLISHES) for unit in self.units}
        self.running = dict.fromkeys(self.units, True)
        self.stopped_for = dict.fromkeys(self.units, 0)
        self.good = dict.fromkeys(self.units, 0)
        self.second = dict.fromkeys(self.units, self.random.randrange(CYCLE_S))
        self.known: set[str] = set()
        self.sequence = 0

    def batch(self, publish: int) -> tuple[bytes, int] | None:
        """What the machines report at the `publish`-th moment of a second: bytes and number of
        samples; None where there is nothing."""
        values: list[tuple[Signal, Value]] = []
        for unit, signals in self.units.items():
            if self.phase[unit] == publish:
                values += [(signals[name], value) for name, value in self._changes(unit)]
        if not values:
            return None
        self.sequence += 1
        self.random.shuffle(values)
        now = now_us()
        samples = [
            Sample(signal, value, _KIND[type(value)], now - self.random.randrange(250_000), now)
            for signal, value in values
        ]
        batch = make_batch(
            samples, owner="bench", gateway="bench", boot=1, sequence=self.sequence, line=self.path
        )
        return codec.encode(batch), len(samples)

    def _changes(self, unit: str) -> Iterator[tuple[str, Value]]:
        chance = self.random.random
        self.second[unit] += 1
        if unit not in self.known:
            self.known.add(unit)
            yield from (("state", int(PackMl.EXECUTE)), ("scrap", 0))
        elif self.running[unit] and chance() < 1 / 60:
            self.running[unit], self.stopped_for[unit] = False, self.random.randrange(4, 15)
            yield "state", int(PackMl.HELD)
            yield "reason", self.random.choice((20, 30))
        elif not self.running[unit]:
            self.stopped_for[unit] -= 1
            if self.stopped_for[unit] <= 0:
                self.running[unit] = True
                yield "state", int(PackMl.EXECUTE)
                yield "reason", 0
        if self.running[unit] and self.second[unit] % CYCLE_S == 0:
            self.good[unit] += 1
            yield from (("good", self.good[unit]), ("cycle", CYCLE_S + chance()))
            yield "waiting", self.random.randrange(4)
        for name, level, share in _PROCESS_VALUES:
            if chance() < share:
                yield name, level + self.random.gauss(0, 1)


_PROCESS_VALUES = (
    ("speed", 1500.0, 0.6),
    ("temperature", 60.0, 0.5),
    ("vibration", 3.0, 0.9),
    ("current", 12.0, 0.9),
    ("power", 9.0, 0.9),
    ("energy", 100.0, 0.5),
)
"""Signal, level, and the share of the seconds in which its change is worth a report."""


def make_sources(plant: Plant) -> list[LineSource]:
    """One for each line of the plant."""
    by_line: dict[str, dict[str, list[Signal]]] = {}
    for unit in plant.units():
        signals = list(unit.signals())
        line, _, name = signals[0].path.rpartition("/")[0].rpartition("/")
        by_line.setdefault(line, {})[name] = signals
    return [LineSource(path, units, n) for n, (path, units) in enumerate(by_line.items())]


async def _feed(bootstrap: str, url: str, plant: Plant, fold: int, store: int) -> _Used:
    """Send at the rate of the lines; measure the processes `fold` and `store` after the warm-up."""
    settings = KafkaSettings(kafka_bootstrap=bootstrap, kafka_idempotent=False, kafka_timeout_s=30)
    lines = make_sources(plant)
    used, cpu_before, wal_before = _Used(), (0.0, 0.0), 0
    async with Producer(settings, "bench") as producer:
        futures = [await producer.post(ASSETS, a.id, a.encode()) for a in plant.assets()]
        await producer.settle(futures)
        futures, begin, measured_from = [], time.monotonic(), 0.0
        for slot in range(int((WARM_UP_S + SECONDS) * SLOTS)):
            await asyncio.sleep(max(begin + slot / SLOTS - time.monotonic(), 0))
            if not measured_from and slot >= WARM_UP_S * SLOTS:
                measured_from = time.monotonic()
                cpu_before = cpu_and_memory(fold)[0], _cpu_with_children(store)
                wal_before = _wal_position(url)
            if slot % (SLOTS * HEARTBEAT_EVERY_S) == 0:
                futures += [
                    await producer.post(SOURCE_EVENTS, source.key, _heartbeat(source.key))
                    for source in plant.sources
                ]
            publish, first = divmod(slot % SLOTS, SLOTS // PUBLISHES)
            for line in lines[first :: SLOTS // PUBLISHES]:
                made = line.batch(publish)
                if made is None:
                    continue
                data, samples = made
                futures.append(await producer.post(SAMPLES, line.path, data))
                used.sent += 1
                if measured_from:
                    used.batches += 1
                    used.samples += samples
            futures = [each for each in futures if not each.done()]
        await producer.settle(futures)
        used.seconds = time.monotonic() - measured_from
        while _folded(url) < used.sent:
            if time.monotonic() - measured_from > 4 * SECONDS + 60:
                raise TimeoutError(f"{_folded(url)} of {used.sent} batches folded")
            await asyncio.sleep(0.05)
        used.lag_s = time.monotonic() - measured_from - used.seconds
        used.fold_cpu_s = cpu_and_memory(fold)[0] - cpu_before[0]
        used.store_cpu_s = _cpu_with_children(store) - cpu_before[1]
        used.wal_bytes = _wal_position(url) - wal_before
    return used


def _heartbeat(source: str) -> bytes:
    now = now_us()
    return codec.encode_event(
        codec.SourceEvent(
            owner="bench",
            gateway="bench",
            boot=1,
            source=source,
            time=now,
            heartbeat=codec.Heartbeat(heard_at=now),
        )
    )


def _start(bootstrap: str, url: str, log: Path) -> subprocess.Popen[bytes]:
    env = {
        **os.environ,
        "AURELIAN_KAFKA_BOOTSTRAP": bootstrap,
        "AURELIAN_KAFKA_IDEMPOTENT": "0",
        "AURELIAN_FOLD_EXCLUSIVE": "1",
        "AURELIAN_DATABASE_URL": as_role(url, "line_health"),
        "AURELIAN_LOG_FORMAT": "text",
    }
    with log.open("wb") as out:
        return subprocess.Popen(
            [sys.executable, "-m", "line_health"], env=env, stdout=out, stderr=out
        )


def _cpu_with_children(pid: int) -> float:
    """CPU seconds of a process, its children, and those that ended."""
    ticks = 0
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            fields = (entry / "stat").read_text().rpartition(")")[2].split()
        except OSError:  # it ended meanwhile
            continue
        if int(entry.name) == pid:
            ticks += sum(map(int, fields[11:15]))
        elif int(fields[1]) == pid:
            ticks += sum(map(int, fields[11:13]))
    return ticks / os.sysconf("SC_CLK_TCK")


def _wal_position(url: str) -> int:
    with psycopg.connect(url) as conn:
        row = conn.execute("SELECT pg_current_wal_lsn() - '0/0'::pg_lsn").fetchone()
    return int(row[0]) if row else 0


def _folded(url: str) -> int:
    with psycopg.connect(url) as conn:
        row = conn.execute(
            "SELECT coalesce(sum(next_offset), 0) FROM line_health.kafka_offset WHERE topic = %s",
            [SAMPLES.name],
        ).fetchone()
    return int(row[0]) if row else 0


def _written(url: str) -> tuple[int, float]:
    with psycopg.connect(url) as conn:
        states = conn.execute("SELECT count(*) FROM line_health.line_state").fetchone()
        size = conn.execute(
            "SELECT sum(length(content)) FROM line_health.fold_part WHERE key <> '@memory'"
        ).fetchone()
    assert states is not None and size is not None
    return int(states[0]), float(size[0]) / LINES
