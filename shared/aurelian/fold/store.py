"""The rows that fold.py keeps of a consumer: who owns its partitions, states by key, the memory of
shared topics."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from psycopg import AsyncConnection, sql
from psycopg.types.json import Jsonb

from aurelian.db.logs import current_log
from aurelian.db.offsets import Claim, Fenced, Fingerprint, fingerprint
from aurelian.fold.contract import State
from aurelian.model.record import Partition, Record
from aurelian.runtime.health import Health

log = logging.getLogger(__name__)

_MEMORY = "@memory"
"""Key of the memory among the states' keys."""


@dataclass(frozen=True, slots=True)
class FoldStore:
    """`<service>.fold_state` and `<service>.kafka_offset` of one consumer, on the caller's
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

        Raises:
            Fenced: one of them was claimed by another since.
        """
        cursor = await self.conn.execute(
            _OWNERS.format(sql.Identifier(self.service, "kafka_offset")), [self.consumer, log_id]
        )
        epochs = {
            Partition(topic, number): epoch for topic, number, epoch in await cursor.fetchall()
        }
        for partition, claim in claims.items():
            if epochs.get(partition) != claim.epoch:
                raise Fenced(partition)

    async def save(self, states: Mapping[str, State], partition_of: Mapping[str, int]) -> None:
        """Write the snapshots of the keys given."""
        rows = [
            (
                self.consumer,
                key,
                Jsonb({"partition": partition_of.get(key), "state": state}, _dumps),
            )
            for key, state in states.items()
        ]
        if rows:
            async with self.conn.cursor() as cursor:
                await cursor.executemany(self._sql(_SAVE), rows)

    async def load(self, numbers: Sequence[int] | None) -> dict[str, tuple[int | None, State]]:
        """Read the states of the partitions `numbers` (None: all): key to partition and state."""
        cursor = await self.conn.execute(
            self._sql(_LOAD), {"consumer": self.consumer, "memory": _MEMORY, "partitions": numbers}
        )
        return {key: (row["partition"], row["state"]) for key, row in await cursor.fetchall()}

    async def save_memory(
        self, log_id: str, offsets: Mapping[Partition, int], memory: State
    ) -> None:
        """Write the memory and the offsets that it has learned up to."""
        at = {f"{p.topic}/{p.number}": offset for p, offset in offsets.items()}
        state = Jsonb({"log_id": log_id, "offsets": at, "memory": memory}, _dumps)
        await self.conn.execute(self._sql(_SAVE), [self.consumer, _MEMORY, state])

    async def load_memory(
        self, log_id: str, partitions: Sequence[Partition]
    ) -> tuple[State, dict[Partition, int]]:
        """Read the memory and where to go on learning in each partition: 0 in another log."""
        cursor = await self.conn.execute(self._sql(_LOAD_MEMORY), [self.consumer, _MEMORY])
        row = await cursor.fetchone()
        if row is None:
            return {}, dict.fromkeys(partitions, 0)
        offsets = row[0]["offsets"] if row[0]["log_id"] == log_id else {}
        return row[0]["memory"], {
            p: int(offsets.get(f"{p.topic}/{p.number}", 0)) for p in partitions
        }

    def _sql(self, statement: sql.SQL) -> sql.Composed:
        return statement.format(sql.Identifier(self.service, "fold_state"))


class Position:
    """Where a fold is in an owned partition.

    It begins one record early, at the last one that was folded: if that is another record now, so
    is the log.

    Attributes:
        claim: what we claimed.
        committed: next offset as the database has it.
        next: next offset after what was folded.
        last: fingerprint of the record before `next`.
        end: end of the log as the broker said when this was loaded.
    """

    __slots__ = ("claim", "committed", "end", "last", "next", "proven")

    def __init__(self, claim: Claim) -> None:
        self.claim = claim
        self.end = 0
        self.next = self.committed = self.claim.next_offset
        self.last: Fingerprint | None = self.claim.fingerprint
        self.proven = self.claim.next_offset == 0

    @property
    def start(self) -> int:
        """Offset to read from."""
        return max(self.claim.next_offset - 1, 0)

    def contradicts(self, record: Record) -> str | None:
        """Say why the record shows that this is not the log that we read before; None when it does
        not."""
        if self.proven:
            if record.offset < self.next:
                return f"offset {record.offset} came after {self.next - 1}"
            return None
        self.proven = True
        if record.offset < self.next - 1:
            return f"the log was read up to {self.next} and now begins at {record.offset}"
        if record.offset == self.next - 1 and fingerprint(record) != self.last:
            return f"the record at offset {record.offset} is not the one that was folded"
        if record.offset > self.next:
            fields = {
                "topic": record.topic,
                "partition": record.partition,
                "lost": record.offset - self.next,
            }
            log.warning("records went before they were folded", extra={"fields": fields})
        return None


def _dumps(state: object) -> str:
    return json.dumps(state, separators=(",", ":"), allow_nan=False)


_OWNERS = sql.SQL("""
    SELECT topic, partition, owner_epoch FROM {} WHERE consumer = %s AND log_id = %s
    ORDER BY topic, partition FOR SHARE""")

_SAVE = sql.SQL("""
    INSERT INTO {} (consumer, key, state, changed_at) VALUES (%s, %s, %s, now())
    ON CONFLICT (consumer, key) DO UPDATE SET state = excluded.state, changed_at = excluded.changed_at""")

_LOAD = sql.SQL("""
    SELECT key, state FROM {} WHERE consumer = %(consumer)s AND key <> %(memory)s AND (
        %(partitions)s::int[] IS NULL OR (state ->> 'partition')::int = ANY(%(partitions)s))""")

_LOAD_MEMORY = sql.SQL("SELECT state FROM {} WHERE consumer = %s AND key = %s")
