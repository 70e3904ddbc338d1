"""Says on `aurelian.stored.v1` how far each stream is settled, so that gateways may forget. Used by
processor.py.

What is announced is committed already. Losing an announcement costs nothing: all recent streams are
announced again on each start, after each failure and under each new log.
"""

from __future__ import annotations

import asyncio
import json
import logging
import time
from collections.abc import Awaitable, Callable, Mapping

from aurelian.backbone.client import Producer, Unavailable
from aurelian.backbone.topics import STORED
from aurelian.model.time import now_us
from aurelian.runtime.retry import Backoff
from historian import metrics
from historian.delivery import BatchStream, Settled
from historian.settings import HistorianSettings

log = logging.getLogger(__name__)

HEARTBEAT_KEY = "@heartbeat"
HEARTBEAT_S = 2.0

MOST_RANGES = 500
"""Closed ranges above a hole that one record names; what is left out is named when holes close."""

RecentStreams = Callable[[], Awaitable[dict[BatchStream, Settled]]]


class Announcer:
    """Announces under one log id."""

    def __init__(self, settings: HistorianSettings, log_id: str, recent: RecentStreams) -> None:
        self._settings, self._log_id, self._recent = settings, log_id, recent
        self._changed: dict[BatchStream, Settled | None] = {}
        self._wake = asyncio.Event()

    def announce(self, streams: Mapping[BatchStream, Settled | None]) -> None:
        """Have these streams announced soon, None: it is over, let Kafka forget it; the newest
        state of each wins."""
        if streams:
            self._changed.update(streams)
            self._wake.set()

    async def run(self) -> None:
        """Announce until cancelled; with Kafka away, try again with a new producer."""
        backoff = Backoff()
        while True:
            try:
                async with Producer(self._settings, "historian-stored") as producer:
                    self._changed = {**await self._recent(), **self._changed}
                    while True:
                        await self._send(producer)
                        backoff.reset()
            except Unavailable as error:
                metrics.ANNOUNCE_FAILURES.inc()
                log.warning(
                    "announcing what is stored failed", extra={"fields": {"reason": str(error)}}
                )
                await backoff.wait()

    async def _send(self, producer: Producer) -> None:
        """Send a heartbeat and then changes, until the next heartbeat is due."""
        beat = json.dumps({"log_id": self._log_id, "at": now_us()})
        futures = [await producer.post(STORED, HEARTBEAT_KEY, beat.encode())]
        due = time.monotonic() + HEARTBEAT_S
        while time.monotonic() < due:
            self._wake.clear()
            streams, self._changed = self._changed, {}
            for stream, settled in streams.items():
                value = None if settled is None else self._encode(settled)
                futures.append(await producer.post(STORED, stream.key, value))
            await producer.settle(futures)
            futures = []
            try:
                await asyncio.wait_for(self._wake.wait(), max(due - time.monotonic(), 0.01))
            except TimeoutError:
                return

    def _encode(self, settled: Settled) -> bytes:
        body = {
            "log_id": self._log_id,
            "sequence": settled.stored_to,
            "beyond": settled.beyond[: 2 * MOST_RANGES],
        }
        return json.dumps(body).encode()
