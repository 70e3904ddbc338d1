"""The oracle: seeded samples of every kind, and the comparison of a store with what was sent, row
by row.

Used by every test that moves data. Typical use:

    samples = oracle.make_samples(seed=7, count=100_000)
    ... send them ...
    assert oracle.differences(oracle.expect(samples), oracle.read_store(url)) == []
    assert oracle.imbalance(url) == {}
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import psycopg

from aurelian.model import codec
from aurelian.model.sample import (
    BAD,
    GOOD,
    MAX_EXACT_INT,
    Flag,
    Sample,
    SampleBatch,
    Signal,
    Value,
    ValueType,
    make_batch,
)

START_US = 1_780_000_000_000_000
"""2026-05-28T20:26:40Z: where the seeded samples begin."""

HOUR_US = 3_600_000_000

OWNER = "oracle"
GATEWAY = "oracle-1"
BOOT = START_US

_STATUS = (GOOD, GOOD, GOOD, 0x40000000, BAD, 0x808A0000)
_TEXTS = ("", "running", "läuft ❤ 运行", 'a "quoted" text', "two\nlines\ttab", "x" * 2000)


@dataclass(frozen=True, slots=True, order=True)
class Row:
    """One sample as sender and store can both say it. Times are microseconds since 1970, 0 for
    none."""

    path: str
    time: int
    sub: int
    type: int
    value: str
    status: int
    flags: int
    source_time: int
    server_time: int
    gateway_time: int


def make_samples(seed: int, count: int, *, lines: int = 3, signals: int = 24) -> list[Sample]:
    """Samples of all types in the order of sending.

    Among them: equal values in a row, several values at one time (told apart by `sub`), the same
    sample sent twice, Bad and Uncertain quality, nulls, integers at the edges of their types, NaN
    and infinity, rows that are hours late, and times that the gateway had to replace.
    """
    random = np.random.default_rng(seed)
    known = [_signal(n, lines) for n in range(signals)]
    clock = [START_US + n for n in range(signals)]
    made: list[Sample] = []
    draws = random.random((count, 4))
    picks = random.integers(0, signals, count)
    for (kind, quality, late, timing), n in zip(draws.tolist(), picks.tolist(), strict=True):
        signal = known[n]
        if kind < 0.02 and made:
            made.append(made[-1])
            continue
        sub = 0
        if timing < 0.05 and clock[n] > START_US + signals:
            sub = int(1 + timing * 1000)
        else:
            clock[n] += int(1 + timing * 500_000)
        source_time = clock[n] - (5 * HOUR_US + int(timing * 1e9) if late < 0.03 else 0)
        type_, value = _value(signal, n, kind, random)
        status = _STATUS[int(quality * len(_STATUS))]
        flags = Flag.HISTORICAL if late < 0.03 else Flag.NONE
        gateway_time = clock[n] + 4_000
        if late > 0.99:
            flags |= Flag.TIME_REPLACED
            source_time = 0 if timing < 0.5 else -11_644_473_600_000_000
        server_time = source_time + 100 if quality < 0.5 and source_time > 0 else 0
        made.append(
            Sample(signal, value, type_, source_time, gateway_time, server_time, status, flags, sub)
        )
    return made


def make_batches(
    samples: Sequence[Sample], sizes: Sequence[int] = (1, 8, 50, 500)
) -> list[SampleBatch]:
    """Cut samples into numbered batches of one line each, in order within a line; sizes come in
    turn."""
    by_line: dict[str, list[Sample]] = {}
    for sample in samples:
        by_line.setdefault(line_of(sample.signal), []).append(sample)
    batches = []
    for line, of_line in by_line.items():
        sequence = start = 0
        while start < len(of_line):
            size = sizes[sequence % len(sizes)]
            sequence += 1
            batches.append(
                make_batch(
                    of_line[start : start + size],
                    owner=OWNER,
                    gateway=GATEWAY,
                    boot=BOOT,
                    sequence=sequence,
                    line=line,
                )
            )
            start += size
    return batches


def received_events(samples: Iterable[Sample]) -> list[codec.SourceEvent]:
    """What the gateway would say that it received, by source and hour."""
    counts = Counter(
        (sample.signal.source, sample.gateway_time - sample.gateway_time % HOUR_US)
        for sample in samples
    )
    return [
        codec.SourceEvent(
            owner=OWNER,
            gateway=GATEWAY,
            boot=BOOT,
            source=source,
            time=hour,
            received=codec.Received(hour=hour, received=count),
        )
        for (source, hour), count in sorted(counts.items())
    ]


def line_of(signal: Signal) -> str:
    """Path of the line of a signal `enterprise/site/area/line/unit/name`."""
    return "/".join(signal.path.split("/")[:4])


def expect(samples: Iterable[Sample]) -> list[Row]:
    """The rows that a store has of these samples, as decisions 6 and 8 say: where a (signal, time,
    sub) comes again, other content takes the next free `sub`, the same under any is a duplicate."""
    rows: dict[tuple[str, int, int, int], Row] = {}
    contents: dict[tuple[str, int, int], set[tuple[object, ...]]] = {}
    for sent in samples:
        sample = sent
        if isinstance(sent.value, float) and not math.isfinite(sent.value):
            status = sent.status if sent.status >> 30 == BAD >> 30 else BAD
            sample = replace(sent, value=None, type=ValueType.NULL, status=status)
        path, table, sub, flags = sample.signal.path, _table(sample), sample.sub, sample.flags
        content = (sample.type, spell(sample.value), sample.status >> 16)
        there = contents.setdefault((path, sample.time, table), set())
        if (path, sample.time, sub, table) in rows:
            if content in there:
                continue
            taken = (
                key[2] for key in rows if (key[0], key[1], key[3]) == (path, sample.time, table)
            )
            sub, flags = max(taken) + 1, flags | Flag.TIME_SHARED
        there.add(content)
        replaced = bool(flags & Flag.TIME_REPLACED)
        rows[path, sample.time, sub, table] = Row(
            path,
            sample.time,
            sub,
            int(sample.type),
            spell(sample.value),
            sample.status,
            int(flags),
            sample.source_time if replaced else 0,
            sample.server_time,
            sample.gateway_time,
        )
    return sorted(rows.values())


def read_store(url: str, path: str = "") -> list[Row]:
    """Every row of the store whose signal's path begins with `path`."""
    with psycopg.connect(url) as conn:
        found = [
            row for query in _EVERY_TABLE for row in conn.execute(query, {"path": path}).fetchall()
        ]
    return sorted(Row(*row[:4], spell(_as_sent(row[3], row[4])), *row[5:]) for row in found)


def differences(expected: Sequence[Row], stored: Sequence[Row], limit: int = 10) -> list[str]:
    """What the store lacks, has beyond, or has otherwise; at most `limit` sentences. Empty: they
    are equal.

    Which `sub`s the values of a shared time have depends on what was stored together: there only
    the values are compared.
    """
    said: list[str] = []
    shared = {(r.path, r.time) for r in (*expected, *stored) if r.flags & Flag.TIME_SHARED}
    expected, stored = _without_subs(expected, shared), _without_subs(stored, shared)
    if len(stored) != len(expected):
        said.append(f"{len(stored)} rows stored, {len(expected)} expected")
    want, have = Counter(expected), Counter(stored)
    said += [f"missing: {row}" for row in sorted((want - have).elements())[:limit]]
    said += [f"too much: {row}" for row in sorted((have - want).elements())[:limit]]
    return said[: limit + 1]


def _without_subs(rows: Sequence[Row], shared: set[tuple[str, int]]) -> list[Row]:
    return [
        replace(row, sub=-1, flags=row.flags & ~Flag.TIME_SHARED)
        if (row.path, row.time) in shared
        else row
        for row in rows
    ]


def count_rows(url: str) -> int:
    """Rows of the three sample tables."""
    with psycopg.connect(url) as conn:
        row = conn.execute(
            "SELECT (SELECT count(*) FROM historian.sample_number) + (SELECT count(*) FROM "
            "historian.sample_text) "
            "+ (SELECT count(*) FROM historian.sample_other)"
        ).fetchone()
    assert row is not None
    return int(row[0])


def imbalance(url: str) -> dict[tuple[str, str], int]:
    """By source and hour: received - dropped - skipped - stored - duplicate - rejected, where that
    is not 0.

    Above 0: in flight or lost. Below 0: a bug.
    """
    with psycopg.connect(url) as conn:
        rows = conn.execute(_LEDGER).fetchall()
    return {(row[0], row[1].isoformat()): int(row[2]) for row in rows}


def ledger_totals(url: str) -> dict[str, int]:
    """Sums of the ledger: received, dropped, skipped, stored, duplicate, rejected."""
    with psycopg.connect(url) as conn:
        received = conn.execute(
            "SELECT coalesce(sum(received), 0), coalesce(sum(dropped), 0), coalesce(sum(skipped), "
            "0) "
            "FROM historian.ledger_received"
        ).fetchone()
        stored = conn.execute(
            "SELECT coalesce(sum(stored), 0), coalesce(sum(duplicate), 0), "
            "coalesce(sum(rejected), 0) "
            "FROM historian.ledger_stored"
        ).fetchone()
    assert received is not None and stored is not None
    names = ("received", "dropped", "skipped", "stored", "duplicate", "rejected")
    return dict(zip(names, map(int, (*received, *stored)), strict=True))


def spell(value: Value) -> str:
    """A value as text that differs whenever the values do, 0.0 and -0.0 apart."""
    match value:
        case bool():
            return f"bool {value}"
        case float():
            return f"double {value.hex()}"
        case bytes():
            return f"bytes {value.hex()}"
        case None:
            return "null"
        case _:
            return f"{type(value).__name__} {value}"


def _signal(n: int, lines: int) -> Signal:
    unit = f"{OWNER}/site/area/line-{n % lines}/unit-{n % (2 * lines)}"
    types = (
        ValueType.DOUBLE,
        ValueType.INT64,
        ValueType.UINT64,
        ValueType.BOOL,
        ValueType.TEXT,
        ValueType.BYTES,
        ValueType.JSON,
        ValueType.DOUBLE,
    )
    path = f"{unit}/signal-{n}"
    return Signal(
        f"id-{path}", f"id-{unit}", path, types[n % len(types)], "", f"oracle-{n % lines}"
    )


def _value(
    signal: Signal, n: int, kind: float, random: np.random.Generator
) -> tuple[ValueType, Value]:
    if kind < 0.05:
        return ValueType.NULL, None
    few = int(kind * 20)
    match signal.type:
        case ValueType.DOUBLE:
            special = (float("nan"), float("inf"), -math.inf, 0.0, -0.0, 5e-324, 1.7e308, 0.1)
            value = (
                special[few % len(special)]
                if kind < 0.15
                else round(float(random.normal()), 1 + n % 3)
            )
            return signal.type, value
        case ValueType.INT64:
            edges = (
                0,
                -1,
                MAX_EXACT_INT,
                MAX_EXACT_INT + 1,
                -(2**63),
                2**63 - 1,
                -MAX_EXACT_INT - 1,
            )
            return signal.type, edges[few % len(edges)] if kind < 0.3 else int(
                random.integers(-1000, 1000)
            )
        case ValueType.UINT64:
            return signal.type, (0, 2**64 - 1, MAX_EXACT_INT + 1, 2**63)[
                few % 4
            ] if kind < 0.3 else few
        case ValueType.BOOL:
            return signal.type, kind < 0.5
        case ValueType.TEXT:
            return signal.type, _TEXTS[few % len(_TEXTS)]
        case ValueType.BYTES:
            return signal.type, bytes(range(few * 12))
        case _:
            return ValueType.JSON, ("[1, 2,  3.10]", '{"b":1, "a": [null, 1e400]}', '"x"')[few % 3]


def _table(sample: Sample) -> int:
    """Which of the three tables a sample is in: their keys are apart."""
    match sample.type:
        case ValueType.TEXT:
            return 1
        case ValueType.BYTES | ValueType.JSON:
            return 2
        case ValueType.INT64 | ValueType.UINT64:
            assert isinstance(sample.value, int)
            return 2 if abs(sample.value) > MAX_EXACT_INT else 0
        case _:
            return 0


def _as_sent(type_: int, value: object) -> Value:
    match ValueType(type_):
        case ValueType.BOOL:
            return bool(value)
        case ValueType.INT64 | ValueType.UINT64:
            return int(value)  # type: ignore[call-overload, no-any-return]
        case _:
            return value  # type: ignore[return-value]


def _us(column: str) -> str:
    return f"coalesce((extract(epoch FROM s.{column}) * 1000000)::bigint, 0)"


# The tables need a statement each: their values have different types.
_EVERY_TABLE = [
    f"SELECT g.path, {_us('time')}, s.sub, s.type, {value}, s.status, s.flags, "
    f"{_us('source_time')}, "
    f"{_us('server_time')}, {_us('gateway_time')} FROM historian.{table} AS s "
    "JOIN historian.signal AS g ON g.key = s.signal WHERE starts_with(g.path, %(path)s) AND "
    f"{condition}"
    for table, value, condition in (
        ("sample_number", "s.value", "true"),
        ("sample_text", "s.value", "true"),
        ("sample_other", "s.integer", "s.integer IS NOT NULL"),
        ("sample_other", "s.bytes", "s.bytes IS NOT NULL"),
        ("sample_other", "s.json", "s.json IS NOT NULL"),
    )
]

_LEDGER = """
SELECT source, hour, coalesce(r.rest, 0) - coalesce(s.done, 0)
FROM (SELECT owner, source, hour, sum(received - dropped - skipped) AS rest
  FROM historian.ledger_received GROUP BY 1, 2, 3) AS r
FULL JOIN (SELECT owner, source, hour, stored + duplicate + rejected AS done
  FROM historian.ledger_stored) AS s
    USING (owner, source, hour)
WHERE coalesce(r.rest, 0) <> coalesce(s.done, 0)
"""
