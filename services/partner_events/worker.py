"""The worker: numbers the events of Kafka, sends webhooks, deletes what is old. Called by
`__main__.py`."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from datetime import UTC, datetime, timedelta

import psycopg
from sqlalchemy.exc import DBAPIError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from aurelian.backbone.cancellation import raise_if_cancelled
from aurelian.backbone.topics import CAPACITY_EVENTS, FIGURES, LINE_EVENTS, MAINTENANCE_EVENTS
from aurelian.db.engine import connect, make_engine
from aurelian.db.errors import is_away
from aurelian.fold.run import run_fold
from aurelian.runtime.health import Health
from aurelian.runtime.retry import Backoff
from partner_events.sender import Sender
from partner_events.settings import PartnerEventsSettings
from partner_events.webhook import make_client
from partner_events.writer import CHANNEL, LogFold, insert_events, trim

log = logging.getLogger(__name__)

SENDER_LOCK = "partner_events_sender"
POLL_S = 0.5
TRIM_EVERY_S = 3600.0


async def run(settings: PartnerEventsSettings, health: Health) -> None:
    """Number, send and trim until cancelled; each goes on when another waits for what is away."""
    async with asyncio.TaskGroup() as group:
        group.create_task(
            run_fold(
                settings,
                health,
                service="partner_events",
                fold=LogFold(),
                write=insert_events,
                owned=[LINE_EVENTS, MAINTENANCE_EVENTS, CAPACITY_EVENTS, FIGURES],
                exclusive=True,
            ),
            name="event log",
        )
        group.create_task(send_webhooks(settings), name="webhooks")
        group.create_task(trim_forever(settings), name="trim")


async def send_webhooks(settings: PartnerEventsSettings) -> None:
    """Send webhooks until cancelled; of several workers one sends, the others stand by."""
    url = settings.database_url.get_secret_value()
    engine = make_engine(url, pool_size=8)
    backoff, away = Backoff(), False
    async with make_client(settings.allowed) as client, contextlib.AsyncExitStack() as stack:
        stack.push_async_callback(engine.dispose)
        sender = Sender(engine, client, now=lambda: datetime.now(UTC))
        while True:
            raise_if_cancelled()
            try:
                async with await connect(
                    url, autocommit=True, name="partner_events webhooks"
                ) as conn:
                    await _become_only_sender(conn)
                    if away:
                        log.info("webhooks go on")
                    backoff.reset()
                    away = False
                    await _send_from(conn, sender)
            except* (psycopg.Error, DBAPIError, PoolTimeout) as group:
                if not all(isinstance(e, PoolTimeout) or is_away(e) for e in group.exceptions):
                    raise
                if not away:
                    why = str(group.exceptions[0])
                    log.warning("webhooks wait for the database", extra={"fields": {"why": why}})
                away = True
            await backoff.wait()


async def trim_forever(settings: PartnerEventsSettings) -> None:
    """Delete what is too old, each hour, until cancelled."""
    keep = timedelta(days=settings.event_keep_days)
    keep_readings = timedelta(days=settings.reading_keep_days)
    while True:
        try:
            async with await connect(settings.database_url.get_secret_value()) as conn:
                await trim(conn, keep, keep_readings)
        except psycopg.Error as error:
            if not is_away(error):
                raise
            log.warning("old events are not deleted", extra={"fields": {"why": str(error)}})
        raise_if_cancelled()
        await asyncio.sleep(TRIM_EVERY_S)


async def _send_from(conn: psycopg.AsyncConnection, sender: Sender) -> None:
    """Give each endpoint with work a task of its own; look again at each notification and twice a
    second."""
    await conn.execute(f"LISTEN {CHANNEL}")
    busy: dict[str, asyncio.Task[None]] = {}
    async with asyncio.TaskGroup() as group:
        while True:
            raise_if_cancelled()
            for endpoint in await sender.find_work():
                if endpoint not in busy:
                    task = group.create_task(sender.serve(endpoint), name=f"webhooks of {endpoint}")
                    busy[endpoint] = task
                    task.add_done_callback(lambda _, endpoint=endpoint: busy.pop(endpoint))  # type: ignore[misc]
            async for _ in conn.notifies(timeout=POLL_S, stop_after=1):
                pass


async def _become_only_sender(conn: psycopg.AsyncConnection) -> None:
    while True:
        raise_if_cancelled()
        cursor = await conn.execute(
            "SELECT pg_try_advisory_lock(hashtextextended(%s, 0))", [SENDER_LOCK]
        )
        row = await cursor.fetchone()
        if row is not None and row[0]:
            return
        await asyncio.sleep(1.0)
