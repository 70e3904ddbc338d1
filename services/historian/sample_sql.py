"""SQL of samples, rollups and the ledger, inside the writer's transaction. Called by writer.py."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format
from psycopg.rows import TupleRow

from historian.copy_format import (
    HEADER,
    PG_EPOCH_US,
    SAMPLE_COLUMNS,
    TRAILER,
    encode_numeric,
    number_blocks,
    object_blocks,
)
from historian.prepared import Prepared
from historian.rollups import Rollup
from historian.sample_columns import Columns

Connection = psycopg.AsyncConnection[TupleRow]

Ledger = dict[tuple[str, str, int], list[int]]
"""By source, owner and start of the hour in microseconds: stored, duplicate, rejected."""

VALUE_COLUMNS = {
    "sample_number": ("value",),
    "sample_text": ("value",),
    "sample_other": ("integer", "bytes", "json"),
}


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


async def open_session(conn: Connection, transaction_limit_s: float = 20.0) -> None:
    """Make the temporary tables that rows with a known key go through, and teach psycopg our
    arrays.

    A process that is paused in the middle of a COPY or a pipeline is not idle to the server, so
    that only the limit of the whole transaction frees its locks (PostgreSQL 17 or newer).
    """
    if conn.info.server_version >= 170_000:
        await conn.execute(f"SET transaction_timeout = {int(transaction_limit_s * 1000)}")
    for kind, oid in (
        (_Int4Array, 1007),
        (_Int8Array, 1016),
        (_Float8Array, 1022),
        (_TimeArray, 1185),
    ):
        conn.adapters.register_dumper(kind, _dumper(oid))
    for table in VALUE_COLUMNS:
        await conn.execute(
            f"CREATE TEMPORARY TABLE IF NOT EXISTS incoming_{table} ON COMMIT DELETE ROWS AS "
            f"SELECT 0 AS ordinal, {_columns(table)} FROM historian.{table} LIMIT 0"
        )


async def insert_numbers(
    conn: Connection, prepared: Prepared, *, expect_known: bool
) -> NDArray[np.bool_] | None:
    """Insert rows of `sample_number`: straight into the table, or by way of a temporary table where
    a key is known.

    Returns:
        (n,) which rows were inserted; None: all of them.
    """
    columns = prepared.columns.numbers
    if not len(columns):
        return None
    if not expect_known and await _copy_straight(conn, "sample_number", prepared.numbers):
        return None
    return await _insert_new(
        conn, "sample_number", number_blocks(columns, ordinal=True), len(columns)
    )


async def insert_objects(
    conn: Connection, table: str, columns: Columns
) -> NDArray[np.bool_] | None:
    """Insert rows of `sample_text` or `sample_other`; returns as `insert_numbers`."""
    if not len(columns):
        return None
    values = _object_values(table, columns)
    if await _copy_straight(conn, table, object_blocks(columns, values)):
        return None
    return await _insert_new(
        conn, table, object_blocks(columns, values, ordinal=True), len(columns)
    )


async def merge_rollups(conn: Connection, minutes: Rollup, hours: Rollup) -> None:
    """Add to the rollups of minutes and hours."""
    for table, rollup in (("rollup_minute", minutes), ("rollup_hour", hours)):
        if len(rollup):
            await conn.execute(_MERGE.format(table=table), _rollup_arrays(rollup))


async def count_in_ledger(conn: Connection, ledger: Ledger) -> None:
    """Add to `ledger_stored`."""
    async with conn.cursor() as cursor:
        await cursor.executemany(
            "INSERT INTO historian.ledger_stored AS l (source, owner, hour, stored, duplicate, "
            "rejected) "
            "VALUES (%s, %s, to_timestamp(%s), %s, %s, %s) ON CONFLICT (source, hour) DO UPDATE "
            "SET stored = l.stored + excluded.stored, duplicate = l.duplicate + "
            "excluded.duplicate, "
            "rejected = l.rejected + excluded.rejected",
            [
                (source, owner, hour // 1_000_000, *counts)
                for (source, owner, hour), counts in sorted(ledger.items())
            ],
        )


async def _copy_straight(conn: Connection, table: str, blocks: Iterable[bytes]) -> bool:
    """COPY into the table itself; False when a key is there already (nothing is written then)."""
    try:
        # A savepoint: COPY knows no ON CONFLICT, and its failure must not end the transaction that
        # holds the offsets.
        async with conn.transaction():
            await _copy(conn, f"historian.{table} ({_columns(table)})", blocks)
    except psycopg.errors.UniqueViolation:
        return False
    return True


async def _insert_new(
    conn: Connection, table: str, blocks: Iterable[bytes], count: int
) -> NDArray[np.bool_]:
    """Insert the rows whose key is new, and tell which those were."""
    columns = _columns(table)
    await _copy(conn, f"incoming_{table} (ordinal, {columns})", blocks)
    # Without statistics of the temporary table a nested loop may be chosen, which is quadratic.
    await conn.execute("SET LOCAL enable_nestloop = off")
    cursor = await conn.execute(
        f"WITH new AS (INSERT INTO historian.{table} ({columns}) SELECT {columns} FROM "
        f"incoming_{table} "
        "ORDER BY ordinal ON CONFLICT DO NOTHING RETURNING signal, time, sub) "
        f"SELECT ordinal FROM incoming_{table} JOIN new USING (signal, time, sub)"
    )
    inserted = np.zeros(count, np.bool_)
    found = [row[0] for row in await cursor.fetchall()]
    inserted[found] = True
    await conn.execute(f"DELETE FROM incoming_{table}")
    await conn.execute("SET LOCAL enable_nestloop = on")
    return inserted


async def _copy(conn: Connection, target: str, blocks: Iterable[bytes]) -> None:
    async with conn.cursor() as cursor:
        async with cursor.copy(f"COPY {target} FROM STDIN (FORMAT binary)") as copy:
            await copy.write(HEADER)
            for block in blocks:
                await copy.write(block)
            await copy.write(TRAILER)


def _columns(table: str) -> str:
    return ", ".join((*SAMPLE_COLUMNS, *VALUE_COLUMNS[table]))


def _object_values(table: str, columns: Columns) -> Sequence[Sequence[bytes | None]]:
    if table == "sample_text":
        return [[str(text).encode() for text in columns.objects]]
    integers = [encode_numeric(each) if isinstance(each, int) else None for each in columns.objects]
    blobs = [each if isinstance(each, bytes) else None for each in columns.objects]
    jsons = [each.encode() if isinstance(each, str) else None for each in columns.objects]
    return [integers, blobs, jsons]


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
# count as if they had come in time. Of samples at one time the lowest `sub` is the first.
_EARLIER = """r.first_time IS NULL
        OR (excluded.first_time, excluded.first_sub) < (r.first_time, r.first_sub)"""
_LATER = """r.last_time IS NULL
        OR (excluded.last_time, excluded.last_sub) > (r.last_time, r.last_sub)"""
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
