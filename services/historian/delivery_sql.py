"""SQL of which batches and records came: how far each stream is stored, and gaps for what did not
come. Called by writer.py, inside its transaction, and by processor.py."""

from __future__ import annotations

import uuid
from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

import psycopg
from psycopg.rows import TupleRow

from aurelian.model.plant_parts import NAMESPACE
from aurelian.model.record import Partition
from historian import metrics
from historian.decoding import DecodedRecord
from historian.delivery import BatchStream, Settled, StreamProgress

Connection = psycopg.AsyncConnection[TupleRow]


async def load_progress(
    conn: Connection, streams: Collection[BatchStream]
) -> dict[BatchStream, StreamProgress]:
    """How far those of `streams` are stored that are known."""
    if not streams:
        return {}
    gateways, boots, lines = zip(*sorted(streams), strict=True)
    cursor = await conn.execute(
        "SELECT gateway, boot, line, owner, stored_to, beyond, given_up FROM historian.delivery "
        "JOIN unnest(%s::text[], %s::bigint[], %s::text[]) AS w (gateway, boot, line) "
        "USING (gateway, boot, line)",
        (list(gateways), list(boots), list(lines)),
    )
    return {
        BatchStream(*row[:3]): StreamProgress(row[3], row[4], list(row[5]), list(row[6]))
        for row in await cursor.fetchall()
    }


async def recent_streams(conn: Connection, days: int) -> dict[BatchStream, Settled]:
    """How far each stream is settled that was active in the last `days` and is not over."""
    cursor = await conn.execute(
        "SELECT gateway, boot, line, stored_to, beyond FROM historian.delivery WHERE changed_at > "
        "now() - make_interval(days => %s) AND ended_at IS NULL",
        (days,),
    )
    return {
        BatchStream(*row[:3]): Settled(row[3], tuple(row[4])) for row in await cursor.fetchall()
    }


async def save_streams(
    conn: Connection, decoded_records: Sequence[DecodedRecord]
) -> dict[BatchStream, Settled]:
    """Write how far each stream is settled with these records; return it."""
    last = {
        stream: progress
        for decoded in decoded_records
        for stream, progress in decoded.changed.items()
    }
    rows = [
        (
            *stream,
            progress.owner,
            progress.stored_to,
            progress.beyond,
            progress.given_up,
            bool(progress.beyond),
        )
        for stream, progress in sorted(last.items())
    ]
    if rows:
        async with conn.cursor() as cursor:
            await cursor.executemany(
                "INSERT INTO historian.delivery AS d "
                "(gateway, boot, line, owner, stored_to, beyond, given_up, changed_at, hole_since) "
                "VALUES (%s, %s, %s, %s, %s, %s, %s, now(), CASE WHEN %s THEN now() END) "
                "ON CONFLICT (gateway, boot, line) DO UPDATE SET stored_to = excluded.stored_to, "
                "owner = CASE d.owner WHEN '' THEN excluded.owner ELSE d.owner END, "
                "beyond = excluded.beyond, given_up = excluded.given_up, ended_at = NULL, "
                "changed_at = now(), hole_since = CASE WHEN "
                "excluded.hole_since IS NULL "
                "THEN NULL WHEN d.stored_to = excluded.stored_to THEN coalesce(d.hole_since, "
                "now()) ELSE now() END",
                rows,
            )
    await _mark_recovered(conn, [gap for decoded in decoded_records for gap in decoded.closed])
    return {stream: progress.settled for stream, progress in last.items()}


async def _mark_recovered(conn: Connection, gaps: list[str]) -> None:
    if gaps:
        await conn.execute(
            "UPDATE historian.gap SET recovered = true WHERE id = ANY(%s::uuid[])", (gaps,)
        )


async def insert_hole_gaps(conn: Connection, hole_limit_s: float) -> int:
    """Write a gap for each hole that is open longer than `hole_limit_s` and has none yet; return
    how many are new."""
    made = 0
    async with conn.transaction():
        cursor = await conn.execute(
            "UPDATE historian.delivery SET gap_after = stored_to "
            "WHERE hole_since < now() - make_interval(secs => %s) AND gap_after IS DISTINCT FROM "
            "stored_to "
            "RETURNING gateway, boot, line, owner, stored_to, beyond[1] - 1, hole_since",
            (hole_limit_s,),
        )
        for gateway, boot, line, owner, stored_to, last, since in await cursor.fetchall():
            stream = BatchStream(gateway, boot, line)
            made += await _insert_hole_gap(conn, stream, owner, stored_to, last, since)
    metrics.GAPS.labels("delivery").inc(made)
    return made


async def _insert_hole_gap(
    conn: Connection, stream: BatchStream, owner: str, stored_to: int, last: int, since: datetime
) -> int:
    reason = (
        f"batches {stored_to + 1} to {last} of {stream.gateway} (boot {stream.boot}) did not come"
        if last > stored_to + 1
        else f"batch {last} of {stream.gateway} (boot {stream.boot}) did not come"
    )
    inserted = await conn.execute(
        "INSERT INTO historian.gap (id, owner, source, line, from_time, to_time, count, "
        "reason, recovered, recorded_at) "
        "VALUES (%s, %s, '', %s, %s, %s, 0, %s, false, now()) ON CONFLICT (id) DO NOTHING",
        (stream.hole_id(stored_to), owner, stream.line, since, since, reason),
    )
    return inserted.rowcount


async def close_old_holes(
    conn: Connection, known: Mapping[BatchStream, StreamProgress], close_s: float
) -> dict[BatchStream, Settled]:
    """Give up what is missing longer than `close_s`, so that what was confirmed as a gap holds
    nothing back; what still comes is stored. Return the streams to announce.

    Streams that another historian works on are left to it: only `known` ones and those at rest.
    """
    closed: dict[BatchStream, Settled] = {}
    async with conn.transaction():
        cursor = await conn.execute(
            "SELECT gateway, boot, line, owner, stored_to, beyond, given_up, changed_at < now() - "
            "make_interval(secs => %(s)s) FROM historian.delivery "
            "WHERE hole_since < now() - make_interval(secs => %(s)s) AND gap_after = stored_to "
            "FOR UPDATE SKIP LOCKED",
            {"s": close_s},
        )
        for *name, owner, stored_to, beyond, given_up, rests in await cursor.fetchall():
            stream = BatchStream(*name)
            mine = known.get(stream)
            if mine is None and not rests:
                continue
            if mine is not None and mine.stored_to == stored_to:
                mine.give_up()
            progress = StreamProgress(owner, stored_to, list(beyond), list(given_up))
            progress.give_up()
            await conn.execute(
                "UPDATE historian.delivery SET stored_to = %s, beyond = %s, given_up = %s, "
                "hole_since = CASE WHEN %s THEN now() END "
                "WHERE gateway = %s AND boot = %s AND line = %s",
                (
                    progress.stored_to,
                    progress.beyond,
                    progress.given_up,
                    bool(progress.beyond),
                    *stream,
                ),
            )
            closed[stream] = progress.settled
    return closed


async def end_streams(
    conn: Connection, ended_after_s: float, forgotten_after_s: float
) -> list[BatchStream]:
    """Mark streams as over whose gateway has started anew since, where nothing is missing and
    nothing came for `ended_after_s`; return them. Later, when Kafka cannot have their records any
    more, their rows go."""
    cursor = await conn.execute(
        "UPDATE historian.delivery AS d SET ended_at = now() WHERE ended_at IS NULL "
        "AND hole_since IS NULL AND changed_at < now() - make_interval(secs => %s) "
        "AND EXISTS (SELECT FROM historian.delivery AS n WHERE n.gateway = d.gateway AND n.boot > "
        "d.boot) RETURNING gateway, boot, line",
        (ended_after_s,),
    )
    ended = [BatchStream(*row) for row in await cursor.fetchall()]
    await conn.execute(
        "DELETE FROM historian.delivery WHERE ended_at < now() - make_interval(secs => %s)",
        (forgotten_after_s,),
    )
    return ended


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
