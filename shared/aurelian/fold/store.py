"""The rows that are kept of a fold: who owns its partitions, states by key and part, the memory of
shared topics. Used by session.py."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from psycopg import AsyncConnection, sql

from aurelian.db.logs import current_log
from aurelian.db.offsets import Claim, Fenced
from aurelian.fold.contract import State
from aurelian.model.record import Partition
from aurelian.runtime.health import Health

_MEMORY = "@memory"
"""Key of the memory among the states' keys."""


@dataclass(frozen=True, slots=True)
class FoldStore:
    """`<service>.fold_part` and `<service>.kafka_offset` of one consumer, on the caller's
    connection."""

    conn: AsyncConnection
    service: str
    consumer: str

    async def become_only_one(self, health: Health) -> None:
        """Wait until no other instance folds; the lock goes with the connection."""
        while True:
            cursor = await self.conn.execute(
                "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))",
                [f"fold {self.service}/{self.consumer}"],
            )
            row = await cursor.fetchone()
            if row is not None and row[0]:
                return
            health.ready = "standing by: another instance folds"
            await asyncio.sleep(1.0)

    async def await_log(self, health: Health) -> str:
        """Wait until a Kafka log is declared; return its id."""
        while (log_id := await current_log(self.conn)) is None:
            health.ready = "no Kafka log is declared in platform.kafka_log"
            await asyncio.sleep(1.0)
        return log_id

    async def prove_ownership(self, log_id: str, claims: Mapping[Partition, Claim]) -> None:
        """Lock our offsets against another's claim until the commit of the open transaction.

        Only ours, in the order of `claim`, and at once as strongly as `advance` needs them: two
        instances never wait for each other in a circle.

        Raises:
            Fenced: one of them was claimed by another since.
        """
        cursor = await self.conn.execute(
            _OWNERS.format(sql.Identifier(self.service, "kafka_offset")),
            [
                self.consumer,
                log_id,
                [partition.topic for partition in claims],
                [partition.number for partition in claims],
            ],
        )
        epochs = {
            Partition(topic, number): epoch for topic, number, epoch in await cursor.fetchall()
        }
        for partition, claim in claims.items():
            if epochs.get(partition) != claim.epoch:
                raise Fenced(partition)

    async def save(self, states: Mapping[str, State], partition_of: Mapping[str, int]) -> None:
        """Write the parts given; the other parts of their keys stay."""
        rows = [
            (key, part, partition_of.get(key), _dumps(content))
            for key, state in states.items()
            for part, content in state.items()
        ]
        if rows:
            keys, parts, partitions, contents = (list(column) for column in zip(*rows, strict=True))
            await self.conn.execute(
                self._sql(_SAVE), [self.consumer, keys, parts, partitions, contents]
            )

    async def load(self, numbers: Sequence[int] | None) -> dict[str, tuple[int | None, State]]:
        """Read the states of the partitions `numbers` (None: all): key to partition and state.

        The caller has claimed the partitions: nobody else writes their states any more.
        """
        of_partitions = {
            "consumer": self.consumer,
            "memory": _MEMORY,
            "partitions": None if numbers is None else list(numbers),
        }
        await self.conn.execute(self._sql(_TAKE_OVER), of_partitions)
        cursor = await self.conn.execute(self._sql(_LOAD), of_partitions)
        states: dict[str, tuple[int | None, State]] = {}
        for key, part, partition, content in await cursor.fetchall():
            states.setdefault(key, (partition, {}))[1][part] = json.loads(content)
        return states

    async def save_memory(
        self, log_id: str, offsets: Mapping[Partition, int], memory: State
    ) -> None:
        """Write the memory and the offsets that it has learned up to."""
        at = {f"{p.topic}/{p.number}": offset for p, offset in offsets.items()}
        content = {"log_id": log_id, "offsets": at, "memory": memory}
        await self.save({_MEMORY: {"": content}}, {})

    async def load_memory(
        self, log_id: str, partitions: Sequence[Partition]
    ) -> tuple[State, dict[Partition, int]]:
        """Read the memory and where to go on learning in each partition: 0 in another log."""
        parameters = {"consumer": self.consumer, "memory": _MEMORY}
        cursor = await self.conn.execute(self._sql(_LOAD_MEMORY), parameters)
        row = await cursor.fetchone()
        if row is None:
            return {}, dict.fromkeys(partitions, 0)
        saved = json.loads(row[0])
        offsets = saved["offsets"] if saved["log_id"] == log_id else {}
        return saved["memory"], {
            p: int(offsets.get(f"{p.topic}/{p.number}", 0)) for p in partitions
        }

    def _sql(self, statement: sql.SQL) -> sql.Composed:
        return statement.format(
            parts=sql.Identifier(self.service, "fold_part"),
            before=sql.Identifier(self.service, "fold_state"),
        )


def _dumps(state: object) -> str:
    return json.dumps(state, separators=(",", ":"), allow_nan=False)


_OWNERS = sql.SQL("""
    SELECT topic, partition, owner_epoch FROM {} WHERE consumer = %s AND log_id = %s
    AND (topic, partition) IN (SELECT * FROM unnest(%s::text[], %s::int[]))
    ORDER BY topic, partition FOR UPDATE""")

_SAVE = sql.SQL("""
    INSERT INTO {parts} (consumer, key, part, partition, content, changed_at)
    SELECT %s, key, part, partition, content, now()
    FROM unnest(%b::text[], %b::text[], %b::int[], %b::text[]) AS r(key, part, partition, content)
    ON CONFLICT (consumer, key, part) DO UPDATE
    SET partition = excluded.partition, content = excluded.content, changed_at =
      excluded.changed_at""")

_LOAD = sql.SQL("""
    SELECT key, part, partition, content FROM {parts}
    WHERE consumer = %(consumer)s AND key <> %(memory)s
    AND (%(partitions)s::int[] IS NULL OR partition = ANY(%(partitions)s))""")

# The version before kept a whole state a row in `fold_state`. Its processes may run until their
# partitions are claimed, so only then is what they left complete.
_TAKE_OVER = sql.SQL("""
    WITH left_behind AS (
        DELETE FROM {before} WHERE consumer = %(consumer)s AND key <> %(memory)s AND (
            %(partitions)s::int[] IS NULL OR (state ->> 'partition')::int = ANY(%(partitions)s))
        RETURNING key, state)
    INSERT INTO {parts} (consumer, key, part, partition, content, changed_at)
    SELECT %(consumer)s, key, name, (state ->> 'partition')::int, part::text, now()
    FROM left_behind, jsonb_each(state -> 'state') AS parts(name, part)
    ON CONFLICT (consumer, key, part) DO UPDATE
    SET partition = excluded.partition, content = excluded.content, changed_at =
      excluded.changed_at""")

_LOAD_MEMORY = sql.SQL("""
    SELECT content FROM {parts} WHERE consumer = %(consumer)s AND key = %(memory)s
    UNION ALL SELECT state::text FROM {before} WHERE consumer = %(consumer)s AND key = %(memory)s
    LIMIT 1""")
