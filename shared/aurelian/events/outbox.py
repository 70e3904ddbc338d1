"""The event outbox, its relay to Kafka, and the inbox (D14). Called by `fold/` and by services that
make or take events.

A service writes its events in the transaction that made them (`enqueue_all`); one `relay` of
the service sends them to Kafka in order and marks them. A crash between the two sends an event
twice, never not at all: the reader's inbox (`first_seen`) or its unique key knows the event again
by its stable id. Each new Kafka log gets the past again.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import timedelta

import psycopg
from prometheus_client import Counter, Gauge
from psycopg import AsyncConnection, sql

from aurelian.backbone.cancellation import raise_if_cancelled
from aurelian.backbone.client import Producer, Unavailable
from aurelian.backbone.topics import FIGURES, TOPICS, Topic
from aurelian.db.engine import connect
from aurelian.db.errors import is_away
from aurelian.db.logs import current_log
from aurelian.db.services import FOLD_SERVICES
from aurelian.events.cloudevent import Event, encode_event
from aurelian.events.schemas import LINE_KPI_UPDATED, MAINTENANCE_HEALTH_UPDATED
from aurelian.runtime.retry import Backoff
from aurelian.runtime.settings import KafkaSettings

log = logging.getLogger(__name__)

KEEP = timedelta(days=30)
"""How long an event stays in the outbox, and how far back a new Kafka log is filled; as the topics'
retention."""

KEEP_READINGS = timedelta(days=1)
"""The same for `READINGS`."""

READINGS = (LINE_KPI_UPDATED, MAINTENANCE_HEALTH_UPDATED)
"""Types of which a later event replaces an earlier one; they are many, and their tables have the
history."""

KEEP_SEEN = timedelta(days=40)
"""How long the inbox remembers: longer than any log or outbox can bring an event back."""

MAX_REPUBLISHED = 100_000
"""Events that a new Kafka log gets again at most, the newest; what no log ever had always goes."""

_BATCH = 500
_POLL_S = 1.0
_TRIM_EVERY_S = 3600.0
_SETTLED_S = (
    300.0  # no transaction stays open that long, so no row can still appear below an older one
)

_PUBLISHED = Counter(
    "eventlog_published_total",
    "Events that Kafka has acknowledged. Jumps after a new Kafka log: the past is published again.",
    ["service"],
)
_OLDEST_S = Gauge(
    "eventlog_oldest_unpublished_s",
    "Age of the oldest event that Kafka does not have. Over 60: is Kafka away? The service's log "
    "says.",
    ["service"],
)

_TOPIC = {topic.name: topic for topic in TOPICS}


async def enqueue_all(
    conn: AsyncConnection, service: str, events: Sequence[tuple[Topic, str, Event]]
) -> None:
    """Add events, each with its topic and key, to the service's outbox, in order, within the
    caller's transaction: one statement for all of them. Idempotent by event id.

    `READINGS` go to `FIGURES` whatever topic is named.

    Args:
        conn: has an open transaction; the events are sent only when it commits.
        service: owner of the outbox, one of `services.FOLD_SERVICES`.
        events: whose ids are stable (`events.make_event`); events of one key keep their order.
    """
    if not events:
        return
    rows = [
        (event.id, (FIGURES if event.type in READINGS else topic).name, key, encode_event(event))
        for topic, key, event in events
    ]
    columns = [list(column) for column in zip(*rows, strict=True)]
    await conn.execute(_sql(service, _INSERT), columns)
    await conn.execute("SELECT pg_notify(%s, '')", [_channel(service)])


async def first_seen(conn: AsyncConnection, service: str, source: str, id: str) -> bool:
    """Note an event in the service's inbox; False when it was there. Within the caller's
    transaction.

    The note and what the event causes then commit together, so that each event counts once.
    """
    cursor = await conn.execute(_sql(service, _SEEN), [source, id])
    return cursor.rowcount == 1


async def relay(settings: KafkaSettings, database_url: str, service: str) -> None:
    """Send the outbox of a service to Kafka until cancelled. Task of the service's worker.

    Events leave in the order of their numbers and are marked with the `log_id` that has them. Under
    a new log the last `KEEP` are sent again (at most `MAX_REPUBLISHED`). Of several instances one
    relays, the others stand by. Kafka or the database being away is retried with backoff.
    """
    away, backoff = False, Backoff()
    while True:
        raise_if_cancelled()
        try:
            async with await connect(database_url, autocommit=True) as conn:
                await _become_only_relay(conn, service)
                async with Producer(settings, f"{service}-relay") as producer:
                    if away:
                        log.info("events are published again")
                    backoff.reset()
                    away = False
                    await _Relay(conn, producer, service).run()
        except (Unavailable, psycopg.Error) as error:
            if isinstance(error, psycopg.Error) and not is_away(error):
                raise
            if not away:
                log.warning("events wait in the outbox", extra={"fields": {"because": str(error)}})
            away = True
            await backoff.wait()


@dataclass(slots=True)
class _Relay:
    """One connection's life of the relay.

    `floor`: no row at or below this number needs sending. It lags behind by `_SETTLED_S`, because
    rows of a transaction that is still open have lower numbers than rows that are visible already.
    """

    conn: AsyncConnection
    producer: Producer
    service: str
    log_id: str = ""
    floor: int = 0
    trimmed_at: float = -_TRIM_EVERY_S

    async def run(self) -> None:
        """Send what is there, then wait for a notification, again and again."""
        await self.conn.execute(sql.SQL("LISTEN {}").format(sql.Identifier(_channel(self.service))))
        while True:
            raise_if_cancelled()
            log_id = await current_log(self.conn)
            if log_id is not None and log_id != self.log_id:
                self.log_id, self.floor = log_id, await self._first_floor(log_id)
            if log_id is None or not await self._send_some():
                await self._tidy()
                async for _ in self.conn.notifies(timeout=_POLL_S, stop_after=1):
                    pass

    async def _send_some(self) -> bool:
        """Send one batch; False when there was nothing to send."""
        cursor = await self.conn.execute(
            self._sql(_UNSENT), {"floor": self.floor, "log": self.log_id, "limit": _BATCH}
        )
        rows = await cursor.fetchall()
        if not rows:
            return False
        futures = [
            await self.producer.post(_TOPIC[topic], key, _numbered(body, number))
            for number, topic, key, body in rows
        ]
        await self.producer.settle(futures)
        await self.conn.execute(
            self._sql(_MARK), {"log": self.log_id, "numbers": [number for number, *_ in rows]}
        )
        _PUBLISHED.labels(self.service).inc(len(rows))
        return True

    async def _first_floor(self, log_id: str) -> int:
        """Where to begin under a log: below the oldest row that it shall have and has not."""
        cursor = await self.conn.execute(
            self._sql(_FIRST),
            {"log": log_id, "keep": KEEP, "most": MAX_REPUBLISHED, "settled_s": _SETTLED_S},
        )
        row = await cursor.fetchone()
        return int(row[0]) if row is not None else 0

    async def _tidy(self) -> None:
        """Raise the floor over settled rows, measure the backlog and, each hour, delete what is too
        old."""
        cursor = await self.conn.execute(
            self._sql(_SETTLED), {"floor": self.floor, "log": self.log_id, "settled_s": _SETTLED_S}
        )
        row = await cursor.fetchone()
        if row is not None:
            self.floor = int(row[0])
            _OLDEST_S.labels(self.service).set(float(row[1]))
        if time.monotonic() - self.trimmed_at > _TRIM_EVERY_S:
            self.trimmed_at = time.monotonic()
            await self.conn.execute(
                self._sql(_TRIM_OUTBOX),
                {"keep": KEEP, "keep_readings": KEEP_READINGS, "readings": list(READINGS)},
            )
            await self.conn.execute(self._sql(_TRIM_INBOX), {"keep": KEEP_SEEN})

    def _sql(self, statement: sql.SQL) -> sql.Composed:
        return _sql(self.service, statement)


def _numbered(body: str, number: int) -> bytes:
    """The event with its extension attribute `sequence`: its number in this outbox, so it rises
    from event to event of a source and subject, with holes; compares as text (CloudEvents' sequence
    extension) and stays the same in every log."""
    assert body.endswith("}")
    return f'{body[:-1]},"sequence":"{number:020}"}}'.encode()


async def _become_only_relay(conn: AsyncConnection, service: str) -> None:
    """Wait until no other instance relays; the lock goes with the connection."""
    while True:
        cursor = await conn.execute(
            "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", [_channel(service)]
        )
        row = await cursor.fetchone()
        if row is not None and row[0]:
            return
        await asyncio.sleep(_POLL_S)


def _channel(service: str) -> str:
    return f"{service}_outbox"


def _sql(service: str, statement: sql.SQL) -> sql.Composed:
    if service not in FOLD_SERVICES:
        raise ValueError(
            f"service {service!r} has no event outbox; known: {', '.join(FOLD_SERVICES)}"
        )
    return statement.format(schema=sql.Identifier(service))


_INSERT = sql.SQL("""
    INSERT INTO {schema}.event_outbox (id, topic, key, body, recorded_at)
    SELECT id, topic, key, body, now()
    FROM unnest(%b::text[], %b::text[], %b::text[], %b::text[]) WITH ORDINALITY
        AS r(id, topic, key, body, place)
    ORDER BY place ON CONFLICT (id) DO NOTHING""")

_SEEN = sql.SQL("""
    INSERT INTO {schema}.inbox (source, id, recorded_at) VALUES (%s, %s, now())
    ON CONFLICT DO NOTHING""")

_UNSENT = sql.SQL("""
    SELECT number, topic, key, body FROM {schema}.event_outbox
    WHERE number > %(floor)s AND published_log IS DISTINCT FROM %(log)s
    ORDER BY number LIMIT %(limit)s""")

_MARK = sql.SQL("""
    UPDATE {schema}.event_outbox SET published_log = %(log)s WHERE number = ANY(%(numbers)s)""")

_FIRST = sql.SQL("""
    WITH newest AS (
        SELECT number FROM {schema}.event_outbox
        WHERE recorded_at > now() - %(keep)s ORDER BY number DESC LIMIT %(most)s)
    SELECT coalesce(
        min(number) FILTER (
            WHERE published_log IS NULL
            OR (published_log <> %(log)s AND number >= (SELECT min(number) FROM newest))
            OR recorded_at > now() - make_interval(secs => %(settled_s)s)) - 1,
        max(number), 0)
    FROM {schema}.event_outbox""")

_SETTLED = sql.SQL("""
    SELECT coalesce(
            min(number) FILTER (WHERE published_log IS DISTINCT FROM %(log)s OR young) - 1,
            max(number), %(floor)s),
        coalesce(max(age) FILTER (WHERE published_log IS DISTINCT FROM %(log)s), 0)
    FROM (SELECT number, published_log, extract(epoch FROM now() - recorded_at) AS age,
            recorded_at > now() - make_interval(secs => %(settled_s)s) AS young
        FROM {schema}.event_outbox WHERE number > %(floor)s) AS recent""")

_TRIM_OUTBOX = sql.SQL("""
    DELETE FROM {schema}.event_outbox WHERE published_log IS NOT NULL AND (
        recorded_at < now() - %(keep)s
        OR (recorded_at < now() - %(keep_readings)s
            AND body::json ->> 'type' = ANY(%(readings)s)))""")

_TRIM_INBOX = sql.SQL("DELETE FROM {schema}.inbox WHERE recorded_at < now() - %(keep)s")
