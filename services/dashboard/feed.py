"""The live picture's supply: snapshot from the store, then every record of Kafka, for ever. Run by
app.py.

Position first, then snapshot: what arrives in between comes twice, which changes nothing. Kafka or
the database away: the old picture stays on the pages and grows stale by itself; a new Kafka log is
noticed and the picture built anew.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from datetime import UTC, datetime

from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from aurelian.backbone.client import Consumer, Unavailable
from aurelian.backbone.topics import (
    ASSETS,
    CAPACITY_EVENTS,
    FIGURES,
    LINE_EVENTS,
    MAINTENANCE_EVENTS,
    SAMPLES,
    SOURCE_EVENTS,
)
from aurelian.events.cloudevent import decode_event
from aurelian.fold.records import decode_batch, decode_source_event
from aurelian.model.asset import decode_asset
from aurelian.model.record import Partition, Record
from aurelian.model.time import now_ms
from aurelian.runtime.health import Health
from aurelian.runtime.retry import Backoff
from dashboard import metrics, queries
from dashboard.business_events import apply_event
from dashboard.companies import Companies, Pictures
from dashboard.freshness import Limits
from dashboard.live import LivePlant
from dashboard.records import Message
from dashboard.settings import DashboardSettings

log = logging.getLogger(__name__)

TOPICS = (
    SAMPLES,
    SOURCE_EVENTS,
    ASSETS,
    LINE_EVENTS,
    MAINTENANCE_EVENTS,
    CAPACITY_EVENTS,
    FIGURES,
)

REWIND = 200
"""Records before the end of each partition that are read again, for what the historian has not
stored yet."""

LOG_POLL_S = 1.0


async def run_feed(
    settings: DashboardSettings, companies: Companies, engine: AsyncEngine, health: Health
) -> None:
    """Keep the hub's picture current until cancelled. Never ends by itself."""
    backoff = Backoff()
    while True:
        try:
            await _follow(settings, companies, engine, health, backoff)
        except (Unavailable, DBAPIError, OSError) as error:
            metrics.FOLLOWING.set(0)
            problem = (
                "Kafka does not answer"
                if isinstance(error, Unavailable)
                else "the database does not answer"
            )
            if companies.problem != problem:
                log.warning(
                    "live picture stands still",
                    extra={"fields": {"why": problem, "error": str(error)[:300]}},
                )
            companies.problem = problem
            await backoff.wait()


async def run_clock(settings: DashboardSettings, companies: Companies, health: Health) -> None:
    """Send the frames of values and the heartbeats of the stream, until cancelled."""
    due = time.monotonic()
    while True:
        health.tick()
        beats = time.monotonic() >= due
        for hub in companies.hubs():
            hub.tick()
            if beats:
                hub.beat(now_ms())
        if beats:
            due = time.monotonic() + settings.beat_s
        await asyncio.sleep(settings.tick_s)


async def close_streams(companies: Companies, health: Health) -> None:
    """End all streams when the process is told to stop."""
    await health.stopping.wait()
    companies.close()


async def _follow(
    settings: DashboardSettings,
    companies: Companies,
    engine: AsyncEngine,
    health: Health,
    backoff: Backoff,
) -> None:
    """Build the picture of the current log and keep it up to date; ends when another log is
    declared."""
    async with engine.connect() as connection:
        log_id = await queries.read_log(connection)
    pictures = make_pictures(settings)

    async def begin(partitions: list[Partition]) -> dict[Partition, int]:
        ends = await consumer.end_offsets(partitions)
        return {p: 0 if p.topic == ASSETS.name else max(0, ends[p] - REWIND) for p in partitions}

    consumer = Consumer(settings, TOPICS, client_id="dashboard", assigned=begin)
    async with consumer:
        async with engine.connect() as connection:
            await queries.read_plant(connection, pictures, datetime.now(UTC))
        await _take(consumer, pictures, lambda *_: None, timeout_s=0.2)
        companies.replace(pictures)
        companies.problem = health.ready = None
        backoff.reset()
        metrics.FOLLOWING.set(1)
        log.info(
            "live picture built",
            extra={"fields": {"log_id": log_id, "companies": len(pictures.plants)}},
        )
        poll_at = heard_at = time.monotonic()
        while True:
            if await _take(consumer, pictures, companies.publish):
                heard_at = time.monotonic()
            elif time.monotonic() - heard_at > settings.live_s:
                # The client waits for a broker for ever and raises nothing, so ask: that does. No
                # record for so long is rare.
                await consumer.end_offsets([Partition(SOURCE_EVENTS.name, 0)])
                heard_at = time.monotonic()
            if time.monotonic() >= poll_at:
                if await _newer_log(engine, log_id):
                    log.info("another Kafka log is declared; building the picture anew")
                    return
                poll_at = time.monotonic() + LOG_POLL_S


async def _newer_log(engine: AsyncEngine, log_id: str | None) -> bool:
    """True if another log is current; a database that does not answer is no reason to stop
    following Kafka."""
    try:
        async with engine.connect() as connection:
            return await queries.read_log(connection) != log_id
    except (DBAPIError, OSError):
        return False


async def _take(
    consumer: Consumer,
    pictures: Pictures,
    publish: Callable[[str, list[Message]], None],
    timeout_s: float = 0.25,
) -> int:
    """Fold what there is; the number of records."""
    records = await consumer.take(timeout_s=timeout_s)
    for record in records:
        metrics.RECORDS.labels(record.topic).inc()
        try:
            publish(*fold(pictures, record, now_ms()))
        except Exception as error:  # noqa: BLE001 - whatever is wrong with a record costs that one
            metrics.UNREADABLE.labels(record.topic).inc()
            log.debug(
                "record passed over",
                extra={
                    "fields": {
                        "topic": record.topic,
                        "offset": record.offset,
                        "error": str(error)[:300],
                    }
                },
            )
    return len(records)


def make_pictures(settings: DashboardSettings) -> Pictures:
    """Empty pictures, judged by the limits of the settings."""
    limits = Limits(int(settings.live_s * 1000), int(settings.late_s * 1000))
    return Pictures(lambda: LivePlant(limits))


def fold(pictures: Pictures, record: Record, at_ms: int) -> tuple[str, list[Message]]:
    """Fold one record into its owner's picture; the owner, and what it changed for all of its
    browsers.

    Raises:
        DecodeError, EventError, or anything else: its bytes are not what its topic promises.
    """
    if record.value is None:
        asset = (record.key or b"").decode()
        owner = pictures.owner_of(asset) or ""
        gone = pictures.remove_asset(asset) if record.topic == ASSETS.name else []
        return owner, gone
    match record.topic:
        case SAMPLES.name:
            batch = decode_batch(record, at_ms * 1000)
            return batch.owner, pictures.of(batch.owner).apply_batch(batch, at_ms)
        case SOURCE_EVENTS.name:
            told = decode_source_event(record, at_ms * 1000)
            return told.owner, pictures.of(told.owner).apply_source_event(told, at_ms)
        case ASSETS.name:
            found = decode_asset(record.value)
            return ("", []) if found is None else (found.owner, pictures.put_asset(found))
        case _:
            event = decode_event(record.value)
            return event.owner, apply_event(pictures.of(event.owner), event)
