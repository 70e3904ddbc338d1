"""SQL of which batches and records came: how far each stream is stored, and gaps for what did not
come. Called by writer.py, inside its transaction, and by processor.py."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Sequence

import psycopg
from psycopg.rows import TupleRow

from aurelian.model.plant_parts import NAMESPACE
from aurelian.model.record import Partition
from historian import metrics
from historian.decoding import DecodedRecord
from historian.delivery import BatchStream, StreamProgress

Connection = psycopg.AsyncConnection[TupleRow]


async def load_progress(
    conn: Connection, streams: Collection[BatchStream]
) -> dict[BatchStream, StreamProgress]:
    """How far those of `streams` are stored that are known."""
    if not streams:
        return {}
    gateways, boots, lines = zip(*sorted(streams), strict=True)
    cursor = await conn.execute(
        "SELECT gateway, boot, line, owner, stored_to, beyond FROM historian.delivery JOIN "
        "unnest(%s::text[], %s::bigint[], %s::text[]) AS w (gateway, boot, line) "
        "USING (gateway, boot, line)",
        (list(gateways), list(boots), list(lines)),
    )
    return {
        BatchStream(*row[:3]): StreamProgress(row[3], row[4], list(row[5]))
        for row in await cursor.fetchall()
    }


async def recent_streams(conn: Connection, days: int) -> dict[BatchStream, int]:
    """How far each stream is stored that was active in the last `days`."""
    cursor = await conn.execute(
        "SELECT gateway, boot, line, stored_to FROM historian.delivery WHERE changed_at > now() "
        "- make_interval(days => %s)",
        (days,),
    )
    return {BatchStream(*row[:3]): row[3] for row in await cursor.fetchall()}


async def save_streams(
    conn: Connection, decoded_records: Sequence[DecodedRecord]
) -> dict[BatchStream, int]:
    """Write how far each stream is stored with these records; return it."""
    last = {
        decoded.stream: decoded
        for decoded in decoded_records
        if decoded.stream is not None and decoded.sequence
    }
    rows = [
        (
            stream.gateway,
            stream.boot,
            stream.line,
            decoded.owner,
            decoded.stored_to,
            list(decoded.beyond),
            bool(decoded.beyond),
        )
        for stream, decoded in sorted(last.items())
    ]
    if rows:
        async with conn.cursor() as cursor:
            await cursor.executemany(
                "INSERT INTO historian.delivery AS d "
                "(gateway, boot, line, owner, stored_to, beyond, changed_at, hole_since) "
                "VALUES (%s, %s, %s, %s, %s, %s, now(), CASE WHEN %s THEN now() END) "
                "ON CONFLICT (gateway, boot, line) DO UPDATE SET stored_to = excluded.stored_to, "
                "beyond = excluded.beyond, changed_at = now(), hole_since = CASE WHEN "
                "excluded.hole_since IS NULL "
                "THEN NULL WHEN d.stored_to = excluded.stored_to THEN coalesce(d.hole_since, "
                "now()) ELSE now() END",
                rows,
            )
    filled = [
        decoded.stream.hole_id(after)
        for decoded in decoded_records
        if decoded.stream
        for after in decoded.closed
    ]
    if filled:
        await conn.execute(
            "UPDATE historian.gap SET recovered = true WHERE id = ANY(%s::uuid[])", (filled,)
        )
    return {stream: decoded.stored_to for stream, decoded in last.items()}


async def insert_hole_gaps(conn: Connection, hole_limit_s: float) -> int:
    """Write a gap for each hole that is open longer than `hole_limit_s`; return how many are
    new."""
    cursor = await conn.execute(
        "SELECT gateway, boot, line, owner, stored_to, beyond, hole_since FROM historian.delivery "
        "WHERE hole_since < now() - make_interval(secs => %s)",
        (hole_limit_s,),
    )
    made = 0
    for gateway, boot, line, owner, stored_to, beyond, since in await cursor.fetchall():
        missing = beyond[0] - stored_to - 1
        reason = (
            f"batches {stored_to + 1} to {beyond[0] - 1} of {gateway} (boot {boot}) did not come"
            if missing > 1
            else f"batch {stored_to + 1} of {gateway} (boot {boot}) did not come"
        )
        inserted = await conn.execute(
            "INSERT INTO historian.gap (id, owner, source, line, from_time, to_time, count, "
            "reason, recovered, recorded_at) "
            "VALUES (%s, %s, '', %s, %s, %s, 0, %s, false, now()) ON CONFLICT (id) DO NOTHING",
            (
                BatchStream(gateway, boot, line).hole_id(stored_to),
                owner,
                line,
                since,
                since,
                reason,
            ),
        )
        made += inserted.rowcount
    metrics.GAPS.labels("delivery").inc(made)
    return made


async def insert_log_gap(
    conn: Connection, log_id: str, partition: Partition, what: str, reason: str, lost: int = 0
) -> None:
    """Write that `lost` records of a partition are missing, or may be (0): its log was trimmed or
    replaced.

    `what` happened names the gap: the same thing seen again is the same gap.
    """
    name = f"{partition.topic}/{partition.number}"
    cursor = await conn.execute(
        "INSERT INTO historian.gap AS g (id, owner, source, line, from_time, to_time, count, "
        "reason, "
        "recovered, recorded_at) SELECT %s, '*', 'kafka', %s, "
        "coalesce(to_timestamp(max(last_timestamp_ms) / 1000.0), now()), now(), %s, %s, false, "
        "now() "
        "FROM historian.kafka_offset WHERE log_id = %s AND topic = %s AND partition = %s "
        "ON CONFLICT (id) DO UPDATE SET count = excluded.count, reason = excluded.reason, "
        "to_time = excluded.to_time WHERE g.count < excluded.count",
        (
            str(uuid.uuid5(NAMESPACE, f"log|{log_id}|{name}|{what}")),
            name,
            lost,
            reason,
            log_id,
            partition.topic,
            partition.number,
        ),
    )
    metrics.GAPS.labels("log").inc(cursor.rowcount)
