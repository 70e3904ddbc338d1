"""SQL of `historian.late_inbox`: batches that came too late to be stored beside live ones. Written
by transaction.py, taken out by late_merge.py."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import psycopg
from psycopg.rows import TupleRow

from aurelian.backbone.topics import SAMPLES
from aurelian.model import codec
from aurelian.model.record import Record
from historian import metrics
from historian.decoding import DecodedRecord

Connection = psycopg.AsyncConnection[TupleRow]


class MergedMeanwhile(Exception):
    """Another historian has taken the same batch out of the inbox."""


@dataclass(frozen=True, slots=True)
class Late:
    """A batch of the inbox; `record`: where it was read, with the batch as its value."""

    id: int
    log_id: str
    record: Record


async def insert_late(
    conn: Connection, decoded_records: Sequence[DecodedRecord], log_id: str
) -> None:
    """Keep the late samples of records until late_merge.py stores them."""
    for decoded in decoded_records:
        record = decoded.record
        for batch, reason in decoded.late:
            await conn.execute(
                "INSERT INTO historian.late_inbox (owner, samples, payload, reason, log_id, "
                'partition, "offset", kafka_time, recorded_at) '
                "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, now())",
                (
                    decoded.owner,
                    len(batch),
                    codec.encode(batch),
                    reason,
                    log_id,
                    record.partition,
                    record.offset,
                    record.timestamp_ms,
                ),
            )


async def take_out(conn: Connection, decoded_records: Sequence[DecodedRecord]) -> None:
    """Take those out of the inbox that are stored in this transaction.

    Raises:
        MergedMeanwhile: one is there no more.
    """
    ids = [each.late_id for each in decoded_records if each.late_id]
    if not ids:
        return
    cursor = await conn.execute("DELETE FROM historian.late_inbox WHERE id = ANY(%s)", (ids,))
    if cursor.rowcount != len(ids):
        raise MergedMeanwhile(f"{len(ids) - cursor.rowcount} of {len(ids)} batches")


async def oldest_late(conn: Connection, after: int, most: int) -> list[Late]:
    """Batches of the inbox, oldest first, from the one after an id on."""
    cursor = await conn.execute(
        'SELECT id, log_id, partition, "offset", kafka_time, payload FROM historian.late_inbox '
        "WHERE id > %s ORDER BY id LIMIT %s",
        (after, most),
    )
    return [
        Late(
            row[0],
            row[1],
            Record(SAMPLES.name, row[2], row[3], row[4], None, bytes(row[5])),
        )
        for row in await cursor.fetchall()
    ]


async def measure_late(conn: Connection) -> None:
    """Set the metrics of the inbox."""
    cursor = await conn.execute(
        "SELECT coalesce(sum(samples), 0)::bigint, "
        "coalesce(extract(epoch FROM now() - min(recorded_at)), 0)::double precision "
        "FROM historian.late_inbox"
    )
    row = await cursor.fetchone()
    assert row is not None
    metrics.LATE_SAMPLES.set(row[0])
    metrics.LATE_SECONDS.set(row[1])
