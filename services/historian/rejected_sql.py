"""SQL of `historian.rejected`. Called by writer.py, inside its transaction."""

from __future__ import annotations

from collections.abc import Sequence

import psycopg
from psycopg.rows import TupleRow

from aurelian.model.time import to_nearest_datetime
from historian.decoding import DecodedRecord, Rejection

Connection = psycopg.AsyncConnection[TupleRow]


async def insert_rejections(
    conn: Connection, decoded_records: Sequence[DecodedRecord], log_id: str
) -> list[Rejection]:
    """Keep what could not be stored, each once; return those that were new."""
    new = []
    for decoded in decoded_records:
        for rejection in decoded.rejections:
            cursor = await conn.execute(
                "INSERT INTO historian.rejected (owner, gateway, source, received_at, "
                "error_class, reason, origin, "
                "payload, payload_size, payload_sha256, samples, log_id, topic, partition, "
                '"offset", fingerprint) '
                "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) "
                "ON CONFLICT (fingerprint) DO NOTHING",
                (
                    rejection.owner,
                    rejection.gateway,
                    rejection.source,
                    to_nearest_datetime(rejection.received_at),
                    rejection.error_class,
                    rejection.reason,
                    rejection.origin,
                    rejection.payload,
                    rejection.payload_size,
                    rejection.payload_sha256,
                    rejection.samples,
                    log_id,
                    decoded.record.topic,
                    decoded.record.partition,
                    decoded.record.offset,
                    rejection.fingerprint,
                ),
            )
            if cursor.rowcount:
                new.append(rejection)
    return new
