"""SQL of samples, rollups and the ledger, inside the writer's transaction. Called by writer.py."""

from __future__ import annotations

import struct
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg.abc import AdaptContext, Buffer
from psycopg.adapt import Dumper
from psycopg.pq import Format
from psycopg.rows import TupleRow

from aurelian.model.sample import Flag
from historian.copy_format import (
    HEADER,
    PG_EPOCH_US,
    SAMPLE_COLUMNS,
    TRAILER,
    encode_numeric,
    number_blocks,
    object_blocks,
)
from historian.rollups import Rollup
from historian.sample_columns import STATUS_BITS, Columns

Connection = psycopg.AsyncConnection[TupleRow]

Ledger = dict[tuple[str, str, int], list[int]]
"""By source, owner and start of the hour in microseconds: stored, duplicate, rejected."""

Arrivals = dict[tuple[str, str, int, str, int], int]
"""Samples by owner, gateway, boot, source and start of the hour in microseconds: what one
transaction adds to the ledger, by where it came from."""

VALUE_COLUMNS = {
    "sample_number": ("value",),
    "sample_text": ("value",),
    "sample_other": ("integer", "bytes", "json"),
}

SHARED_ATTEMPTS = 10

_CONTENT = {
    # To the last bit: 0.0 and -0.0 are two contents.
    "sample_number": "coalesce(float8send({0}.value)::text, '')",
    "sample_text": "coalesce({0}.value, '')",
    "sample_other": "coalesce({0}.integer::text, {0}.bytes::text, {0}.json, '')",
}
"""A value as a text that is equal where type and value are."""


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
    await conn.execute("SET jit = off")  # many small statements: compiling costs more than it saves
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
    await conn.execute(
        "CREATE TEMPORARY TABLE IF NOT EXISTS there (signal integer, time timestamptz, "
        "sub integer, type smallint, code bigint, source_time timestamptz, content text) "
        "ON COMMIT DELETE ROWS"
    )


@dataclass(frozen=True, slots=True)
class Inserted:
    """What an insert did.

    Attributes:
        new: (n,) which rows were inserted under their own key; None: all of them.
        moved: rows inserted under another `sub`, as another value of their signal has their time.
    """

    new: NDArray[np.bool_] | None
    moved: Columns


async def insert_rows(
    conn: Connection,
    table: str,
    columns: Columns,
    shared: Columns,
    blocks: Iterable[bytes] | None = None,
    *,
    expect_known: bool = False,
) -> Inserted:
    """Insert rows of a sample table: straight, or by way of a temporary table where a key is known.

    What is there already with the same content (type, value, status, and the time that a replaced
    one came with) under any `sub` of its time is a duplicate; what
    meets other content under its key gets the next free `sub` and the flag TIME_SHARED (D6).

    Args:
        conn: inside the writer's transaction.
        table: `sample_number`, `sample_text` or `sample_other`.
        columns: rows, no key twice; `blocks`: the same, encoded.
        shared: rows whose key comes in `columns` too, with other content, in order of arrival.
        blocks: see `columns`.
        expect_known: do not try the straight way.
    """
    new: NDArray[np.bool_] | None = None
    if len(columns):
        blocks = _blocks(table, columns) if blocks is None else blocks
        if expect_known or not await _copy_straight(conn, table, blocks):
            new = await _insert_new(conn, table, columns)
    if len(shared):
        n = len(columns)
        await _copy(conn, _incoming(table), _blocks(table, shared, ordinal=n))
    elif new is None or new.all():
        return Inserted(new, shared)
    moved = await _insert_shared(conn, table, _concat(columns, shared))
    await conn.execute(f"DELETE FROM incoming_{table}")
    return Inserted(new, moved)


async def merge_rollups(conn: Connection, minutes: Rollup, hours: Rollup) -> None:
    """Add to the rollups of minutes and hours."""
    for table, rollup in (("rollup_minute", minutes), ("rollup_hour", hours)):
        if len(rollup):
            await conn.execute(_MERGE.format(table=table), _rollup_arrays(rollup))


async def count_in_ledger(conn: Connection, ledger: Ledger, arrivals: Arrivals) -> None:
    """Add to `ledger_stored`, and as many samples to `ledger_received`: what is accounted for was
    received, also where the gateway's own count is still on its way."""
    async with conn.cursor() as cursor:
        await cursor.executemany(
            "INSERT INTO historian.ledger_stored AS l (source, owner, hour, stored, duplicate, "
            "rejected) "
            "VALUES (%s, %s, to_timestamp(%s), %s, %s, %s) ON CONFLICT (owner, source, hour) DO "
            "UPDATE "
            "SET stored = l.stored + excluded.stored, duplicate = l.duplicate + "
            "excluded.duplicate, "
            "rejected = l.rejected + excluded.rejected",
            [
                (source, owner, hour // 1_000_000, *counts)
                for (source, owner, hour), counts in sorted(ledger.items())
            ],
        )
        await cursor.executemany(
            "INSERT INTO historian.ledger_received AS l (owner, gateway, boot, source, hour, "
            "received, dropped, skipped, rejected, reported, arrived) "
            "VALUES (%s, %s, %s, %s, to_timestamp(%s), %s, 0, 0, 0, 0, %s) "
            "ON CONFLICT (owner, gateway, boot, source, hour) DO UPDATE SET "
            "arrived = l.arrived + excluded.arrived, received = greatest(l.received, "
            "l.arrived + excluded.arrived + l.dropped + l.skipped)",
            [
                (owner, gateway, boot, source, hour // 1_000_000, count, count)
                for (owner, gateway, boot, source, hour), count in sorted(arrivals.items())
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


async def _insert_new(conn: Connection, table: str, rows: Columns) -> NDArray[np.bool_]:
    """Insert the rows whose key is new, and tell which those were; the others stay in the temporary
    table."""
    columns = _columns(table)
    await _copy(conn, _incoming(table), _blocks(table, rows, ordinal=0))
    # Without statistics of the temporary table a nested loop may be chosen, which is quadratic.
    await conn.execute("SET LOCAL enable_nestloop = off")
    cursor = await conn.execute(
        f"WITH new AS (INSERT INTO historian.{table} ({columns}) SELECT {columns} FROM "
        f"incoming_{table} "
        "ORDER BY ordinal ON CONFLICT DO NOTHING RETURNING signal, time, sub) "
        f"DELETE FROM incoming_{table} AS i USING new WHERE (i.signal, i.time, i.sub) = "
        "(new.signal, new.time, new.sub) RETURNING ordinal"
    )
    inserted = np.zeros(len(rows), np.bool_)
    found = [row[0] for row in await cursor.fetchall()]
    inserted[found] = True
    await conn.execute("SET LOCAL enable_nestloop = on")
    return inserted


async def _insert_shared(conn: Connection, table: str, rows: Columns) -> Columns:
    """Insert those rows of the temporary table whose content is at none of their time's `sub`, each
    under the next free one; `rows` are what the ordinals count. Return them as inserted."""
    for _ in range(SHARED_ATTEMPTS):
        found = await _other_contents(conn, table)
        moved = _give_subs(rows, found)
        if not len(moved) or await _copy_straight(conn, table, _blocks(table, moved)):
            return moved
        # Another historian took one of the numbers meanwhile: it has committed, so we see it now.
    raise RuntimeError(f"no free sub was found in {SHARED_ATTEMPTS} attempts")


async def _other_contents(conn: Connection, table: str) -> list[tuple[int, int]]:
    """Ordinal and highest `sub` of its time, of what says something that is not there.

    In two steps, as a signal may have very many values at one time: what is there at the times
    asked for is looked up once each, by the index of the key, and then compared as a whole.
    """
    content = _CONTENT[table]
    await _switch(conn, hashjoin="off", mergejoin="off", seqscan="off")
    await conn.execute(
        "INSERT INTO there SELECT s.signal, s.time, s.sub, s.type, "
        f"s.status >> {STATUS_BITS}, s.source_time, {content.format('s')} "
        f"FROM (SELECT DISTINCT signal, time FROM incoming_{table}) AS i "
        f"JOIN historian.{table} AS s ON s.signal = i.signal AND s.time = i.time"
    )
    await _switch(conn, hashjoin="on", seqscan="on", nestloop="off")
    cursor = await conn.execute(
        "SELECT i.ordinal, coalesce(highest.sub, -1) "
        f"FROM incoming_{table} AS i LEFT JOIN (SELECT signal, time, max(sub) AS sub FROM there "
        "GROUP BY signal, time) AS highest ON highest.signal = i.signal AND highest.time = i.time "
        "WHERE NOT EXISTS (SELECT FROM there AS t WHERE t.signal = i.signal AND t.time = i.time "
        f"AND t.type = i.type AND t.code = i.status >> {STATUS_BITS} "
        "AND t.source_time IS NOT DISTINCT FROM i.source_time "
        f"AND t.content = {content.format('i')}) ORDER BY i.ordinal"
    )
    found = [(int(row[0]), int(row[1])) for row in await cursor.fetchall()]
    await _switch(conn, nestloop="on", mergejoin="on")
    await conn.execute("DELETE FROM there")
    return found


async def _switch(conn: Connection, **planner: str) -> None:
    """Switch the planner's methods for this transaction, in one round trip."""
    await conn.execute("; ".join(f"SET LOCAL enable_{k} = {v}" for k, v in planner.items()))


def _give_subs(rows: Columns, found: Sequence[tuple[int, int]]) -> Columns:
    """Those of `rows` that `found` names, each content of a time once, with free `sub`s."""
    next_sub: dict[tuple[int, int], int] = {}
    contents: set[tuple[object, ...]] = set()
    chosen: list[int] = []
    subs: list[int] = []
    for ordinal, highest in found:
        key = int(rows.signal[ordinal]), int(rows.time[ordinal])
        content = (
            *key,
            int(rows.type[ordinal]),
            int(rows.source_time[ordinal]),
            int(rows.status[ordinal]) >> STATUS_BITS,
            rows.value[ordinal].tobytes(),
            rows.objects[ordinal] if len(rows.objects) else None,
        )
        if content in contents:
            continue
        contents.add(content)
        subs.append(next_sub.setdefault(key, highest + 1))
        next_sub[key] += 1
        chosen.append(ordinal)
    picked = rows.pick(np.array(chosen, np.intp))
    moved = replace(
        picked,
        sub=np.array(subs, np.int32),
        flags=picked.flags | np.int32(Flag.TIME_SHARED),
    )
    return moved.pick(np.lexsort((moved.sub, moved.time, moved.signal)))


def _concat(a: Columns, b: Columns) -> Columns:
    if not len(b):
        return a
    joined = {
        name: np.concatenate([getattr(a, name), getattr(b, name)])
        for name in Columns.__slots__
        if name != "objects"
    }
    return Columns(**joined, objects=[*a.objects, *b.objects])


def _incoming(table: str) -> str:
    return f"incoming_{table} (ordinal, {_columns(table)})"


def _blocks(table: str, columns: Columns, *, ordinal: int | None = None) -> Iterable[bytes]:
    if table == "sample_number":
        return number_blocks(columns, ordinal=ordinal)
    return object_blocks(columns, _object_values(table, columns), ordinal=ordinal)


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
