"""A transaction that stays open at a week's turn holds off the making of weeks, and nothing else
(5)."""

from __future__ import annotations

import asyncio
import contextlib

import psycopg

from aurelian.db.engine import as_role
from historian import metrics
from historian.partition_care import care_for_partitions
from tests.waiting import until

WEEKS = """
SELECT c.relname FROM pg_inherits i JOIN pg_class c ON c.oid = i.inhrelid
WHERE i.inhparent = 'historian.sample_number'::regclass AND c.relname NOT LIKE '%default'
ORDER BY 1 DESC"""


async def test_a_long_read_transaction_delays_a_week_and_stops_nothing(database_url: str) -> None:
    with psycopg.connect(database_url, autocommit=True) as conn:
        newest = conn.execute(WEEKS).fetchone()
        assert newest is not None
        conn.execute(f"DROP TABLE historian.{newest[0]}")  # type: ignore[arg-type]

    def weeks() -> list[str]:
        with psycopg.connect(database_url) as conn:
            return [name for (name,) in conn.execute(WEEKS).fetchall()]

    failures = metrics.PARTITION_CARE_FAILURES._value
    before = failures.get()
    with psycopg.connect(database_url) as backup:
        backup.execute("SELECT count(*) FROM historian.sample_number")  # locks every partition
        care = asyncio.create_task(
            care_for_partitions(as_role(database_url, "historian"), 400, every_s=0.2, again_s=0.1)
        )
        try:
            await until(lambda: failures.get() >= before + 2)
            assert not care.done() and newest[0] not in weeks()
            with psycopg.connect(as_role(database_url, "historian")) as writing:
                writing.execute("SET lock_timeout = '3s'")
                writing.execute(
                    "INSERT INTO historian.sample_number VALUES (1, now() + interval '28 days', 0, "
                    "NULL, NULL, now(), now(), 0, 0, 1, 1.0)"
                )
            backup.rollback()
            await until(lambda: newest[0] in weeks())
            await until(lambda: metrics.PARTITION_CARE_DONE._value.get() > 0)
        finally:
            care.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await care
