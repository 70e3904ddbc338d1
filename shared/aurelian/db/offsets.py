"""Offsets that the database owns (D7). Called by the historian and by `fold/session.py` inside
their transactions.

A consumer claims a partition, which raises the owner epoch, and advances the offset in the same
transaction as what
it stored. Whoever claimed before is fenced: its next advance finds another epoch and must roll
back.
"""

from __future__ import annotations

import zlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import psycopg
from psycopg import sql
from psycopg.rows import TupleRow

from aurelian.model.record import Partition, Record


class Fenced(Exception):
    """Another owner claimed the partition, or its offset is not where we left it: roll back and let
    it go."""

    def __init__(self, partition: Partition) -> None:
        super().__init__(f"{partition.topic}/{partition.number} has another owner now")
        self.partition = partition


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What the record before the next offset was: tells another log from ours when it is read
    again."""

    timestamp_ms: int
    hash: int


@dataclass(frozen=True, slots=True)
class Claim:
    """A partition that is ours.

    Attributes:
        next_offset: where to go on.
        epoch: proves the ownership in `advance`.
        halted: why it may not go on; None: it may.
        fingerprint: of the record before `next_offset`; None: nothing was stored yet.
        is_replaced: the topic was deleted and made again since; the caller halts.
    """

    next_offset: int
    epoch: int
    halted: str | None
    fingerprint: Fingerprint | None = None
    is_replaced: bool = False

    @property
    def is_first(self) -> bool:
        """Nobody claimed the partition of this log before."""
        return self.epoch == 1


def fingerprint(record: Record) -> Fingerprint:
    """Take a record's fingerprint: its timestamp and a CRC-32 of key and value."""
    return Fingerprint(
        record.timestamp_ms, zlib.crc32(record.value or b"", zlib.crc32(record.key or b""))
    )


async def claim(
    conn: psycopg.AsyncConnection[TupleRow],
    service: str,
    consumer: str,
    log_id: str,
    partitions: Sequence[Partition],
    topic_ids: Mapping[str, str],
) -> dict[Partition, Claim]:
    """Become the owner of `partitions` in `log_id`, fencing whoever was before; commits.

    `topic_ids`: Kafka's id of each topic; a partition of which something was consumed under another
    id is replaced.

    Waits for an open transaction of the former owner (at most its idle timeout; `LockNotAvailable`
    after the session's lock timeout: try again).

    Raises:
        psycopg.Error: as PostgreSQL says; nothing is claimed then.
    """
    statement = sql.SQL(
        "INSERT INTO {} AS o (consumer, log_id, topic, partition, topic_id, next_offset, "
        "owner_epoch, changed_at) VALUES (%s, %s, %s, %s, %s, 0, 1, now()) "
        "ON CONFLICT (consumer, log_id, topic, partition) DO UPDATE SET "
        "owner_epoch = o.owner_epoch + 1, changed_at = now(), "
        "topic_id = CASE WHEN o.next_offset = 0 THEN excluded.topic_id "
        "ELSE coalesce(o.topic_id, excluded.topic_id) END "
        "RETURNING next_offset, owner_epoch, halted, last_timestamp_ms, last_hash, topic_id"
    ).format(_table(service))
    claims: dict[Partition, Claim] = {}
    async with conn.transaction():
        for partition in sorted(partitions):
            cursor = await conn.execute(
                statement,
                (
                    consumer,
                    log_id,
                    partition.topic,
                    partition.number,
                    topic_ids.get(partition.topic),
                ),
            )
            row = await cursor.fetchone()
            assert row is not None
            last = None if row[4] is None else Fingerprint(row[3], row[4])
            id = topic_ids.get(partition.topic)
            claims[partition] = Claim(
                row[0], row[1], row[2], last, is_replaced=id is not None and row[5] != id
            )
    return claims


async def advance(
    conn: psycopg.AsyncConnection[TupleRow],
    service: str,
    consumer: str,
    log_id: str,
    partition: Partition,
    old: int,
    new: int,
    epoch: int,
    last: Fingerprint | None,
) -> None:
    """Move the offset from `old` to `new` in the caller's open transaction.

    Raises:
        Fenced: the partition is not ours any more; the caller rolls back.
    """
    cursor = await conn.execute(
        sql.SQL(
            "UPDATE {} SET next_offset = %s, last_timestamp_ms = %s, last_hash = %s, changed_at = "
            "now() "
            "WHERE consumer = %s AND log_id = %s AND topic = %s AND partition = %s "
            "AND next_offset = %s AND owner_epoch = %s AND halted IS NULL"
        ).format(_table(service)),
        (
            new,
            None if last is None else last.timestamp_ms,
            None if last is None else last.hash,
            consumer,
            log_id,
            partition.topic,
            partition.number,
            old,
            epoch,
        ),
    )
    if cursor.rowcount != 1:
        raise Fenced(partition)


async def halt(
    conn: psycopg.AsyncConnection[TupleRow],
    service: str,
    consumer: str,
    log_id: str,
    partition: Partition,
    epoch: int,
    reason: str,
) -> None:
    """Write down why a partition may not go on, in the caller's transaction; only a newly declared
    log frees it.

    Raises:
        Fenced: the partition is not ours any more.
    """
    cursor = await conn.execute(
        sql.SQL(
            "UPDATE {} SET halted = %s, changed_at = now() WHERE consumer = %s AND log_id = %s "
            "AND topic = %s "
            "AND partition = %s AND owner_epoch = %s"
        ).format(_table(service)),
        (reason, consumer, log_id, partition.topic, partition.number, epoch),
    )
    if cursor.rowcount != 1:
        raise Fenced(partition)


def _table(service: str) -> sql.Identifier:
    return sql.Identifier(service, "kafka_offset")
