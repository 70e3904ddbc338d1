"""SQL of rollups, inside the writer's transaction. Called by writer.py.

All entries of a rollup go to the server in one statement, as binary arrays: psycopg has no dumper
of its own for arrays of numpy.
"""

from __future__ import annotations

import struct

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format
from psycopg.rows import TupleRow

from historian.copy_format import PG_EPOCH_US
from historian.rollups import Rollup

Connection = psycopg.AsyncConnection[TupleRow]


class _Array(bytes):
    """A binary array; the subclass says of what."""


class _Int4Array(_Array):
    pass


class _Int8Array(_Array):
    pass


class _Float8Array(_Array):
    pass


class _TimeArray(_Array):
    pass


def register_arrays(conn: Connection) -> None:
    """Teach psycopg the arrays that `merge_rollups` sends; once in a session."""
    for kind, oid in (
        (_Int4Array, 1007),
        (_Int8Array, 1016),
        (_Float8Array, 1022),
        (_TimeArray, 1185),
    ):
        conn.adapters.register_dumper(kind, _dumper(oid))


async def merge_rollups(conn: Connection, minutes: Rollup, hours: Rollup) -> None:
    """Add to the rollups of minutes and hours."""
    for table, rollup in (("rollup_minute", minutes), ("rollup_hour", hours)):
        if len(rollup):
            await conn.execute(_MERGE.format(table=table), _rollup_arrays(rollup))


def _rollup_arrays(rollup: Rollup) -> list[_Array]:
    def times(values: NDArray[np.int64]) -> _TimeArray:
        return _TimeArray(_encode_array(values - PG_EPOCH_US, 1184, ">i8"))

    def doubles(values: NDArray[np.float64]) -> _Float8Array:
        return _Float8Array(_encode_array(values, 701, ">f8"))

    return [
        _Int4Array(_encode_array(rollup.signal, 23, ">i4")),
        times(rollup.bucket),
        _Int8Array(_encode_array(rollup.count, 20, ">i8")),
        _Int8Array(_encode_array(rollup.bad, 20, ">i8")),
        doubles(rollup.sum),
        doubles(rollup.min),
        doubles(rollup.max),
        doubles(rollup.first),
        times(rollup.first_time),
        _Int4Array(_encode_array(rollup.first_sub, 23, ">i4")),
        doubles(rollup.last),
        times(rollup.last_time),
        _Int4Array(_encode_array(rollup.last_sub, 23, ">i4")),
    ]


def _encode_array(values: NDArray[np.generic], oid: int, width: str) -> bytes:
    """A one-dimensional array without nulls as PostgreSQL's binary array of type `oid`; `width` is
    a big-endian dtype."""
    dtype = np.dtype([("length", ">i4"), ("value", width)])
    elements = np.empty(len(values), dtype)
    elements["length"] = dtype["value"].itemsize
    elements["value"] = values
    return struct.pack(">iiIii", 1, 0, oid, len(values), 1) + elements.tobytes()


def _dumper(oid: int) -> type[Dumper]:
    class ArrayDumper(Dumper):
        format = Format.BINARY

        def __init__(self, cls: type, context: AdaptContext | None = None) -> None:
            super().__init__(cls, context)
            self.oid = oid

        def dump(self, obj: bytes) -> Buffer:
            return obj

    return ArrayDumper


# Every part of a rollup merges in any order, so rows that come late, or in another transaction,
# count as if they had come in time. Of samples at one time the lowest `sub` is the first; of two
# with one `sub` (in two tables) the later to come is the last.
_EARLIER = """r.first_time IS NULL
        OR (excluded.first_time, excluded.first_sub) < (r.first_time, r.first_sub)"""
_LATER = """r.last_time IS NULL
        OR (excluded.last_time, excluded.last_sub) >= (r.last_time, r.last_sub)"""
_ENDS = ",".join(
    f"\n    {column} = CASE WHEN {newer} THEN excluded.{column} ELSE r.{column} END"
    for newer, columns in (
        (_EARLIER, ("first", "first_time", "first_sub")),
        (_LATER, ("last", "last_time", "last_sub")),
    )
    for column in columns
)
_VALUES = "min, max, first, first_time, first_sub, last, last_time, last_sub"
_VALUES_OR_NULL = ",".join(
    f"\n    CASE WHEN count > 0 THEN {column} END" for column in _VALUES.split(", ")
)

# A sum beyond the range of a double becomes NaN: PostgreSQL would refuse the whole transaction.
_MERGE = f"""
INSERT INTO historian.{{table}} AS r (signal, bucket, count, bad, sum, {_VALUES})
SELECT signal, bucket, count, bad, sum,{_VALUES_OR_NULL}
FROM unnest(%b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b, %b)
    AS n (signal, bucket, count, bad, sum, {_VALUES})
ON CONFLICT (signal, bucket) DO UPDATE SET
    count = r.count + excluded.count,
    bad = r.bad + excluded.bad,
    sum = CASE WHEN abs(r.sum) < 8.9e307 AND abs(excluded.sum) < 8.9e307
        THEN r.sum + excluded.sum ELSE 'NaN' END,
    min = least(r.min, excluded.min),
    max = greatest(r.max, excluded.max),{_ENDS}
"""
