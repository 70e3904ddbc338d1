"""Many rows in one statement: inserted, replaced where they changed, left alone where they did
not."""

from collections.abc import AsyncIterator

import psycopg
import pytest
from psycopg.types.json import Jsonb

from aurelian.db.engine import connect
from aurelian.db.upsert import Upsert

COLUMNS = {"key": "text", "value": "double precision", "note": "text", "data": "jsonb"}


@pytest.fixture
async def conn(empty_database_url: str) -> AsyncIterator[psycopg.AsyncConnection]:
    async with await connect(empty_database_url, autocommit=True) as conn:
        await conn.execute(
            "CREATE TABLE t (key text PRIMARY KEY, value double precision, note text, data jsonb)"
        )
        yield conn


async def _rows(conn: psycopg.AsyncConnection) -> list[tuple[object, ...]]:
    return await (await conn.execute("SELECT * FROM t ORDER BY key")).fetchall()


async def test_the_last_of_several_rows_with_one_key_counts(conn: psycopg.AsyncConnection) -> None:
    upsert = Upsert("public", "t", COLUMNS, ["key"])
    rows = [("a", 1.0, "x", Jsonb([1])), ("b", 2.0, None, Jsonb({})), ("a", 3.0, "y", Jsonb([2]))]
    assert await upsert.write(conn, rows) == 2
    assert await _rows(conn) == [("a", 3.0, "y", [2]), ("b", 2.0, None, {})]


async def test_rows_that_are_as_they_were_are_not_written(conn: psycopg.AsyncConnection) -> None:
    upsert = Upsert("public", "t", COLUMNS, ["key"])
    await upsert.write(conn, [("a", 1.0, None, Jsonb([1])), ("b", 2.0, "x", Jsonb([]))])
    before = await (await conn.execute("SELECT key, xmin FROM t ORDER BY key")).fetchall()
    assert await upsert.write(conn, [("a", 1.0, None, Jsonb([1])), ("b", 5.0, "x", Jsonb([]))]) == 1
    after = await (await conn.execute("SELECT key, xmin FROM t ORDER BY key")).fetchall()
    assert (after[0], after[1] != before[1]) == (before[0], True)


async def test_only_the_replaced_columns_change(conn: psycopg.AsyncConnection) -> None:
    upsert = Upsert("public", "t", COLUMNS, ["key"], replaced=["value"])
    await upsert.write(conn, [("a", 1.0, "first", Jsonb(1))])
    await upsert.write(conn, [("a", 2.0, "second", Jsonb(2))])
    assert await _rows(conn) == [("a", 2.0, "first", 1)]


async def test_no_rows_are_no_statement(conn: psycopg.AsyncConnection) -> None:
    assert await Upsert("public", "no_such_table", COLUMNS, ["key"]).write(conn, []) == 0
