"""Seeded telemetry for benchmarks: lines of machines that report doubles once a second, and lines
that report by exception. Used by the benches of codec, outbox and historian."""

from __future__ import annotations

import random
import uuid
from collections.abc import Iterator

import numpy as np

from aurelian.model.sample import BAD, Sample, SampleBatch, Signal, Value, ValueType, make_batch

OWNER = "bench"
START_US = 1_780_000_000_000_000
ASSETS = 200
LINES = 20
SIGNALS_PER_ASSET = 10

_EMPTY_INT = np.zeros(0, np.int64)
_EMPTY_UINT = np.zeros(0, np.uint64)
_EMPTY_BOOL = np.zeros(0, np.bool_)


def signals_of_line(line: int) -> tuple[Signal, ...]:
    """The signals of one of `LINES` lines: its share of `ASSETS` machines, `SIGNALS_PER_ASSET`
    each."""
    return tuple(
        Signal(
            f"bench-{line}-{unit}-{n}",
            f"bench-{line}-{unit}",
            f"{line_path(line)}/unit-{unit}/signal-{n}",
            ValueType.DOUBLE,
            "",
            f"bench-source-{line % 4}",
        )
        for unit in range(ASSETS // LINES)
        for n in range(SIGNALS_PER_ASSET)
    )


def line_path(line: int) -> str:
    """Path of a line."""
    return f"{OWNER}/site/area/line-{line}"


def make_batches(
    rows: int, size: int, *, first_second: int = 0, sequences: list[int]
) -> Iterator[SampleBatch]:
    """`rows` samples (rounded up to whole rounds) in batches of `size`, line by line in turn, time
    going on in each line.

    `sequences` holds the last sequence of each line and is carried on.
    """
    generator = np.random.default_rng(size)
    dictionaries = [signals_of_line(line) for line in range(LINES)]
    width = len(dictionaries[0])
    zeros = np.zeros(size, np.uint32)
    none = np.zeros(size, np.int64)
    doubles = np.full(size, ValueType.DOUBLE, np.uint8)
    position = made = 0
    while made < rows:
        places = np.arange(position, position + size)
        index = (places % width).astype(np.uint32)
        time = (
            START_US + (first_second + places // width) * 1_000_000 + index.astype(np.int64) * 100
        )
        for line in range(LINES):
            sequences[line] += 1
            yield SampleBatch(
                owner=OWNER,
                gateway="bench",
                boot=START_US,
                sequence=sequences[line],
                line=line_path(line),
                signals=dictionaries[line],
                signal=index,
                type=doubles,
                source_time=time,
                server_time=none,
                gateway_time=time + 3000,
                status=zeros,
                flags=zeros,
                sub=zeros,
                doubles=generator.normal(20, 5, size),
                ints=_EMPTY_INT,
                uints=_EMPTY_UINT,
                bools=_EMPTY_BOOL,
            )
        position += size
        made += size * LINES


def report_doubles_by_exception(rows: int, size: int, *, pool: int = 1000) -> Iterator[SampleBatch]:
    """`rows` doubles (rounded up to whole rounds) in batches of `size`, line by line in turn.

    As `report_by_exception`: each batch has a random subset of its line's `pool` signals, each
    signal once, in random order, with new values; so each signal changes about once a second.
    """
    generator = np.random.default_rng(size)
    lines = [
        [
            Signal(
                f"{line:04x}-{n:06x}-5a0b-5d43-9a2e-3d6f0a7c1b55",
                f"bench-{line}-{n // SIGNALS_PER_ASSET}",
                f"{line_path(line)}/unit-{n // SIGNALS_PER_ASSET}/signal-{n % SIGNALS_PER_ASSET}",
                ValueType.DOUBLE,
                "Cel",
                f"bench-source-{line % 4}",
            )
            for n in range(pool)
        ]
        for line in range(LINES)
    ]
    window_us = size * 1_000_000 // pool
    for sequence in range(1, -(-rows // (size * LINES)) + 1):
        start = START_US + (sequence - 1) * window_us
        for line, signals in enumerate(lines):
            chosen = generator.permutation(pool)[:size].tolist()
            times = (start + np.sort(generator.integers(0, window_us, size))).tolist()
            values = generator.normal(20, 5, size).tolist()
            yield make_batch(
                [
                    Sample(signals[index], value, ValueType.DOUBLE, time, time + 3000)
                    for index, value, time in zip(chosen, values, times, strict=True)
                ],
                owner=OWNER,
                gateway="bench",
                boot=START_US,
                sequence=sequence,
                line=line_path(line),
            )


def mixed_signals(count: int, line: int = 1) -> list[Signal]:
    """The signals of a line as a plant model has them: of 50, 40 are doubles, 6 integers, 3 bools,
    1 text; ids are UUIDs."""
    rng = random.Random(line)

    def new_id() -> str:
        return str(uuid.UUID(int=rng.getrandbits(128)))

    assets = [new_id() for _ in range(count // 10 + 1)]
    return [
        Signal(
            new_id(),
            assets[n // 10],
            f"pilot-a/north/machining/line-{line}/mill-{n // 10}/signal-{n}",
            _KINDS[n % 50],
            "Cel",
            "pilot-a-opcua",
        )
        for n in range(count)
    ]


def report_by_exception(
    batches: int, size: int, *, line: int = 1, pool: int = 1000, seed: float = 0
) -> Iterator[SampleBatch]:
    """`batches` batches of `size` samples: each has a random subset of the line's `pool` signals,
    each signal once, in random order, with new values; 1 in 100 is Bad."""
    rng = random.Random(seed)
    signals = mixed_signals(pool, line)
    time = START_US
    for sequence in range(1, batches + 1):
        rows = []
        for signal in rng.sample(signals, size):
            time += rng.randrange(500, 3000)
            rows.append(
                Sample(
                    signal,
                    _value(signal.type, rng),
                    signal.type,
                    source_time=time,
                    gateway_time=time + 3000 + rng.randrange(2000),
                    server_time=time + rng.randrange(1000),
                    status=BAD if rng.random() < 0.01 else 0,
                )
            )
        yield make_batch(
            rows,
            owner="pilot-a",
            gateway="opcua-1",
            boot=START_US,
            sequence=sequence,
            line=f"pilot-a/north/machining/line-{line}",
        )


def _value(kind: ValueType, rng: random.Random) -> Value:
    match kind:
        case ValueType.DOUBLE:
            return rng.gauss(20, 5)
        case ValueType.INT64:
            return rng.randrange(2**20)
        case ValueType.BOOL:
            return rng.random() < 0.5
        case _:
            return "running"


_KINDS = [ValueType.DOUBLE] * 40 + [ValueType.INT64] * 6 + [ValueType.BOOL] * 3 + [ValueType.TEXT]
