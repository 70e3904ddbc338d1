"""SQL of what sources say of themselves: state, last heard, gaps, counts received, alarms. Called
by writer.py, inside its transaction."""

from __future__ import annotations

import uuid
from collections.abc import Sequence

import psycopg
from psycopg.rows import TupleRow

from aurelian.model.codec import SourceEvent
from aurelian.model.plant_parts import NAMESPACE
from aurelian.model.time import to_nearest_datetime
from historian import metrics
from historian.alarm_sql import store_alarms

Connection = psycopg.AsyncConnection[TupleRow]

MOST_COUNT = 2**60
"""A count beyond this is none; below it sums stay in a bigint."""


async def apply_events(conn: Connection, events: Sequence[SourceEvent]) -> None:
    """Write what sources said of themselves, in order; of repeated heartbeats and counts only the
    newest."""
    heard: dict[tuple[str, str], SourceEvent] = {}
    counted: dict[tuple[str, str, int, str, int], SourceEvent] = {}
    alarms: list[SourceEvent] = []
    for event in events:
        match event.WhichOneof("kind"):
            case "birth" | "death":
                await _set_source_state(conn, event)
            case "heartbeat":
                source = event.owner, event.source
                known = heard.get(source)
                if known is None or event.heartbeat.heard_at >= known.heartbeat.heard_at:
                    heard[source] = event
            case "gap":
                await _insert_gap(conn, event)
            case "received":
                hour = event.received.hour
                key = event.owner, event.gateway, event.boot, event.source, hour
                if key not in counted or event.received.received >= counted[key].received.received:
                    counted[key] = event
            case "alarm":
                alarms.append(event)
            case _:
                pass  # what readers of live values need alone
    await store_alarms(conn, alarms)
    for source in sorted(heard):
        await _set_heard(conn, heard[source])
    for key in sorted(counted):
        await _replace_received(conn, counted[key])


async def _set_source_state(conn: Connection, event: SourceEvent) -> None:
    """A birth or death of all of a source; a newer one that is known already wins."""
    born = event.WhichOneof("kind") == "birth"
    if not born and event.death.assets:
        detail, state = f"silent: {', '.join(event.death.assets)}", "born"
    else:
        detail, state = (event.birth.detail, "born") if born else (event.death.reason, "dead")
    time = to_nearest_datetime(event.time)
    await conn.execute(
        "INSERT INTO historian.source AS s (id, owner, gateway, state, heard_at, changed_at, "
        "detail) "
        "VALUES (%(source)s, %(owner)s, %(gateway)s, %(state)s, %(heard)s, %(time)s, %(detail)s) "
        "ON CONFLICT (owner, id) DO UPDATE SET gateway = excluded.gateway, state = excluded.state, "
        "heard_at = greatest(s.heard_at, excluded.heard_at), changed_at = excluded.changed_at, "
        "detail = excluded.detail WHERE s.changed_at <= excluded.changed_at",
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
        "INSERT INTO historian.source AS s (id, owner, gateway, state, heard_at, changed_at, "
        "detail) "
        "VALUES (%s, %s, %s, 'born', %s, %s, '') "
        "ON CONFLICT (owner, id) DO UPDATE SET heard_at = greatest(s.heard_at, "
        "excluded.heard_at)",
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
        "INSERT INTO historian.gap AS g (id, owner, source, line, from_time, to_time, count, "
        "reason, recovered, recorded_at) "
        "VALUES (%s, %s, %s, %s, %s, %s, %s, %s, %s, now()) "
        "ON CONFLICT (id) DO UPDATE SET recovered = g.recovered OR excluded.recovered, "
        "count = greatest(g.count, excluded.count) RETURNING xmax = 0",
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
    (is_new,) = (await cursor.fetchone()) or (False,)
    if is_new:  # told again, as recovered, it is the same gap
        metrics.GAPS.labels("gateway").inc()


async def _replace_received(conn: Connection, event: SourceEvent) -> None:
    """Counts of one boot only grow, so the larger one is the later one."""
    counts = event.received
    await conn.execute(
        "INSERT INTO historian.ledger_received AS l "
        "(gateway, boot, source, hour, owner, received, dropped, skipped, rejected, reported, "
        "arrived) "
        "VALUES (%(gateway)s, %(boot)s, %(source)s, %(hour)s, %(owner)s, %(received)s, "
        "%(dropped)s, %(skipped)s, %(rejected)s, %(received)s, 0) "
        "ON CONFLICT (owner, gateway, boot, source, hour) DO UPDATE SET "
        "reported = greatest(l.reported, excluded.reported), "
        "dropped = greatest(l.dropped, excluded.dropped), "
        "skipped = greatest(l.skipped, excluded.skipped), "
        "rejected = greatest(l.rejected, excluded.rejected), "
        "received = greatest(l.received, excluded.received, l.arrived + greatest(l.dropped, "
        "excluded.dropped) + greatest(l.skipped, excluded.skipped))",
        {
            "gateway": event.gateway,
            "boot": event.boot,
            "source": event.source,
            "hour": to_nearest_datetime(counts.hour),
            "owner": event.owner,
            **{
                name: min(getattr(counts, name), MOST_COUNT)
                for name in ("received", "dropped", "skipped", "rejected")
            },
        },
    )
