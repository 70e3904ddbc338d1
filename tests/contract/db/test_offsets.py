"""Offsets that the database owns: claims, advances, and zombies between UPDATE and COMMIT."""

from __future__ import annotations

import psycopg
import pytest

from aurelian.db.engine import as_role, connect
from aurelian.db.offsets import Claim, Fenced, Fingerprint, advance, claim, halt
from aurelian.model.record import Partition

ONE, TWO = Partition("topic", 1), Partition("topic", 2)
CONSUMER = ("historian", "test", "log-1")
IDS = {"topic": "id-1"}


async def test_a_claim_goes_on_where_the_last_owner_committed(database_url: str) -> None:
    async with await connect(as_role(database_url, "historian"), autocommit=True) as conn:
        first = await claim(conn, *CONSUMER, [ONE, TWO], IDS)
        assert first == {ONE: Claim(0, 1, None), TWO: Claim(0, 1, None)}
        last = Fingerprint(1_780_000_000_000, 0xFFFF_FFFF)
        async with conn.transaction():
            await advance(conn, *CONSUMER, ONE, 0, 10, 1, last)
        assert await claim(conn, *CONSUMER, [ONE], IDS) == {ONE: Claim(10, 2, None, last)}
        assert await claim(conn, "historian", "test", "log-2", [ONE], IDS) == {
            ONE: Claim(0, 1, None)
        }


async def test_whoever_claimed_before_is_fenced(database_url: str) -> None:
    url = as_role(database_url, "historian")
    async with (
        await connect(url, autocommit=True) as old,
        await connect(url, autocommit=True) as new,
    ):
        await claim(old, *CONSUMER, [ONE], IDS)
        await claim(new, *CONSUMER, [ONE], IDS)
        with pytest.raises(Fenced):
            async with old.transaction():
                await advance(old, *CONSUMER, ONE, 0, 5, 1, None)
        with pytest.raises(Fenced):
            async with new.transaction():
                await advance(new, *CONSUMER, ONE, 3, 5, 2, None)
        async with new.transaction():
            await advance(new, *CONSUMER, ONE, 0, 7, 2, None)
        assert (await claim(old, *CONSUMER, [ONE], IDS))[ONE].next_offset == 7


async def test_a_zombie_between_update_and_commit_loses_its_session_and_its_writes(
    database_url: str,
) -> None:
    url = as_role(database_url, "historian")
    async with await connect(url, autocommit=True) as new:
        zombie = await connect(url, autocommit=True)
        await claim(zombie, *CONSUMER, [ONE], IDS)
        await zombie.execute("SET idle_in_transaction_session_timeout = '1s'")
        await zombie.execute("BEGIN")
        await advance(zombie, *CONSUMER, ONE, 0, 99, 1, None)
        # Paused here. The heir waits for the row at most until the server ends the zombie's
        # session.
        heir = await claim(new, *CONSUMER, [ONE], IDS)
        assert heir[ONE] == Claim(0, 2, None)
        with pytest.raises(
            (psycopg.OperationalError, psycopg.errors.IdleInTransactionSessionTimeout)
        ):
            await zombie.execute("COMMIT")
        await zombie.close()


async def test_a_halted_partition_takes_no_more(database_url: str) -> None:
    async with await connect(as_role(database_url, "historian"), autocommit=True) as conn:
        await claim(conn, *CONSUMER, [ONE], IDS)
        async with conn.transaction():
            await halt(conn, *CONSUMER, ONE, 1, "another log")
        assert (await claim(conn, *CONSUMER, [ONE], IDS))[ONE].halted == "another log"
        with pytest.raises(Fenced):
            async with conn.transaction():
                await advance(conn, *CONSUMER, ONE, 0, 1, 2, None)


async def test_a_topic_that_was_made_again_is_known_by_what_was_consumed(
    database_url: str,
) -> None:
    async with await connect(as_role(database_url, "historian"), autocommit=True) as conn:
        assert not (await claim(conn, *CONSUMER, [ONE, TWO], {}))[ONE].is_replaced
        await claim(conn, *CONSUMER, [ONE, TWO], IDS)
        async with conn.transaction():
            await advance(conn, *CONSUMER, ONE, 0, 5, 2, None)
        again = await claim(conn, *CONSUMER, [ONE, TWO], {"topic": "id-2"})
        assert again[ONE].is_replaced
        assert not again[TWO].is_replaced, "nothing of it was consumed"
        assert not (await claim(conn, *CONSUMER, [ONE], IDS))[ONE].is_replaced
