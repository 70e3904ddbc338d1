"""The event log: records of the event topics become numbered rows; the one place that gives out
numbers. Driven by `aurelian.fold.run.run_fold`; the worker calls `trim`."""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta

from psycopg import AsyncConnection

from aurelian.events.cloudevent import Event, EventError, decode_event
from aurelian.events.outbox import READINGS
from aurelian.fold.contract import Effects, State
from aurelian.model.record import Record
from partner_events import metrics

log = logging.getLogger(__name__)

CHANNEL = "partner_events_log"
"""Notified at each commit that gave out numbers; the webhook sender and the API's streams
listen."""


@dataclass(frozen=True, slots=True)
class Received:
    """An event and its bytes as text, as its maker wrote them."""

    event: Event
    body: str


class LogFold:
    """Keeps no state: every readable record is a row; the writer knows those that came before."""

    def learn(self, record: Record, now: int) -> None:
        """Nothing is learned: there are no shared topics."""

    def fold(self, record: Record, now: int) -> Effects[Received]:
        """Read a CloudEvent; a record that is none is logged, counted and passed over."""
        try:
            return Effects(rows=[read_event(record.value)])
        except EventError as error:
            metrics.unreadable.inc()
            where = {"topic": record.topic, "partition": record.partition, "offset": record.offset}
            size = len(record.value or b"")
            log.warning(
                "unreadable event", extra={"fields": {**where, "bytes": size, "why": str(error)}}
            )
            return Effects()

    def tick(self, now: int) -> Effects[Received]:
        """Time alone changes nothing."""
        return Effects()

    def changed(self) -> Mapping[str, State]:
        """There is no state."""
        return {}

    def restore(self, states: Mapping[str, State]) -> None:
        """There is no state."""

    def memory(self) -> State:
        """There is none."""
        return {}

    def recall(self, memory: State) -> None:
        """There is none."""


def read_event(value: bytes | None) -> Received:
    """Read a record's bytes.

    Raises:
        EventError: no UTF-8, no CloudEvent, or one that the log cannot hold.
    """
    try:
        body = (value or b"").decode("utf-8")
    except UnicodeDecodeError as error:
        raise EventError(f"no UTF-8: {error}") from error
    event = decode_event(body)
    if event.time.tzinfo is None:
        raise EventError(f"time {event.time} has no zone")
    named = (event.id, event.source, event.type, event.subject, event.owner)
    if not all(named[:3]) or not event.owner or any("\0" in text for text in named):
        raise EventError("an attribute is empty or holds NUL")
    return Received(event, body)


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
