"""Seeded telemetry for benchmarks: lines of machines that report doubles once a second. Used by the
historian's benches."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np

from aurelian.model.sample import SampleBatch, Signal, ValueType

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
    random = np.random.default_rng(size)
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
                doubles=random.normal(20, 5, size),
                ints=_EMPTY_INT,
                uints=_EMPTY_UINT,
                bools=_EMPTY_BOOL,
            )
        position += size
        made += size * LINES
