"""SQL of everything that is no sample, inside the writer's transaction: events, assets, refusals,
lanes. Called by writer.py."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import psycopg
from psycopg.rows import TupleRow

from aurelian.model.codec import SourceEvent
from aurelian.model.plant_parts import NAMESPACE
from aurelian.model.record import Partition
from aurelian.model.time import to_nearest_datetime
from historian import metrics
from historian.delivery import Lane
from historian.pieces import Piece, Refusal

Connection = psycopg.AsyncConnection[TupleRow]


async def insert_refusals(conn: Connection, pieces: Sequence[Piece], log_id: str) -> list[Refusal]:
    """Keep what could not be stored, each once; return those that were new."""
    new = []
    for piece in pieces:
        for refusal in piece.refusals:
            cursor = await conn.execute(
                "INSERT INTO historian.rejected (owner, gateway, source, received_at, error_class, reason, origin, "
                'payload, payload_size, payload_sha256, samples, log_id, topic, partition, "offset", fingerprint) '
                "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s, %s) "
                "ON CONFLICT (fingerprint) DO NOTHING",
                (
                    refusal.owner,
                    refusal.gateway,
                    refusal.source,
                    to_nearest_datetime(refusal.received_at),
                    refusal.error_class,
                    refusal.reason,
                    refusal.origin,
                    refusal.payload,
                    refusal.payload_size,
                    refusal.payload_sha256,
                    refusal.samples,
                    log_id,
                    piece.record.topic,
                    piece.record.partition,
                    piece.record.offset,
                    refusal.fingerprint,
                ),
            )
            if cursor.rowcount:
                new.append(refusal)
    return new


async def save_lanes(conn: Connection, pieces: Sequence[Piece]) -> dict[Lane, int]:
    """Write how far each lane is stored with these pieces; return it."""
    last = {piece.lane: piece for piece in pieces if piece.lane is not None and piece.sequence}
    rows = [
        (
            lane.gateway,
            lane.boot,
            lane.line,
            piece.owner,
            piece.stored_to,
            list(piece.beyond),
            bool(piece.beyond),
        )
        for lane, piece in sorted(last.items())
    ]
    if rows:
        async with conn.cursor() as cursor:
            await cursor.executemany(
                "INSERT INTO historian.delivery AS d "
                "(gateway, boot, line, owner, stored_to, beyond, changed_at, hole_since) "
                "VALUES (%s, %s, %s, %s, %s, %s, now(), CASE WHEN %s THEN now() END) "
                "ON CONFLICT (gateway, boot, line) DO UPDATE SET stored_to = excluded.stored_to, "
                "beyond = excluded.beyond, changed_at = now(), hole_since = CASE WHEN excluded.hole_since IS NULL "
                "THEN NULL WHEN d.stored_to = excluded.stored_to THEN coalesce(d.hole_since, now()) ELSE now() END",
                rows,
            )
    filled = [piece.lane.hole_id(after) for piece in pieces if piece.lane for after in piece.closed]
    if filled:
        await conn.execute(
            "UPDATE historian.gap SET recovered = true WHERE id = ANY(%s::uuid[])", (filled,)
        )
    return {lane: piece.stored_to for lane, piece in last.items()}


async def apply_events(conn: Connection, events: Sequence[SourceEvent]) -> None:
    """Write what sources said of themselves, in order; of repeated heartbeats and counts only the
    newest."""
    heard: dict[str, SourceEvent] = {}
    counted: dict[tuple[str, int, str, int], SourceEvent] = {}
    for event in events:
        match event.WhichOneof("kind"):
            case "birth" | "death":
                await _set_source_state(conn, event)
            case "heartbeat":
                known = heard.get(event.source)
                if known is None or event.heartbeat.heard_at >= known.heartbeat.heard_at:
                    heard[event.source] = event
            case "gap":
                await _insert_gap(conn, event)
            case "received":
                key = (event.gateway, event.boot, event.source, event.received.hour)
                if key not in counted or event.received.received >= counted[key].received.received:
                    counted[key] = event
            case _:
                pass  # machine alarms are line_health's
    for source in sorted(heard):
        await _set_heard(conn, heard[source])
    for key in sorted(counted):
        await _replace_received(conn, counted[key])


async def insert_log_gap(
    conn: Connection, log_id: str, partition: Partition, what: str, reason: str, lost: int = 0
) -> None:
    """Write that `lost` records of a partition are missing, or may be (0): its log was trimmed or
    replaced.

    `what` happened names the gap: the same thing seen again is the same gap.
    """
    name = f"{partition.topic}/{partition.number}"
    cursor = await conn.execute(
        "INSERT INTO historian.gap AS g (id, owner, source, line, from_time, to_time, count, reason, "
        "recovered, recorded_at) SELECT %s, '*', 'kafka', %s, "
        "coalesce(to_timestamp(max(last_timestamp_ms) / 1000.0), now()), now(), %s, %s, false, now() "
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
            "INSERT INTO historian.gap (id, owner, source, line, from_time, to_time, count, reason, recovered, recorded_at) "
            "VALUES (%s, %s, '', %s, %s, %s, 0, %s, false, now()) ON CONFLICT (id) DO NOTHING",
            (Lane(gateway, boot, line).hole_id(stored_to), owner, line, since, since, reason),
        )
        made += inserted.rowcount
    metrics.GAPS.labels("delivery").inc(made)
    return made


async def _set_source_state(conn: Connection, event: SourceEvent) -> None:
    """A birth or death of all of a source; a newer one that is known already wins."""
    born = event.WhichOneof("kind") == "birth"
    if not born and event.death.assets:
        detail, state = f"silent: {', '.join(event.death.assets)}", "born"
    else:
        detail, state = (event.birth.detail, "born") if born else (event.death.reason, "dead")
    time = to_nearest_datetime(event.time)
    await conn.execute(
        "INSERT INTO historian.source AS s (id, owner, gateway, state, heard_at, changed_at, detail) "
        "VALUES (%(source)s, %(owner)s, %(gateway)s, %(state)s, %(heard)s, %(time)s, %(detail)s) "
        "ON CONFLICT (id) DO UPDATE SET gateway = excluded.gateway, state = excluded.state, "
        "heard_at = greatest(s.heard_at, excluded.heard_at), changed_at = excluded.changed_at, "
        "detail = excluded.detail WHERE s.changed_at <= excluded.changed_at AND s.owner = excluded.owner",
        {
            "source": event.source,
            "owner": event.owner,
            "gateway": event.gateway,
            "state": state,
            "heard": time if born else None,
            "time": time,
            "detail": detail.replace("\0", ""),
        },
    )


async def _set_heard(conn: Connection, event: SourceEvent) -> None:
    await conn.execute(
        "INSERT INTO historian.source AS s (id, owner, gateway, state, heard_at, changed_at, detail) "
        "VALUES (%s, %s, %s, 'born', %s, %s, '') "
        "ON CONFLICT (id) DO UPDATE SET heard_at = greatest(s.heard_at, excluded.heard_at) "
        "WHERE s.owner = excluded.owner",
        (
            event.source,
            event.owner,
            event.gateway,
            to_nearest_datetime(event.heartbeat.heard_at),
            to_nearest_datetime(event.time),
        ),
    )


async def _insert_gap(conn: Connection, event: SourceEvent) -> None:
    gap = event.gap
    name = (
        f"gap|{event.owner}|{event.source}|{event.line}|{gap.from_time}|{gap.to_time}|{gap.reason}"
    )
    cursor = await conn.execute(
        "INSERT INTO historian.gap AS g (id, owner, source, line, from_time, to_time, count, reason, recovered, recorded_at) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, now()) "
        "ON CONFLICT (id) DO UPDATE SET recovered = g.recovered OR excluded.recovered, "
        "count = greatest(g.count, excluded.count)",
        (
            str(uuid.uuid5(NAMESPACE, name)),
            event.owner,
            event.source,
            event.line,
            to_nearest_datetime(gap.from_time),
            to_nearest_datetime(gap.to_time),
            min(gap.count, 2**63 - 1),
            gap.reason.replace("\0", ""),
            gap.recovered,
        ),
    )
    metrics.GAPS.labels("gateway").inc(cursor.rowcount)


async def _replace_received(conn: Connection, event: SourceEvent) -> None:
    """Counts of one boot only grow, so the larger one is the later one."""
    counts = event.received
    await conn.execute(
        "INSERT INTO historian.ledger_received AS l "
        "(gateway, boot, source, hour, owner, received, dropped, skipped, rejected) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s) ON CONFLICT (gateway, boot, source, hour) DO UPDATE SET "
        "received = greatest(l.received, excluded.received), dropped = greatest(l.dropped, excluded.dropped), "
        "skipped = greatest(l.skipped, excluded.skipped), rejected = greatest(l.rejected, excluded.rejected)",
        (
            event.gateway,
            event.boot,
            event.source,
            to_nearest_datetime(counts.hour),
            event.owner,
            counts.received,
            counts.dropped,
            counts.skipped,
            counts.rejected,
        ),
    )
