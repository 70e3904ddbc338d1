"""Writes the event log: the one place that gives out numbers. Called by
`aurelian.fold.run.run_fold` and by the worker."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from datetime import timedelta

from psycopg import AsyncConnection

from aurelian.events.outbox import READINGS
from partner_events import metrics
from partner_events.fold import Received

log = logging.getLogger(__name__)

CHANNEL = "partner_events_log"
"""Notified at each commit that gave out numbers; the webhook sender and the API's streams
listen."""


async def insert_events(conn: AsyncConnection, rows: Sequence[Received]) -> None:
    """Append events that are not in the log yet, in order, within the caller's transaction.

    The lock is held until the commit, so that a number becomes visible only when all before it are:
    a reader that has seen n will never miss one below n. An event is known again by (source, id)
    and gets no second number.
    """
    if not rows:
        return
    await conn.execute("SELECT pg_advisory_xact_lock(hashtextextended(%s, 0))", [CHANNEL])
    sources = [each.event.source for each in rows]
    cursor = await conn.execute(
        "SELECT l.source, l.id FROM partner_events.event_log l"
        " JOIN unnest(%s::text[], %s::text[]) AS w(source, id) ON l.source = w.source AND l.id = "
        "w.id",
        [sources, [each.event.id for each in rows]],
    )
    known = {(str(source), str(id)) for source, id in await cursor.fetchall()}
    fresh: list[Received] = []
    for each in rows:
        if (each.event.source, each.event.id) not in known:
            known.add((each.event.source, each.event.id))
            fresh.append(each)
    metrics.repeated.inc(len(rows) - len(fresh))
    if not fresh:
        return
    cursor = await conn.execute("SELECT coalesce(max(number), 0) FROM partner_events.event_log")
    row = await cursor.fetchone()
    newest = int(row[0]) if row is not None else 0
    async with conn.cursor() as writing:
        await writing.executemany(
            "INSERT INTO partner_events.event_log"
            " (number, id, source, type, subject, owner, time, recorded_at, body)"
            " VALUES (%s, %s, %s, %s, %s, %s, %s, now(), %s)",
            [(number, *_columns(each)) for number, each in enumerate(fresh, newest + 1)],
        )
    await conn.execute("SELECT pg_notify(%s, '')", [CHANNEL])
    metrics.logged.inc(len(fresh))


async def trim(conn: AsyncConnection, keep: timedelta, keep_readings: timedelta) -> None:
    """Delete what is too old: events that nobody waits for, readings sooner, delivery records.
    Commits.

    The newest event stays, because the next number follows from it.
    """
    async with conn.transaction():
        gone = await conn.execute(
            "DELETE FROM partner_events.event_log l"
            " WHERE (recorded_at < now() - %s OR (recorded_at < now() - %s AND type = ANY(%s)))"
            " AND number < (SELECT max(number) FROM partner_events.event_log)"
            " AND NOT EXISTS (SELECT FROM partner_events.pending p WHERE p.number = l.number)",
            [keep, keep_readings, list(READINGS)],
        )
        await conn.execute("DELETE FROM partner_events.attempt WHERE sent_at < now() - %s", [keep])
    if gone.rowcount:
        log.info("old events deleted", extra={"fields": {"events": gone.rowcount}})


def _columns(received: Received) -> tuple[object, ...]:
    event = received.event
    return event.id, event.source, event.type, event.subject, event.owner, event.time, received.body
