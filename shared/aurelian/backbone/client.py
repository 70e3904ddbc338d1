"""Kafka for everyone: producer, consumer, records. The only importer of aiokafka beside topics.py.

Every setting that has an unsafe default in the client is set here. Offsets live in the database,
not in Kafka (D7).
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable, Sequence
from types import TracebackType

from aiokafka import AIOKafkaConsumer, AIOKafkaProducer, ConsumerRebalanceListener
from aiokafka import TopicPartition as _TopicPartition
from aiokafka.errors import (
    CorruptRecordException,
    IllegalStateError,
    InvalidTimestampError,
    KafkaError,
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    RecordTooLargeError,
)

from aurelian.backbone.cancellation import raise_if_cancelled
from aurelian.backbone.position import LogRange
from aurelian.backbone.topic_ids import read_topic_ids
from aurelian.backbone.topics import Topic
from aurelian.model.record import Partition, Record
from aurelian.runtime.settings import KafkaSettings


class Unavailable(ConnectionError):
    """Kafka did not take or give records; retry later with a new producer or consumer."""


def check_topic_ids(before: dict[str, str], now: dict[str, str]) -> None:
    """Compare the ids of topics with those of before.

    Raises:
        Unavailable: a topic was deleted and made again; the next claim of its partitions halts
            where something of it was consumed.
    """
    for topic, id in now.items():
        if before.get(topic, id) != id:
            raise Unavailable(f"topic {topic} was deleted and made again")


class RecordRefused(Exception):
    """Kafka does not take this record as it is, now or later; the text says why.

    The producer is done for as after `Unavailable`. Records that were sent with it in one batch are
    refused with it: send each alone to know which one it was.
    """


_REFUSALS = (
    MessageSizeTooLargeError,
    RecordListTooLargeError,
    RecordTooLargeError,
    CorruptRecordException,
    InvalidTimestampError,
)


class Producer:
    """Sends records; every send is acknowledged by all in-sync replicas or raises. Async context
    manager.

    After any `Unavailable` close it and make a new one: the client's idempotent sequence cannot be
    trusted then.
    """

    def __init__(self, settings: KafkaSettings, client_id: str) -> None:
        self._producer = AIOKafkaProducer(
            bootstrap_servers=settings.kafka_bootstrap,
            client_id=client_id,
            acks="all",
            enable_idempotence=True,
            compression_type="zstd",
            linger_ms=10,
            max_batch_size=262_144,
            max_request_size=8_388_608,
            request_timeout_ms=int(settings.kafka_timeout_s * 1000),
            retry_backoff_ms=500,
        )
        self._timeout_s = settings.kafka_timeout_s

    async def __aenter__(self) -> Producer:
        try:
            await self._producer.start()
        except KafkaError as error:
            await _end(self._producer.stop)
            raise Unavailable(f"no Kafka broker: {error!r}") from error
        except BaseException:  # cancelled while it looked for the broker
            await _end(self._producer.stop)
            raise
        return self

    async def __aexit__(self, *_: object) -> None:
        # The client's stop waits for what is unsent; the outbox keeps that, so a dead broker must
        # not hold us.
        await _end(self._producer.stop)

    async def post(
        self, topic: Topic, key: str, value: bytes | None, headers: Sequence[tuple[str, bytes]] = ()
    ) -> asyncio.Future[object]:
        """Hand over one record; the future ends when Kafka has it. Waits while the client's buffer
        is full.

        Raises:
            Unavailable: the client cannot take it. The future raises KafkaError; use `settle`.
            RecordRefused: it is larger than a record may be.
        """
        try:
            async with asyncio.timeout(self._timeout_s):
                future: asyncio.Future[object] = await self._producer.send(
                    topic.name, value, key=key.encode(), headers=list(headers)
                )
        except _REFUSALS as error:
            raise RecordRefused(f"topic {topic.name}: {error!r}") from error
        except (KafkaError, TimeoutError) as error:
            raise Unavailable(f"topic {topic.name}: {error!r}") from error
        raise_if_cancelled()
        return future

    async def settle(self, futures: Sequence[asyncio.Future[object]]) -> None:
        """Wait until Kafka has all of them.

        Raises:
            Unavailable: at least one failed, or none came back within three time-outs.
            RecordRefused: Kafka takes at least one of them never.
        """
        try:
            async with asyncio.timeout(self._timeout_s * 3):
                await asyncio.gather(*futures)
        except _REFUSALS as error:
            raise RecordRefused(f"{error!r}") from error
        except (KafkaError, TimeoutError) as error:
            raise Unavailable(f"records not acknowledged: {error!r}") from error
        raise_if_cancelled()

    async def send(self, topic: Topic, key: str, value: bytes | None) -> None:
        """Send one record and wait until Kafka has it.

        Raises:
            Unavailable, RecordRefused: as `settle`.
        """
        await self.settle([await self.post(topic, key, value)])


Assigned = Callable[[list[Partition]], Awaitable[dict[Partition, int]]]
Revoked = Callable[[list[Partition]], Awaitable[None]]


class Consumer:
    """Takes records of topics. Async context manager.

    With `group`: partitions are shared with the other members; `assigned` answers where to begin in
    each (missing: at the start of the log), `revoked` is awaited before they go elsewhere. Without
    `group`: all partitions, beginning where `assigned` says, else at the start (`from_end=True`: at
        the end).
    """

    def __init__(
        self,
        settings: KafkaSettings,
        topics: Sequence[Topic],
        *,
        client_id: str,
        group: str | None = None,
        assigned: Assigned | None = None,
        revoked: Revoked | None = None,
        from_end: bool = False,
    ) -> None:
        self._topics = [topic.name for topic in topics]
        self._group, self._from_end = group, from_end
        self._assigned, self._revoked = assigned, revoked
        self._assigned_counts: dict[str, int] = {}
        self._consumer = AIOKafkaConsumer(
            bootstrap_servers=settings.kafka_bootstrap,
            client_id=client_id,
            group_id=group,
            enable_auto_commit=False,
            auto_offset_reset="earliest",
            isolation_level="read_committed",
            fetch_max_bytes=8_388_608,
            max_partition_fetch_bytes=2_097_152,
            fetch_max_wait_ms=500,
            session_timeout_ms=10_000,
            # so long the others wait for us when a member comes or goes
            heartbeat_interval_ms=1_000,
            rebalance_timeout_ms=10_000,
            request_timeout_ms=int(settings.kafka_timeout_s * 1000),
            retry_backoff_ms=500,
            metadata_max_age_ms=10_000,
        )

    async def __aenter__(self) -> Consumer:
        try:
            if self._group is not None:
                self._consumer.subscribe(self._topics, listener=_Listener(self))
            await self._consumer.start()
            if self._group is None:
                await self._assign_all()
        except KafkaError as error:
            await self._stop()
            raise Unavailable(f"no Kafka broker: {error!r}") from error
        except BaseException:  # cancelled while it joined its group: it must not stay a member
            await self._stop()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._stop()

    async def take(self, max_records: int = 5000, timeout_s: float = 0.5) -> list[Record]:
        """Up to `max_records` records, in order within each partition; an empty list after
        `timeout_s` without any.

        Raises:
            Unavailable: the client failed, or a topic has more partitions than when reading
                began; make a new consumer.
        """
        try:
            found = await self._consumer.getmany(
                timeout_ms=int(timeout_s * 1000), max_records=max_records
            )
        except KafkaError as error:
            raise Unavailable(f"cannot read: {error!r}") from error
        raise_if_cancelled()
        self._check_partitions()
        return [
            Record(r.topic, r.partition, r.offset, r.timestamp, r.key, r.value, tuple(r.headers))
            for records in found.values()
            for r in records
        ]

    async def offsets_since(
        self, partitions: Sequence[Partition], since_ms: int
    ) -> dict[Partition, int]:
        """The offset of the first record of each partition that is not older than a time
        (milliseconds since 1970); the end where there is none.

        Raises:
            Unavailable: no broker answered.
        """
        # The ends first: a record written between the two answers lies beyond them, not before.
        ends = await self.end_offsets(partitions)
        try:
            found = await self._consumer.offsets_for_times(
                {_TopicPartition(*p): since_ms for p in partitions}
            )
        except KafkaError as error:
            raise Unavailable(f"no offsets for a time: {error!r}") from error
        at = {p: found.get(_TopicPartition(*p)) for p in partitions}
        return {p: ends[p] if each is None else each.offset for p, each in at.items()}

    async def end_offsets(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """The offset after the newest record of each partition.

        Raises:
            Unavailable: no broker answered.
        """
        try:
            found = await self._consumer.end_offsets([_TopicPartition(*p) for p in partitions])
        except KafkaError as error:
            raise Unavailable(f"no end offsets: {error!r}") from error
        return {Partition(p.topic, p.partition): offset for p, offset in found.items()}

    async def log_ranges(self, partitions: Sequence[Partition]) -> dict[Partition, LogRange]:
        """Where the log of each partition begins and ends now.

        Raises:
            Unavailable: no broker answered.
        """
        try:
            starts = await self._consumer.beginning_offsets(
                [_TopicPartition(*p) for p in partitions]
            )
        except KafkaError as error:
            raise Unavailable(f"no start offsets: {error!r}") from error
        # Read after the starts: a log trimmed meanwhile must not seem to end before it begins.
        ends = await self.end_offsets(partitions)
        return {p: LogRange(starts[_TopicPartition(*p)], ends[p]) for p in partitions}

    async def topic_ids(self) -> dict[str, str]:
        """Kafka's id of each topic that is read; one that changed is another topic of that name.

        Raises:
            Unavailable: no broker answered.
        """
        try:
            return await read_topic_ids(self._consumer._client, self._topics)
        except KafkaError as error:
            raise Unavailable(f"no topic ids: {error!r}") from error

    async def positions(self, partitions: Sequence[Partition]) -> dict[Partition, int]:
        """The offset that comes next in each of `partitions` that is (still) assigned here.

        Raises:
            Unavailable: no broker answered.
        """
        found = {}
        for partition in partitions:
            try:
                found[partition] = await self._consumer.position(_TopicPartition(*partition))
            except IllegalStateError:
                continue
            except KafkaError as error:
                raise Unavailable(f"no positions: {error!r}") from error
        return found

    def seek(self, partition: Partition, offset: int) -> None:
        """Go on at `offset` in a partition; nothing where it went elsewhere meanwhile, which the
        listener hears later than the client: no caller can know that it still has one."""
        with contextlib.suppress(IllegalStateError):
            self._consumer.seek(_TopicPartition(*partition), offset)

    def pause(self, partition: Partition) -> None:
        """Take nothing of a partition until it is assigned anew, here or elsewhere."""
        with contextlib.suppress(IllegalStateError):
            self._consumer.pause(_TopicPartition(*partition))

    async def _assign_all(self) -> None:
        # A topic that was just made may not be in the client's metadata yet.
        for _ in range(50):
            numbers = {topic: self._consumer.partitions_for_topic(topic) for topic in self._topics}
            if all(numbers.values()):
                break
            await self._consumer._client.force_metadata_update()
            await asyncio.sleep(0.1)
        else:
            missing = [topic for topic, found in numbers.items() if not found]
            raise Unavailable(f"no such topic: {', '.join(missing)}; run `aurelian topics create`")
        partitions = [
            Partition(topic, n) for topic, found in numbers.items() for n in sorted(found or ())
        ]
        self._assigned_counts = {topic: len(found or ()) for topic, found in numbers.items()}
        self._consumer.assign([_TopicPartition(*p) for p in partitions])
        if self._from_end:
            await self._consumer.seek_to_end()
        else:
            await self._begin(partitions)

    def _check_partitions(self) -> None:
        # Members of a group get added partitions by themselves; without a group nobody would.
        if self._group is None:
            for topic, count in self._assigned_counts.items():
                now = len(self._consumer.partitions_for_topic(topic) or ())
                if now > count:
                    raise Unavailable(f"topic {topic} has {now} partitions now, {count} are read")

    async def _begin(self, partitions: list[Partition]) -> None:
        starts = (
            await self._assigned(partitions) if self._assigned is not None and partitions else {}
        )
        for partition in partitions:
            self._consumer.seek(_TopicPartition(*partition), starts.get(partition, 0))

    async def _stop(self) -> None:
        # aiokafka's stop can hang when brokers are away (aio-libs/aiokafka#773).
        await _end(self._consumer.stop)
        await _end(self._consumer._client.close)


class _Listener(ConsumerRebalanceListener):  # type: ignore[misc]
    def __init__(self, consumer: Consumer) -> None:
        self._owner = consumer

    async def on_partitions_revoked(self, revoked: set[_TopicPartition]) -> None:
        if self._owner._revoked is not None and revoked:
            await self._owner._revoked([Partition(p.topic, p.partition) for p in revoked])

    async def on_partitions_assigned(self, assigned: set[_TopicPartition]) -> None:
        await self._owner._begin([Partition(p.topic, p.partition) for p in sorted(assigned)])


async def _end(stop: Callable[[], Awaitable[None]]) -> None:
    """Stop a client within 5 s, whatever state it is in.

    The client awaits tasks of its own that it has just cancelled, so a `CancelledError` may come
    out of it that nobody asked for: taken for ours, it would end the whole process without a word.
    """
    try:
        async with asyncio.timeout(5):
            await stop()
    except (TimeoutError, KafkaError):
        return
    except asyncio.CancelledError:
        task = asyncio.current_task()
        if task is None or task.cancelling():
            raise
