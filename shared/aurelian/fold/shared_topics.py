"""The shared topics of a fold: every instance learns all of them, before and beside its owned ones.
Used by session.py."""

from __future__ import annotations

import logging
import time
from collections.abc import Sequence
from typing import Generic

from prometheus_client import Counter

from aurelian.backbone.cancellation import raise_if_cancelled
from aurelian.backbone.client import Consumer
from aurelian.backbone.topics import Topic
from aurelian.events.cloudevent import EventError
from aurelian.fold.contract import Clock, Fold, RowT
from aurelian.fold.store import FoldStore
from aurelian.model.codec import DecodeError
from aurelian.model.record import Partition

log = logging.getLogger(__name__)

UNREADABLE = Counter(
    "fold_unreadable_total",
    "Records passed over because they cannot be read; which writer is new?",
    ["service"],
)

SAVE_EVERY_S = 10.0
"""How often the memory is saved; after a restart at most this much is learned again."""

_MOST = 500


class SharedTopics(Generic[RowT]):
    """What is learned, and how far. `start` is the `assigned` of the consumer that is given to
    `learn_to_end`."""

    def __init__(
        self, store: FoldStore, log_id: str, fold: Fold[RowT], topics: Sequence[Topic], clock: Clock
    ) -> None:
        self._store, self._log_id, self._fold, self._clock = store, log_id, fold, clock
        self._compacted = {topic.name for topic in topics if topic.compacted}
        self._next: dict[Partition, int] = {}
        self._saved_at = time.monotonic()

    async def start(self, partitions: list[Partition]) -> dict[Partition, int]:
        """Recall the saved memory; begin where it was saved, and compacted topics at their
        start."""
        memory, starts = await self._store.load_memory(self._log_id, partitions)
        if memory:
            self._fold.recall(memory)
        self._next = {p: 0 if p.topic in self._compacted else start for p, start in starts.items()}
        return self._next

    async def learn_to_end(self, consumer: Consumer) -> None:
        """Learn all that was there when this began."""
        ends = await consumer.end_offsets(list(self._next))
        while await self._is_behind(consumer, ends):
            raise_if_cancelled()
            await self._take_in(consumer, 0.2)

    async def learn(self, consumer: Consumer) -> None:
        """Learn what has come, without waiting; at most some batches."""
        for _ in range(4):
            if not await self._take_in(consumer, 0):
                return

    async def save(self) -> None:
        """Save the memory if it is time."""
        if time.monotonic() - self._saved_at > SAVE_EVERY_S:
            self._saved_at = time.monotonic()
            memory = self._fold.memory()
            if memory:
                await self._store.save_memory(self._log_id, self._next, memory)

    async def _is_behind(self, consumer: Consumer, ends: dict[Partition, int]) -> bool:
        return any(at < ends[p] for p, at in (await consumer.positions(list(ends))).items())

    async def _take_in(self, consumer: Consumer, timeout_s: float) -> int:
        present = self._clock()
        records = await consumer.take(_MOST, timeout_s)
        for record in records:
            try:
                self._fold.learn(record, present)
            except (DecodeError, EventError):
                UNREADABLE.labels(self._store.service).inc()
            except Exception:
                # Everybody reads every record of a shared topic: one that is odd in a way that
                # nobody thought of would end this for all companies, at each start anew.
                UNREADABLE.labels(self._store.service).inc()
                log.exception(
                    "record passed over",
                    extra={"fields": {"topic": record.topic, "offset": record.offset}},
                )
            self._next[Partition(record.topic, record.partition)] = record.offset + 1
        return len(records)
