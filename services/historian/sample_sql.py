"""SQL of samples, inside the writer's transaction. Called by writer.py."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import psycopg
from numpy.typing import NDArray
from psycopg.rows import TupleRow

from aurelian.model.sample import Flag
from historian import rollup_sql
from historian.columns import Columns
from historian.copy_format import (
    HEADER,
    SAMPLE_COLUMNS,
    TRAILER,
    encode_numeric,
    number_blocks,
    object_blocks,
)
from historian.sample_columns import STATUS_BITS

Connection = psycopg.AsyncConnection[TupleRow]

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


async def open_session(conn: Connection, transaction_limit_s: float = 20.0) -> None:
    """Make the temporary tables that rows with a known key go through, and teach psycopg the
    arrays of rollups.

    A process that is paused in the middle of a COPY or a pipeline is not idle to the server, so
    that only the limit of the whole transaction frees its locks (PostgreSQL 17 or newer).
    """
    if conn.info.server_version >= 170_000:
        await conn.execute(f"SET transaction_timeout = {int(transaction_limit_s * 1000)}")
    await conn.execute("SET jit = off")  # many small statements: compiling costs more than it saves
    rollup_sql.register_arrays(conn)
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
