"""From the outbox to Kafka, and the news of what is stored back; run by `gateway.run_gateway`.

Rows are sent in order and stay in the outbox until the historian says on `aurelian.stored.v1` that
they are stored. A new log (the historian's heartbeat names it), a new producer and a new start each
send again all that is unreleased.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import time
from collections import deque
from collections.abc import Awaitable, Callable, Sequence

from prometheus_client import Counter, Gauge

from aurelian.backbone.client import Consumer, Producer, Unavailable
from aurelian.backbone.topics import ASSETS, REJECTED, SAMPLES, SOURCE_EVENTS, STORED
from aurelian.edge.outbox.limits import Full
from aurelian.edge.outbox.rows import START, Count, Lane, Mark, Row, count_key
from aurelian.edge.outbox.thread import OutboxThread
from aurelian.model import codec
from aurelian.model.asset import Asset
from aurelian.model.record import Record
from aurelian.runtime.settings import KafkaSettings

log = logging.getLogger(__name__)

HEARTBEAT_EVERY_S = 2.0
RECEIVED_EVERY_S = 5.0
ACKED_KEEP_S = 900.0
"""How long rows stay after Kafka's ack where three brokers hold them."""

SILENT_S = 15.0
"""A historian's heartbeat comes every 2 s; when none does, the consumer is made anew (it may stand
in an old log)."""

RESEND_AFTER_S = 900.0
"""Rows that a running historian has not stored after this long are sent again: a broker may have
lost its tail."""

_BACKOFF_S = (0.5, 10.0)
_TOPIC = {Lane.SAMPLES: SAMPLES, Lane.EVENTS: SOURCE_EVENTS, Lane.REJECTED: REJECTED}

SENT = Counter(
    "gateway_sent_records_total",
    "Records that Kafka has acknowledged, repeated ones included; flat while rows wait: is Kafka there?",
    ["topic"],
)
KAFKA_UP = Gauge(
    "gateway_kafka_up", "1 while Kafka takes records; 0: the outbox fills, look at the brokers."
)
RESENDS = Counter(
    "gateway_resends_total",
    "Times that all unreleased rows were sent again; often: the brokers restart, or lose data.",
)
RELEASED_AT = Gauge(
    "gateway_released_timestamp_seconds",
    "When the historian last said that something is stored; old: is it running?",
)


class Drain:
    """Sends what one gateway keeps. `live` gives heartbeats to tell on, which are not kept."""

    def __init__(
        self,
        settings: KafkaSettings,
        gateway: str,
        outbox: OutboxThread,
        *,
        assets: Sequence[Asset] = (),
        replication: int = 1,
        live: Callable[[], list[codec.SourceEvent]] = list,
    ) -> None:
        self._settings, self._gateway, self._outbox = settings, gateway, outbox
        self._assets, self._replication, self._live = assets, replication, live
        self._resend = False
        self._log_id: str | None = None
        self._acked: deque[tuple[float, dict[Mark, int]]] = deque()
        self._position = START
        self._told: dict[tuple[int, str, int], Count] = {}
        self._next_heartbeat = self._next_received = 0.0
        self._started_over_at = self._historian_at = 0.0

    async def send(self) -> None:
        """Send until cancelled; then what is left and the last counts, for up to 3 s."""
        await _persist("kafka producer", self._send)

    async def listen(self) -> None:
        """Follow `aurelian.stored.v1` until cancelled and let the outbox release what it names."""
        await _persist("kafka consumer of stored records", self._listen)

    async def _send(self, connected: Callable[[], None]) -> None:
        async with Producer(self._settings, f"{self._gateway}-gateway") as producer:
            self._resend = True
            try:
                while True:
                    self._outbox.appended.clear()
                    if self._resend:
                        await self._start_over(producer)
                        connected()
                        KAFKA_UP.set(1)
                    sent = await self._send_rows(producer)
                    await self._send_live(producer)
                    await self._release_acked()
                    if not sent:
                        await _wait(self._outbox.appended, 0.5)
            except asyncio.CancelledError:
                await self._finish(producer)
                raise
            finally:
                KAFKA_UP.set(0)

    async def _start_over(self, producer: Producer) -> None:
        RESENDS.inc()
        self._resend = False
        self._started_over_at = time.monotonic()
        self._position = START
        self._told.clear()
        self._acked.clear()
        self._next_heartbeat = self._next_received = 0.0
        posted = [await producer.post(ASSETS, asset.id, asset.encode()) for asset in self._assets]
        await producer.settle(posted)

    async def _send_rows(self, producer: Producer) -> bool:
        try:
            rows, position = await self._outbox.call(self._outbox.outbox.unsent, self._position)
        except Full as error:
            log.warning("outbox cannot be read", extra={"fields": {"error": str(error)}})
            await asyncio.sleep(1)
            return False
        if rows:
            await producer.settle([await self._post(producer, row) for row in rows])
            self._acked.append((time.monotonic(), {row.mark: row.sequence for row in rows}))
            for lane, topic in _TOPIC.items():
                SENT.labels(topic.name).inc(sum(row.lane is lane for row in rows))
        if not self._resend:
            self._position = position
        return bool(rows)

    async def _post(self, producer: Producer, row: Row) -> asyncio.Future[object]:
        headers = [
            ("gateway", self._gateway.encode()),
            ("boot", str(row.boot).encode()),
            ("sequence", str(row.sequence).encode()),
        ]
        return await producer.post(
            _TOPIC[row.lane], row.key, row.data, () if row.lane is Lane.SAMPLES else headers
        )

    async def _send_live(self, producer: Producer, *, last: bool = False) -> None:
        now = time.monotonic()
        events: list[codec.SourceEvent] = []
        if now >= self._next_heartbeat or last:
            self._next_heartbeat = now + HEARTBEAT_EVERY_S
            events += self._live()
        told: list[Count] = []
        if now >= self._next_received or last:
            self._next_received = now + RECEIVED_EVERY_S
            counts = await self._outbox.call(self._outbox.outbox.counts)
            await self._doubt_kafka(now)
            told = [count for count in counts if self._told.get(count_key(count)) != count]
            events += [self._received(count) for count in told]
        if events:
            await producer.settle(
                [
                    await producer.post(SOURCE_EVENTS, event.source, codec.encode_event(event))
                    for event in events
                ]
            )
            self._told.update((count_key(count), count) for count in told)

    def _received(self, count: Count) -> codec.SourceEvent:
        return codec.SourceEvent(
            owner=count.owner,
            gateway=self._gateway,
            boot=count.boot,
            source=count.source,
            time=time.time_ns() // 1000,
            received=codec.Received(
                hour=count.hour,
                received=count.received,
                dropped=count.dropped,
                skipped=count.skipped,
                rejected=count.rejected,
            ),
        )

    async def _doubt_kafka(self, now: float) -> None:
        if now - self._started_over_at > RESEND_AFTER_S and now - self._historian_at < SILENT_S:
            level = await self._outbox.call(self._outbox.outbox.level)
            if level.oldest_age_s > RESEND_AFTER_S:
                log.warning(
                    "sending again what is not stored", extra={"fields": {"rows": level.rows}}
                )
                self._resend = True

    async def _release_acked(self) -> None:
        if self._replication < 3:
            self._acked.clear()
            return
        while self._acked and time.monotonic() - self._acked[0][0] > ACKED_KEEP_S:
            await self._release(self._acked.popleft()[1])

    async def _release(self, stored: dict[Mark, int]) -> None:
        def release() -> None:
            for (boot, stream), up_to in stored.items():
                self._outbox.outbox.release(boot, stream, up_to)

        await self._outbox.call(release)

    async def _finish(self, producer: Producer) -> None:
        try:
            async with asyncio.timeout(3):
                while await self._send_rows(producer):
                    pass
                await self._send_live(producer, last=True)
        except (TimeoutError, Unavailable):
            return  # the outbox keeps it for the next start

    async def _listen(self, connected: Callable[[], None]) -> None:
        async with Consumer(
            self._settings, [STORED], client_id=f"{self._gateway}-stored"
        ) as consumer:
            connected()
            heard = time.monotonic()
            while time.monotonic() - heard < SILENT_S:
                records = await consumer.take(timeout_s=1.0)
                if records:
                    heard = time.monotonic()
                    if await self._take(records):
                        return

    async def _take(self, records: Sequence[Record]) -> bool:
        """Release what the records say is stored; True where they are the first of a new log."""
        stored: dict[Mark, int] = {}
        log_id = self._log_id
        for record in records:
            match _said(record, self._gateway):
                case str(named):
                    log_id, self._historian_at = named, time.monotonic()
                case (Mark() as mark, int(sequence)):
                    stored[mark] = max(sequence, stored.get(mark, 0))
        if stored:
            await self._release(stored)
            RELEASED_AT.set_to_current_time()
        is_new = self._log_id is not None and log_id != self._log_id
        self._log_id = log_id
        if is_new:
            log.info(
                "new kafka log, sending again what is not stored",
                extra={"fields": {"log_id": log_id}},
            )
            self._resend = True
            self._outbox.appended.set()
        return is_new


def _said(record: Record, gateway: str) -> str | tuple[Mark, int] | None:
    """A log id (heartbeat), a mark with its sequence, or None: for another gateway, or
    unreadable."""
    try:
        key = (record.key or b"").decode()
        body = json.loads(record.value or b"null")
        if key == "@heartbeat":
            return str(body["log_id"])
        mine, boot, stream = key.split("/", 2)
        return (Mark(int(boot), stream), int(body["sequence"])) if mine == gateway else None
    except (ValueError, TypeError, KeyError):
        return None


async def _persist(what: str, attempt: Callable[[Callable[[], None]], Awaitable[None]]) -> None:
    """Run `attempt` again and again; `Unavailable` backs off from 0.5 s to 10 s and is logged
    once."""
    delay, away = _BACKOFF_S[0], False

    def connected() -> None:
        nonlocal delay, away
        if away:
            log.info("kafka is back", extra={"fields": {"for": what}})
        delay, away = _BACKOFF_S[0], False

    while True:
        try:
            await attempt(connected)
        except Unavailable as error:
            if not away:
                log.warning("kafka is away", extra={"fields": {"for": what, "error": str(error)}})
            away = True
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))
            delay = min(delay * 2, _BACKOFF_S[1])


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return
