"""Takes records of the partitions that are ours, and makes sure that they are of the log that we
know. Used by processor.py.

Reading begins one record before the saved offset: if that is another record now, so is the log.
What a trimmed or replaced log means is decided by `backbone/position.py`.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType

from aurelian.backbone.client import Consumer, Unavailable, check_topic_ids
from aurelian.backbone.position import REPLACED, Action, Decision, LogRange, SavedOffset, decide
from aurelian.backbone.topics import ASSETS, REJECTED, SAMPLES, SOURCE_EVENTS, Topic
from aurelian.db.offsets import Claim, Fingerprint, fingerprint
from aurelian.model.record import Partition, Record
from historian import metrics
from historian.settings import HistorianSettings
from historian.transaction import SERVICE, Owned

log = logging.getLogger(__name__)

TOPICS: tuple[Topic, ...] = (SAMPLES, SOURCE_EVENTS, REJECTED, ASSETS)

NO_PROGRESS_LIMIT_S = 30.0
"""With records waiting and none coming for this long the client is stuck (aio-libs/aiokafka#703):
make a new one."""

_COMPACTED = frozenset(topic.name for topic in TOPICS if topic.compacted)

ClaimAll = Callable[[list[Partition], dict[str, str]], Awaitable[dict[Partition, Claim]]]
"""Claims partitions; the other argument is the ids of their topics."""

Halt = Callable[[Partition, int, str], Awaitable[None]]
"""Writes down that a partition halts: partition, owner epoch, reason."""

RecordLoss = Callable[[Partition, int, Decision], Awaitable[None]]
"""Writes down that records were deleted before they were stored: partition, the offset that was
next, and the decision to skip."""


@dataclass(slots=True)
class _Reading:
    """Where a partition is read.

    Attributes:
        position: the next offset to take.
        last: what the record before it must be.
        compared: the record before it was compared, or there is none to compare.
        nothing_waited_s: when all of it was stored last, or reading began; seconds since 1970.
    """

    position: int
    last: Fingerprint | None
    compared: bool
    epoch: int
    nothing_waited_s: float = 0.0


class Source:
    """A consumer of one log. Async context manager.

    Attributes:
        owned: the partitions that are ours and go on; `generation` changes with each assignment,
            and what was taken before one must not be stored after it.
        halted: our partitions that do not go on until a new log is declared, and why.
        stopped: our partitions that cannot be stored now, and why; a new round tries again.
    """

    def __init__(
        self,
        settings: HistorianSettings,
        log_id: str,
        claim: ClaimAll,
        halt: Halt,
        record_loss: RecordLoss,
    ) -> None:
        self.owned: dict[Partition, Owned] = {}
        self.halted: dict[Partition, str] = {}
        self.stopped: dict[Partition, str] = {}
        self.generation = 0
        self._log_id = log_id
        self._claim, self._halt, self._record_loss = claim, halt, record_loss
        self._reading: dict[Partition, _Reading] = {}
        self._skips: list[tuple[Partition, int, Decision]] = []
        self._replaced: list[tuple[Partition, _Reading]] = []
        self._assign_error: Unavailable | None = None
        self._topic_ids: dict[str, str] = {}
        self._taken_at = time.monotonic()
        self._stopped_s = 0.0
        self._consumer = Consumer(
            settings,
            TOPICS,
            client_id=SERVICE,
            group=settings.group,
            assigned=self._assigned,
            revoked=self._revoked,
        )

    async def __aenter__(self) -> Source:
        await self._consumer.__aenter__()
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        await self._consumer.__aexit__(kind, error, trace)

    async def take(self, max_records: int, timeout_s: float) -> list[Record]:
        """Records that continue what is stored, in order within each partition; maybe none.

        A partition whose log turns out to be another one is halted, which nothing but a declared
        new log undoes; where records were deleted, the loss is recorded.

        Raises:
            Unavailable: Kafka is away.
        """
        records = await self._consumer.take(max_records, timeout_s)
        if self._assign_error is not None:
            raise self._assign_error
        if records:
            self._taken_at = time.monotonic()
        while self._skips:
            await self._skip(*self._skips.pop())
        while self._replaced:
            await self._stop_reading(*self._replaced.pop(), REPLACED)
        taken = []
        for record in records:
            reading = self._reading.get(Partition(record.topic, record.partition))
            if reading is None:
                continue
            follows = record.offset == reading.position and reading.compared
            if follows or await self._follows(record, reading):
                reading.position = record.offset + 1
                taken.append(record)
        return taken

    async def check_ends(self) -> None:
        """Compare the ends of the log with what is stored: measures the lag, halts where the log is
        shorter. May run beside `take`.

        Raises:
            Unavailable: Kafka is away, or its client makes no progress.
        """
        generation = self.generation
        ids = await self._consumer.topic_ids()
        ranges = await self._consumer.log_ranges(list(self._reading))
        if self.generation != generation:
            return  # partitions were assigned anew: these answers are of before
        check_topic_ids(self._topic_ids, ids)
        lag, waiting, now_s = 0, False, time.time()
        oldest_s = self._stopped_s or now_s
        for partition, found in ranges.items():
            owned, reading = self.owned.get(partition), self._reading.get(partition)
            if owned is None or reading is None:
                continue
            lag += max(found.end - owned.committed, 0)
            if found.end <= owned.committed:
                reading.nothing_waited_s = now_s
            # What waits came after what is stored, and after nothing waited.
            oldest_s = min(oldest_s, max(owned.stored_ms / 1000, reading.nothing_waited_s))
            waiting = waiting or found.end > reading.position
            # Once the record before our offset was the right one, the log is ours: a new leader may
            # know a lower end for a moment.
            decision = decide(self._saved(reading), self._log_id, found)
            if not reading.compared and decision.action is Action.HALT:
                await self._stop_reading(partition, reading, decision.reason)
        metrics.LAG_RECORDS.set(lag)
        metrics.AGES.waiting_since_s = min(oldest_s, now_s) if lag or self.stopped else 0.0
        if waiting and time.monotonic() - self._taken_at > NO_PROGRESS_LIMIT_S:
            raise Unavailable(f"records wait and none came for {NO_PROGRESS_LIMIT_S:.0f} s")

    def stop(self, partition: Partition, reason: str) -> None:
        """Take nothing more of a partition in this round."""
        self._reading.pop(partition, None)
        self.owned.pop(partition, None)
        self.stopped[partition] = reason
        self._stopped_s = self._stopped_s or time.time()
        self._consumer.pause(partition)
        metrics.STOPPED.set(len(self.stopped))

    async def _assigned(self, partitions: list[Partition]) -> dict[Partition, int]:
        """Claim what Kafka gave us and say where to begin. Runs beside the loop; what is to be
        written down of it waits for `take`."""
        self._clear()
        try:
            self._topic_ids = await self._consumer.topic_ids()
        except Unavailable as error:
            self._assign_error = error  # the client would only log it
            return {}
        claims = await self._claim(partitions, self._topic_ids)
        try:
            ranges = await self._consumer.log_ranges(partitions)
        except Unavailable as error:
            self._assign_error = error
            return {}
        starts: dict[Partition, int] = {}
        for partition, claim in claims.items():
            if claim.halted is not None:
                self.halted[partition] = claim.halted
                continue
            last = claim.fingerprint
            self.owned[partition] = Owned(
                claim.next_offset, claim.epoch, last.timestamp_ms if last is not None else 0
            )
            reading = self._reading[partition] = _Reading(
                claim.next_offset,
                last,
                last is None,
                claim.epoch,
                time.time() if last is None else 0.0,
            )
            if claim.is_replaced:
                self._replaced.append((partition, reading))
                continue
            saved = None if claim.is_first else self._saved(reading)
            decision = decide(saved, self._log_id, ranges[partition])
            match decision.action:
                case Action.BEGIN | Action.SKIP:
                    reading.position, reading.compared = decision.offset, True
                    if decision.action is Action.SKIP:
                        self._skips.append((partition, claim.next_offset, decision))
                case Action.CONTINUE | Action.HALT:
                    pass  # the record before ours decides; `check_ends`, when none comes
            starts[partition] = reading.position if reading.compared else reading.position - 1
        self._taken_at = time.monotonic()
        metrics.REBALANCES.inc()
        metrics.HALTED.set(len(self.halted))
        log.info(
            "partitions assigned",
            extra={"fields": {"count": len(claims), "halted": len(self.halted)}},
        )
        return starts

    async def _revoked(self, partitions: list[Partition]) -> None:
        self._clear()

    def _clear(self) -> None:
        self.generation += 1
        self.owned, self.halted, self._reading, self._skips = {}, {}, {}, []
        self._replaced = []
        self.stopped, self._stopped_s = {}, 0.0
        metrics.STOPPED.set(0)
        self._assign_error = None

    async def _follows(self, record: Record, reading: _Reading) -> bool:
        """Tell whether a record that is not simply the next one may be taken."""
        partition = Partition(record.topic, record.partition)
        matches: bool | None = None
        if record.offset < reading.position:
            before_ours = not reading.compared and record.offset == reading.position - 1
            matches = before_ours and fingerprint(record) == reading.last
        reading.compared = True
        if record.offset > reading.position and record.topic in _COMPACTED:
            return True  # compaction leaves gaps
        # As far as we can read it, the log begins with this record.
        found = LogRange(record.offset, max(record.offset + 1, reading.position))
        decision = decide(self._saved(reading), self._log_id, found, last_record_matches=matches)
        match decision.action:
            case Action.HALT:
                await self._stop_reading(partition, reading, decision.reason)
                return False
            case Action.SKIP:
                await self._skip(partition, reading.position, decision)
        return record.offset >= reading.position

    def _saved(self, reading: _Reading) -> SavedOffset:
        return SavedOffset(self._log_id, reading.position)

    async def _skip(self, partition: Partition, position: int, decision: Decision) -> None:
        log.error(
            "records were deleted before they were stored",
            extra={
                "fields": {
                    "topic": partition.topic,
                    "partition": partition.number,
                    "lost": decision.lost,
                }
            },
        )
        metrics.LOST_RECORDS.inc(decision.lost)
        await self._record_loss(partition, position, decision)

    async def _stop_reading(self, partition: Partition, reading: _Reading, reason: str) -> None:
        log.error(
            "partition halted",
            extra={
                "fields": {
                    "topic": partition.topic,
                    "partition": partition.number,
                    "reason": reason,
                }
            },
        )
        self._reading.pop(partition, None)
        self.owned.pop(partition, None)
        self.halted[partition] = reason
        self._consumer.pause(partition)
        metrics.HALTED.inc()
        await self._halt(partition, reading.epoch, reason)
