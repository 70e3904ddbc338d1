"""Rows of samples and rollups in PostgreSQL's binary COPY format, from arrays. Pure; called by
`seed.py`."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

MINUTE_US = 60_000_000
HOUR_US = 3_600_000_000
_PG_EPOCH_US = 946_684_800_000_000
_HEADER = b"PGCOPY\n\xff\r\n\x00" + bytes(8)


def number_rows(
    key: int, type: int, times: NDArray[np.int64], values: NDArray[np.float64], flags: int
) -> bytes:
    """Rows (signal, time, sub, gateway_time, status, flags, type, value) of one signal; arrays
    (n,), microseconds."""
    since_2000 = times - _PG_EPOCH_US
    return _rows(
        len(times),
        [
            (">i4", key),
            (">i8", since_2000),
            (">i4", 0),
            (">i8", since_2000),
            (">i8", 0),
            (">i4", flags),
            (">i2", type),
            (">f8", values),
        ],
    )


def rollup_rows(
    key: int, times: NDArray[np.int64], values: NDArray[np.float64], width: int
) -> bytes:
    """Rollup rows of one signal in buckets of `width` microseconds; arrays (n,), n > 0, sorted by
    time, no NaN."""
    buckets = times // width * width
    starts = np.concatenate([[0], np.flatnonzero(np.diff(buckets)) + 1])
    ends = np.append(starts[1:], len(times)) - 1
    return _rows(
        len(starts),
        [
            (">i4", key),
            (">i8", buckets[starts] - _PG_EPOCH_US),
            (">i8", ends - starts + 1),
            (">i8", 0),
            (">f8", np.add.reduceat(values, starts)),
            (">f8", np.minimum.reduceat(values, starts)),
            (">f8", np.maximum.reduceat(values, starts)),
            (">f8", values[starts]),
            (">i8", times[starts] - _PG_EPOCH_US),
            (">i4", 0),
            (">f8", values[ends]),
            (">i8", times[ends] - _PG_EPOCH_US),
            (">i4", 0),
        ],
    )


def copy_block(rows: Sequence[bytes]) -> bytes:
    """The whole of one COPY."""
    return b"".join([_HEADER, *rows, b"\xff\xff"])


def _rows(n: int, columns: Sequence[tuple[str, object]]) -> bytes:
    """n rows without nulls: the number of fields, then each field's length and big-endian bytes."""
    fields = [("fields", ">i2")]
    for place, (kind, _) in enumerate(columns):
        fields += [(f"length{place}", ">i4"), (f"value{place}", kind)]
    out = np.empty(n, np.dtype(fields))
    out["fields"] = len(columns)
    for place, (kind, values) in enumerate(columns):
        out[f"length{place}"] = np.dtype(kind).itemsize
        out[f"value{place}"] = values
    return out.tobytes()
