"""Takes records of the partitions that are ours, and makes sure that they are of the log that we
know. Used by processor.py."""

from __future__ import annotations

import logging
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from types import TracebackType

from aurelian.backbone.client import Consumer, Unavailable
from aurelian.backbone.topics import ASSETS, REJECTED, SAMPLES, SOURCE_EVENTS, Topic
from aurelian.db.offsets import Claim, Fingerprint, fingerprint
from aurelian.model.record import Partition, Record
from historian import metrics
from historian.settings import HistorianSettings
from historian.writer import SERVICE, Owned

log = logging.getLogger(__name__)

TOPICS: tuple[Topic, ...] = (SAMPLES, SOURCE_EVENTS, REJECTED, ASSETS)

NO_PROGRESS_LIMIT_S = 30.0
"""With records waiting and none coming for this long the client is stuck (aio-libs/aiokafka#703):
make a new one."""

UNPROVEN_LIMIT_S = 5.0
"""How long the record before our offset may take to come when the log says that it ends before it.

The end alone is no proof: the embedded broker answers the first offset of the last batch plus
one."""

_COMPACTED = frozenset(topic.name for topic in TOPICS if topic.compacted)

ClaimAll = Callable[[list[Partition]], Awaitable[dict[Partition, Claim]]]
Halt = Callable[[Partition, int, str], Awaitable[None]]


@dataclass(slots=True)
class _Reading:
    """Where a partition is read: the offset to come, and the fingerprint that the record before it
    must have."""

    position: int
    expected: Fingerprint | None
    checked: bool
    epoch: int


class Source:
    """A consumer of one log. Async context manager.

    Attributes:
        owned: the partitions that are ours; `generation` changes with each assignment, and what was
            taken before one must not be stored after it.
    """

    def __init__(self, settings: HistorianSettings, claim: ClaimAll, halt: Halt) -> None:
        self.owned: dict[Partition, Owned] = {}
        self.generation = 0
        self._claim, self._halt = claim, halt
        self._reading: dict[Partition, _Reading] = {}
        self._taken_at = self._assigned_at = time.monotonic()
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

        A partition whose log turns out to be another one is halted, which nothing but a new log
        undoes.

        Raises:
            Unavailable: Kafka is away.
        """
        records = await self._consumer.take(max_records, timeout_s)
        if records:
            self._taken_at = time.monotonic()
        taken = []
        for record in records:
            reading = self._reading.get((record.topic, record.partition))  # type: ignore[call-overload]
            if reading is None:
                continue
            if record.offset == reading.position and reading.checked:
                reading.position += 1
                taken.append(record)
                continue
            partition = Partition(record.topic, record.partition)
            reason = _contradiction(record, reading)
            if reason is not None:
                await self._stop_reading(partition, reading, reason)
            elif record.offset >= reading.position:
                reading.checked = True
                reading.position = record.offset + 1
                taken.append(record)
            else:
                reading.checked = True
        return taken

    async def check_ends(self) -> None:
        """Compare the ends of the log with what is stored: measures the lag, halts where the log is
        shorter.

        Raises:
            Unavailable: Kafka is away, or its client makes no progress.
        """
        partitions = list(self._reading)
        ends = await self._consumer.end_offsets(partitions)
        lag = 0
        for partition, end in ends.items():
            owned, reading = self.owned.get(partition), self._reading.get(partition)
            if owned is None or reading is None:
                continue
            lag += max(end - owned.committed, 0)
            unproven = not reading.checked and reading.expected is not None
            if (
                unproven
                and end < owned.committed
                and time.monotonic() - self._assigned_at > UNPROVEN_LIMIT_S
            ):
                reason = f"the log ends at {end}, {owned.committed} records are stored: it is another log"
                await self._stop_reading(partition, reading, reason)
        metrics.LAG_RECORDS.set(lag)
        waiting = any(
            ends.get(partition, 0) > reading.position
            for partition, reading in self._reading.items()
        )
        if waiting and time.monotonic() - self._taken_at > NO_PROGRESS_LIMIT_S:
            raise Unavailable(f"records wait and none came for {NO_PROGRESS_LIMIT_S:.0f} s")

    async def _assigned(self, partitions: list[Partition]) -> dict[Partition, int]:
        claims = await self._claim(partitions)
        self.generation += 1
        self.owned = {
            p: Owned(c.next_offset, c.epoch) for p, c in claims.items() if c.halted is None
        }
        self._reading = {
            p: _Reading(
                c.next_offset, c.fingerprint, c.fingerprint is None and c.next_offset > 0, c.epoch
            )
            for p, c in claims.items()
            if c.halted is None
        }
        self._taken_at = self._assigned_at = time.monotonic()
        metrics.REBALANCES.inc()
        metrics.HALTED.set(len(claims) - len(self.owned))
        log.info(
            "partitions assigned",
            extra={"fields": {"count": len(claims), "halted": len(claims) - len(self.owned)}},
        )
        return {p: _start(c) for p, c in claims.items()}

    async def _revoked(self, partitions: list[Partition]) -> None:
        self.generation += 1
        self.owned, self._reading = {}, {}

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
        self._consumer.pause(partition)
        metrics.HALTED.inc()
        await self._halt(partition, reading.epoch, reason)


def _start(claim: Claim) -> int:
    """Where to read from: the record before the next one, to compare it with its fingerprint."""
    return claim.next_offset - 1 if claim.fingerprint is not None else claim.next_offset


def _contradiction(record: Record, reading: _Reading) -> str | None:
    """Why a record that is not simply the next one shows that the log is another; None: it does
    not."""
    last = reading.position - 1
    if not reading.checked and reading.expected is not None:
        if record.offset == last:
            if fingerprint(record) == reading.expected:
                return None
            return f"record {last} is not the one that was stored: it is another log"
        if record.offset < last:
            return f"the log begins anew at {record.offset}, stored up to {last}: it is another log"
    if record.offset == reading.position or record.topic in _COMPACTED:
        return None
    if not reading.checked and reading.expected is None:
        return None  # the first record ever: where the log begins is where we begin
    return f"records {reading.position} to {record.offset - 1} are gone: the log was trimmed before they were stored"
