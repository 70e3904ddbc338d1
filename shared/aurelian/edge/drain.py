"""From the outbox to Kafka, and from `aurelian.stored.v1` to releases; run by
`gateway.run_gateway`.

Rows are published in order and stay in the outbox until the historian says on `aurelian.stored.v1`
that they are stored. A new log (the historian's heartbeat names it), a new producer and a new start
each publish again all that is unreleased.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections import deque
from collections.abc import Callable, Collection, Iterable, Sequence

from prometheus_client import Counter, Gauge, Summary

from aurelian.backbone.client import Consumer, Producer, RecordRefused, Unavailable
from aurelian.backbone.topics import REJECTED, SAMPLES, SOURCE_EVENTS, STORED
from aurelian.edge.asset_topic import SET_ASIDE, send_assets, send_gone
from aurelian.edge.outbox.limits import OutboxFull
from aurelian.edge.outbox.rows import (
    START,
    HourCount,
    OutboxRow,
    Position,
    RecordKind,
    StreamKey,
    count_key,
    unreadable,
)
from aurelian.edge.outbox.thread import OutboxThread
from aurelian.edge.pace import Pace
from aurelian.edge.stored import keep_connected, parse_stored, seek_stored
from aurelian.model import codec
from aurelian.model.asset import Asset
from aurelian.model.record import Partition, Record
from aurelian.runtime.settings import KafkaSettings

log = logging.getLogger(__name__)

HEARTBEAT_EVERY_S = 2.0
RECEIVED_EVERY_S = 5.0
ACKNOWLEDGED_KEEP_S = 900.0
"""How long rows stay after Kafka's ack where three brokers hold them."""

SILENT_S = 15.0
"""A historian's heartbeat comes every 2 s; when none does, the consumer is made anew (it may stand
in an old log)."""

RESEND_AFTER_S = 900.0
"""Rows that a running historian has not stored after this long are sent again: a broker may have
lost its tail."""

_ROWS_BYTES = 2**20
_SHOWN_BYTES = 64 * 1024
"""Of a record that Kafka refused, this much goes to the rejected table."""

_TOPIC = {
    RecordKind.SAMPLES: SAMPLES,
    RecordKind.EVENTS: SOURCE_EVENTS,
    RecordKind.REJECTED: REJECTED,
}

SENT = Counter(
    "gateway_sent_records_total",
    "Records that Kafka has acknowledged, repeated ones included; flat while rows wait: is Kafka "
    "there?",
    ["topic"],
)
TO_KAFKA = Summary(
    "gateway_outbox_to_kafka_seconds",
    "From our disk to Kafka's acknowledgement, the oldest of what was sent together; long: Kafka "
    "was away, or is slow.",
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
    """Publishes what one gateway keeps. `heartbeats` and `states` give events that are published
    and not kept, `states` all of them where it is asked for them `anew`; `assets` is gone through
    at each connection, `new_assets` gives those that changed since (at once where `other_plants`
    says so), `gone` the ids of those that are there no more, until they are `told_gone`."""

    def __init__(
        self,
        settings: KafkaSettings,
        gateway: str,
        outbox: OutboxThread,
        *,
        assets: Iterable[Asset] = (),
        new_assets: Callable[[], Iterable[Asset]] = tuple,
        other_plants: Callable[[], bool] = lambda: False,
        gone: Callable[[], Collection[str]] = tuple,
        told_gone: Callable[[Collection[str]], None] = lambda ids: None,
        replication: int = 1,
        heartbeats: Callable[[], list[codec.SourceEvent]] = list,
        states: Callable[[bool], list[codec.SourceEvent]] = lambda anew: [],
        pace: Pace | None = None,
    ) -> None:
        self._settings, self._gateway, self._outbox = settings, gateway, outbox
        self._assets, self._new_assets, self._replication = assets, new_assets, replication
        self._other_plants = other_plants
        self._gone, self._told_gone = gone, told_gone
        self._heartbeats, self._states = heartbeats, states
        self._states_anew = True
        self._pace = pace or Pace()
        self._alone_until: Position | None = None
        self._set_aside: dict[tuple[StreamKey, int], str] = {}
        self._read_to: dict[Partition, int] = {}
        self._started_ms = time.time_ns() // 1_000_000
        self._resend = False
        self._log_id: str | None = None
        self._acknowledged: deque[tuple[float, dict[StreamKey, int]]] = deque()
        self._position = START
        self._published: dict[tuple[int, str, int], HourCount] = {}
        self._next_heartbeat = self._next_received = 0.0
        self._resent_at = self._historian_seen_at = 0.0

    async def send(self) -> None:
        """Send until cancelled; then what is left and the last counts, for up to 3 s."""
        await keep_connected("kafka producer", self._send)

    async def listen(self) -> None:
        """Follow `aurelian.stored.v1` until cancelled and let the outbox release what it names."""
        await keep_connected("kafka consumer of stored records", self._listen)

    async def _send(self, connected: Callable[[], None]) -> None:
        async with Producer(self._settings, f"{self._gateway}-gateway") as producer:
            self._resend = True
            try:
                while True:
                    self._outbox.appended.clear()
                    if self._resend:
                        await self._resend_all(producer)
                        connected()
                        KAFKA_UP.set(1)
                    sent = await self._send_rows(producer)
                    await self._send_unkept(producer)
                    await self._release_acknowledged()
                    if not sent:
                        await _wait(self._outbox.appended, 0.5)
            except asyncio.CancelledError:
                await self._finish(producer)
                raise
            finally:
                KAFKA_UP.set(0)
                self._pace.away()

    async def _resend_all(self, producer: Producer) -> None:
        RESENDS.inc()
        self._resend = False
        self._states_anew = True
        self._resent_at = time.monotonic()
        self._position = START
        self._published.clear()
        self._acknowledged.clear()
        self._next_heartbeat = self._next_received = 0.0
        await send_assets(producer, self._assets)

    async def _send_rows(self, producer: Producer) -> bool:
        if self._other_plants():
            # Before the first values of a new source: who reads them must know what they are.
            await send_assets(producer, self._new_assets())
        read_at = time.time_ns() // 1000
        alone = self._alone_until is not None
        try:
            rows, position = await self._outbox.call(
                self._outbox.outbox.unsent, self._position, 1 if alone else _ROWS_BYTES
            )
        except OutboxFull as error:
            log.warning("outbox cannot be read", extra={"fields": {"error": str(error)}})
            await asyncio.sleep(1)
            return False
        if rows:
            # Publish order is sequence order: all rows are posted before any is awaited, the
            # producer keeps the order of a partition, and the position moves on only when all are
            # acknowledged. A failure leaves it, so the rows go out again under their old sequences.
            try:
                await producer.settle([await self._post(producer, row) for row in rows])
            except RecordRefused as error:
                await self._on_refusal(rows, position, error)
                # The client's numbers of sent records cannot be trusted now: a new one is made.
                raise Unavailable(f"a record was refused: {error}") from error
            self._acknowledged.append(
                (time.monotonic(), {row.stream_key: row.sequence for row in rows})
            )
            TO_KAFKA.observe(max(0.0, time.time() - rows[0].appended_at / 1e6))
            for kind, topic in _TOPIC.items():
                SENT.labels(topic.name).inc(sum(row.kind is kind for row in rows))
        # A new log was seen while these were under way: the position must stay at the start.
        if not self._resend:
            self._position = position
            if self._alone_until is not None and (not rows or position >= self._alone_until):
                self._alone_until = None
        reached_end = not rows or (not alone and sum(len(r.data) for r in rows) < _ROWS_BYTES)
        up_to = read_at if reached_end else rows[-1].appended_at
        self._pace.sent(up_to, sum(row.samples for row in rows), reached_end=reached_end)
        return bool(rows)

    async def _on_refusal(
        self, rows: Sequence[OutboxRow], position: Position, error: RecordRefused
    ) -> None:
        """Set a row aside that Kafka refuses; where it is one of many, have each sent alone."""
        if len({row.id for row in rows}) > 1 or len(rows) > 1:
            self._alone_until = position
            return
        (row,) = rows
        if row.data[:1] == unreadable(b"", "")[:1]:
            # Not even what stands for it is taken: it stays, and is tried again with the others.
            return
        self._set_aside[row.stream_key, row.sequence] = str(error)
        SET_ASIDE.labels(_TOPIC[row.kind].name).inc()
        log.error(
            "kafka refuses a record, set aside",
            extra={
                "fields": {
                    "stream": row.stream,
                    "sequence": row.sequence,
                    "bytes": len(row.data),
                    "error": str(error),
                }
            },
        )

    async def _post(self, producer: Producer, row: OutboxRow) -> asyncio.Future[object]:
        headers = [
            ("gateway", self._gateway.encode()),
            ("boot", str(row.boot).encode()),
            ("stream", row.stream.encode()),
            ("sequence", str(row.sequence).encode()),
        ]
        data = row.data
        if reason := self._set_aside.get((row.stream_key, row.sequence)):
            data = unreadable(data, f"{len(data)} bytes, refused by Kafka: {reason}", _SHOWN_BYTES)
        return await producer.post(_TOPIC[row.kind], row.key, data, headers)

    async def _send_unkept(self, producer: Producer, *, last: bool = False) -> None:
        now = time.monotonic()
        events: list[codec.SourceEvent] = []
        if now >= self._next_heartbeat or last:
            self._next_heartbeat = now + HEARTBEAT_EVERY_S
            events += self._heartbeats() + self._states(self._states_anew)
            self._states_anew = False
            await send_assets(producer, self._new_assets())
            if gone := list(self._gone()):
                await send_gone(producer, gone)
                self._told_gone(gone)
        counted: list[HourCount] = []
        if now >= self._next_received or last:
            self._next_received = now + RECEIVED_EVERY_S
            counts = await self._outbox.call(self._outbox.outbox.counts)
            await self._resend_overdue(now)
            counted = [count for count in counts if self._published.get(count_key(count)) != count]
            events += [self._received(count) for count in counted]
        if events:
            try:
                await producer.settle(
                    [
                        await producer.post(SOURCE_EVENTS, event.source, codec.encode_event(event))
                        for event in events
                    ]
                )
            except RecordRefused as error:
                SET_ASIDE.labels(SOURCE_EVENTS.name).inc()
                raise Unavailable(f"a heartbeat or count was refused: {error}") from error
            self._published.update((count_key(count), count) for count in counted)

    def _received(self, count: HourCount) -> codec.SourceEvent:
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

    async def _resend_overdue(self, now: float) -> None:
        if now - self._resent_at > RESEND_AFTER_S and now - self._historian_seen_at < SILENT_S:
            level = await self._outbox.call(self._outbox.outbox.level)
            if level.oldest_age_s > RESEND_AFTER_S:
                log.warning(
                    "sending again what is not stored", extra={"fields": {"rows": level.rows}}
                )
                self._resend = True

    async def _release_acknowledged(self) -> None:
        if self._replication < 3:
            self._acknowledged.clear()
            return
        while (
            self._acknowledged and time.monotonic() - self._acknowledged[0][0] > ACKNOWLEDGED_KEEP_S
        ):
            await self._release(self._acknowledged.popleft()[1])

    async def _release(
        self,
        stored: dict[StreamKey, int],
        beyond: dict[StreamKey, list[tuple[int, int]]] | None = None,
    ) -> None:
        def release() -> None:
            for key, up_to in stored.items():
                ranges = (beyond or {}).get(key, ())
                self._outbox.outbox.release(key.boot, key.stream, up_to, ranges)

        await self._outbox.call(release)

    async def _finish(self, producer: Producer) -> None:
        try:
            async with asyncio.timeout(3):
                while await self._send_rows(producer):
                    pass
                await self._send_unkept(producer, last=True)
        except (TimeoutError, Unavailable, RecordRefused):
            return  # the outbox keeps it for the next start

    async def _listen(self, connected: Callable[[], None]) -> None:
        consumer = Consumer(self._settings, [STORED], client_id=f"{self._gateway}-stored")
        async with consumer:
            await seek_stored(consumer, self._read_to, self._started_ms)
            connected()
            last_seen = time.monotonic()
            while time.monotonic() - last_seen < SILENT_S:
                records = await consumer.take(timeout_s=1.0)
                if records:
                    last_seen = time.monotonic()
                    for record in records:
                        place = Partition(record.topic, record.partition)
                        self._read_to[place] = record.offset + 1
                    if await self._release_stored(records):
                        self._read_to.clear()
                        return
            # Nothing came: it may stand in an old log, beyond the end of a new one.
            self._read_to.clear()

    async def _release_stored(self, records: Sequence[Record]) -> bool:
        """Release what the records say is stored; True where they are the first of a new log."""
        stored: dict[StreamKey, int] = {}
        beyond: dict[StreamKey, list[tuple[int, int]]] = {}
        log_id = self._log_id
        for record in records:
            match parse_stored(record, self._gateway):
                case str(named):
                    log_id, self._historian_seen_at = named, time.monotonic()
                case (StreamKey() as stream, int(sequence), list(ranges)):
                    stored[stream] = max(sequence, stored.get(stream, 0))
                    beyond.setdefault(stream, []).extend(ranges)
        if stored:
            await self._release(stored, beyond)
            for key, sequence in list(self._set_aside):
                if sequence <= stored.get(key, 0):
                    del self._set_aside[key, sequence]
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


async def _wait(event: asyncio.Event, timeout_s: float) -> None:
    try:
        async with asyncio.timeout(timeout_s):
            await event.wait()
    except TimeoutError:
        return
