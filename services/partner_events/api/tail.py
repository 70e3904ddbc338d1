"""Watches the end of the event log for all streams of this process: one connection, whatever their
number."""

from __future__ import annotations

import asyncio
import logging

import psycopg

from aurelian.backbone.cancellation import raise_if_cancelled
from aurelian.db.engine import connect
from aurelian.runtime.health import Health
from aurelian.runtime.retry import Backoff
from partner_events.writer import CHANNEL

log = logging.getLogger(__name__)


class Tail:
    """Knows the newest number and wakes those who wait for a higher one.

    Attributes:
        newest: highest number of the log that is known here.
        closed: the process stops: streams end.
    """

    def __init__(self, url: str, poll_interval_s: float) -> None:
        self.newest = 0
        self.closed = False
        self._url, self._poll_interval_s = url, poll_interval_s
        self._grown = asyncio.Condition()

    async def watch(self, health: Health) -> None:
        """Follow the log until cancelled; `health` says whether the database answers."""
        backoff = Backoff()
        while True:
            raise_if_cancelled()
            try:
                async with await connect(
                    self._url, autocommit=True, name="partner_events streams"
                ) as conn:
                    await conn.execute(f"LISTEN {CHANNEL}")
                    while True:
                        raise_if_cancelled()
                        await self._look(conn)
                        health.ready = None
                        backoff.reset()
                        health.tick()
                        async for _ in conn.notifies(timeout=self._poll_interval_s, stop_after=1):
                            pass
            except psycopg.OperationalError as error:
                if health.ready is None:
                    log.warning("the database is away", extra={"fields": {"why": str(error)}})
                health.ready = "the database does not answer"
            await backoff.wait()

    async def close_at(self, stopping: asyncio.Event) -> None:
        """End all streams when the process is told to stop: the server waits for them."""
        await stopping.wait()
        async with self._grown:
            self.closed = True
            self._grown.notify_all()

    async def wait_beyond(self, number: int) -> None:
        """Return when the log has a higher number, at the close, or after the poll interval."""
        try:
            async with asyncio.timeout(self._poll_interval_s):
                async with self._grown:
                    await self._grown.wait_for(lambda: self.closed or self.newest > number)
        except TimeoutError:
            return

    async def _look(self, conn: psycopg.AsyncConnection) -> None:
        cursor = await conn.execute("SELECT coalesce(max(number), 0) FROM partner_events.event_log")
        row = await cursor.fetchone()
        newest = int(row[0]) if row is not None else 0
        if newest != self.newest:
            async with self._grown:
                self.newest = newest
                self._grown.notify_all()
