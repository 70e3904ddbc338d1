"""One session of a fold: from opening its connections until Kafka, the database or the log is
lost. Called by run.py."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Sequence
from contextlib import AsyncExitStack
from typing import Generic

import psycopg
from prometheus_client import Counter, Gauge, Histogram
from psycopg import AsyncConnection

from aurelian.backbone.cancellation import raise_if_cancelled
from aurelian.backbone.client import Consumer, Unavailable, check_topic_ids
from aurelian.backbone.position import REPLACED, Action, Decision
from aurelian.db.engine import connect
from aurelian.db.logs import current_log
from aurelian.db.offsets import Claim, Fenced, advance, claim, halt
from aurelian.events.cloudevent import EventError
from aurelian.events.outbox import enqueue_all
from aurelian.fold.contract import Effects, NotLearned, RowT
from aurelian.fold.partitions import OwnedPartition
from aurelian.fold.shared_topics import UNREADABLE, SharedTopics
from aurelian.fold.store import FoldStore
from aurelian.fold.suspects import Suspects
from aurelian.fold.task import FoldTask
from aurelian.model.codec import DecodeError
from aurelian.model.record import Partition, Record

log = logging.getLogger(__name__)


class LogChanged(Exception):
    """Another Kafka log is declared than the one that this session reads."""


class Session(Generic[RowT]):
    """One life of the fold between two failures: one database connection, one log, one membership
    of the group."""

    def __init__(self, task: FoldTask[RowT], suspects: Suspects) -> None:
        self.task, self.suspects = task, suspects
        self.conn: AsyncConnection
        self.store: FoldStore
        self.owned: Consumer
        self.shared: tuple[SharedTopics[RowT], Consumer] | None = None
        self.log_id = ""
        self.positions: dict[Partition, OwnedPartition] = {}
        # What Kafka and the database gave us; `_load` makes it ours.
        self.assigned: dict[Partition, OwnedPartition] = {}
        # Key of a state -> number of the partition that its records come from.
        self.partition_of: dict[str, int] = {}
        self.effects: Effects[RowT] = Effects()
        self.pending = 0
        self.assignment = 0
        self.loaded = 0
        self.assign_error: psycopg.Error | Unavailable | None = None
        self.topic_ids: dict[str, str] = {}
        self.caught_up = False
        # When the ends were looked at that are to be reached, and where they were.
        self.goal: tuple[float, dict[Partition, int]] | None = None
        self.committed_at = self.ticked_at = self.loaded_at = time.monotonic()

    async def run(self) -> None:
        """Open, learn what is shared, then take, fold, tick and commit until something goes
        away."""
        task = self.task
        async with AsyncExitStack() as stack:
            self.conn = await stack.enter_async_context(
                await connect(task.url, autocommit=True, name=f"aurelian {task.name}")
            )
            self.store = FoldStore(self.conn, task.service, task.consumer)
            if task.exclusive:
                await self.store.become_only_one(task.health)
            self.log_id = await self.store.await_log(task.health)
            if task.shared:
                shared = SharedTopics(self.store, self.log_id, task.fold, task.shared, task.clock)
                consumer = await stack.enter_async_context(
                    Consumer(
                        task.settings, task.shared, client_id=task.group, assigned=shared.start
                    )
                )
                await shared.learn_to_end(consumer)
                self.shared = shared, consumer
            self.owned = Consumer(
                task.settings,
                task.owned,
                client_id=task.group,
                group=None if task.exclusive else task.group,
                assigned=self._assigned,
                revoked=self._revoked,
            )
            await stack.enter_async_context(self.owned)
            while True:
                raise_if_cancelled()
                await self._round()

    async def _round(self) -> None:
        task = self.task
        interval_s = task.settings.commit_interval_s
        if self.shared is not None:
            await self.shared[0].learn(self.shared[1])
        wait_s = max(self.committed_at + interval_s - time.monotonic(), 0.01)
        records = await self.owned.take(MAX_RECORDS, wait_s)
        if self.assign_error is not None:
            raise self.assign_error
        if self.loaded != self.assignment:
            await self._load()
            return
        await self._fold(records)
        now = time.monotonic()
        if now - self.ticked_at >= TICK_EVERY_S and len(records) < MAX_RECORDS:
            await self._tick()
        if self.pending >= 4 * MAX_RECORDS or now - self.committed_at >= interval_s:
            try:
                await self._commit()
            except Fenced:
                if self.loaded == self.assignment:
                    # else Kafka moved partitions meanwhile, and the next
                    # round loads what is ours now
                    raise
        task.health.tick()

    async def _fold(self, records: Sequence[Record]) -> None:
        task = self.task
        present = task.clock()
        for count, record in enumerate(records):
            if self.loaded != self.assignment:
                return  # Kafka moved partitions while we waited below; the next round loads
            partition = Partition(record.topic, record.partition)
            position = self.positions.get(partition)
            if position is None or position.claim.halted is not None:
                continue
            if record.offset != position.next and not await self._follows(
                partition, position, record
            ):
                continue
            self.suspects.add(partition, record.offset)
            try:
                if not self.suspects.is_refused(partition, record.offset):
                    self.effects.add(await self._fold_one(record, present))
            except (DecodeError, EventError):
                UNREADABLE.labels(task.service).inc()
            if len(task.owned) == 1 and record.key is not None:
                self.partition_of[record.key.decode("utf-8", "replace")] = record.partition
            position.advance(record)
            self.pending += 1
            if self.suspects.one_by_one:
                await self._commit()
            if count % 32 == 31:
                await asyncio.sleep(0)
        _RECORDS.labels(task.service).inc(len(records))

    async def _fold_one(self, record: Record, present: int) -> Effects[RowT]:
        fold = self.task.fold
        try:
            return fold.fold(record, present)
        except NotLearned:
            if self.shared is not None:
                await self.shared[0].learn_to_end(self.shared[1])
        try:
            return fold.fold(record, present)
        except NotLearned:
            return Effects()

    async def _tick(self) -> None:
        """Every `TICK_EVERY_S`: let time pass, see whether the log is still ours, save what was
        learned."""
        self.ticked_at = time.monotonic()
        if await current_log(self.conn) != self.log_id:
            raise LogChanged("another Kafka log was declared")
        check_topic_ids(self.topic_ids, await self.owned.topic_ids())
        if not self.caught_up:
            self.caught_up = await self._reached_end()
            if self.caught_up:
                log.info("folding", extra={"fields": {"partitions": len(self.positions)}})
        if self.caught_up:
            self.effects.add(self.task.fold.tick(self.task.clock()))
            halted = [
                p for p, position in self.positions.items() if position.claim.halted is not None
            ]
            _HALTED.labels(self.task.service).set(len(halted))
            self.task.health.ready = (
                f"{len(halted)} partitions halt, {halted[0].topic}/{halted[0].number} first: see "
                "the log"
                if halted
                else None
            )
        if self.shared is not None:
            await self.shared[0].save()

    async def _commit(self) -> None:
        """Rows, events, snapshots and offsets in one transaction, if there is anything."""
        task = self.task
        self.committed_at = time.monotonic()
        moved = {
            p: position
            for p, position in self.positions.items()
            if position.next > position.committed
        }
        if self.loaded != self.assignment or not (moved or self.effects):
            return
        with _COMMIT_S.labels(task.service).time():
            async with self.conn.transaction():
                if await current_log(self.conn) != self.log_id:
                    raise LogChanged("another Kafka log was declared")
                # All partitions, not only those that moved: rows and states may follow from time
                # alone, and a paused process must not write them over its successor's.
                await self.store.prove_ownership(
                    self.log_id, {p: position.claim for p, position in self.positions.items()}
                )
                for partition, position in sorted(moved.items()):
                    offsets = position.committed, position.next, position.claim.epoch, position.last
                    await advance(
                        self.conn, task.service, task.consumer, self.log_id, partition, *offsets
                    )
                if self.effects.rows:
                    await task.write(self.conn, self.effects.rows)
                await enqueue_all(
                    self.conn,
                    task.service,
                    [(out.topic, out.key, out.event) for out in self.effects.events],
                )
                # `changed` forgets what it gives. If the commit fails, the states are loaded anew.
                await self.store.save(task.fold.changed(), self.partition_of)
        for position in moved.values():
            position.committed = position.next
        self.suspects.clear()
        self.effects, self.pending = Effects(), 0

    async def _load(self) -> None:
        """Take the committed state of what is ours now, and begin at its offsets; what was folded
        since is dropped."""
        # First: an assignment that comes while we await below makes the next round load again.
        self.loaded, self.positions = self.assignment, dict(self.assigned)
        self.suspects.forget()
        self.effects, self.pending, self.caught_up, self.goal = Effects(), 0, False, None
        numbers = (
            None if self.task.exclusive else [partition.number for partition in self.positions]
        )
        states = await self.store.load(numbers)
        self.partition_of = {
            key: number for key, (number, _) in states.items() if number is not None
        }
        self.task.fold.restore({key: state for key, (_, state) in states.items()})
        self.loaded_at, ranges = time.monotonic(), await self.owned.log_ranges([*self.positions])
        for partition, position in self.positions.items():
            if position.claim.halted is not None:
                self.owned.pause(partition)
                continue
            if position.claim.is_replaced:
                await self._halt(partition, position, REPLACED)
                continue
            await self._act(partition, position, position.begin(ranges[partition]))
            self.owned.seek(partition, position.read_from)

    async def _follows(
        self, partition: Partition, position: OwnedPartition, record: Record
    ) -> bool:
        """Tell whether to fold a record that has not the next offset: one after a gap, not the one
        that was read to see whether the log is ours."""
        matches = position.matches(record)
        if matches:
            return False
        ranges = await self.owned.log_ranges([partition])
        await self._act(partition, position, position.resume(ranges[partition], matches))
        return position.claim.halted is None

    async def _act(
        self, partition: Partition, position: OwnedPartition, decision: Decision
    ) -> None:
        """Record a loss, or halt the partition; nothing where it just goes on."""
        if decision.action is Action.HALT:
            await self._halt(partition, position, decision.reason)
        elif decision.action is Action.SKIP:
            _LOST.labels(self.task.service).inc(decision.lost)
            fields = {"topic": partition.topic, "partition": partition.number}
            log.error(
                "records were deleted before they were folded",
                extra={"fields": {**fields, "lost": decision.lost, "because": decision.reason}},
            )

    async def _halt(self, partition: Partition, position: OwnedPartition, reason: str) -> None:
        fields = {"topic": partition.topic, "partition": partition.number, "because": reason}
        log.error("partition halts until a new log is declared", extra={"fields": fields})
        task = self.task
        async with self.conn.transaction():
            await halt(
                self.conn,
                task.service,
                task.consumer,
                self.log_id,
                partition,
                position.claim.epoch,
                reason,
            )
        self.owned.pause(partition)
        position.claim = Claim(position.claim.next_offset, position.claim.epoch, reason)
        position.next = position.committed

    async def _assigned(self, partitions: list[Partition]) -> dict[Partition, int]:
        """Claim what Kafka gave us. Runs beside the loop, so on a connection of its own; the loop
        then loads."""
        task = self.task
        try:
            self.topic_ids = await self.owned.topic_ids()
            async with await connect(task.url, autocommit=True) as conn:
                claims = await claim(
                    conn, task.service, task.consumer, self.log_id, partitions, self.topic_ids
                )
        except (psycopg.Error, Unavailable) as error:
            self.assign_error = error
            return {}
        self.assigned = {p: OwnedPartition(c, self.log_id) for p, c in claims.items()}
        self.assignment += 1
        return {p: position.read_from for p, position in self.assigned.items()}

    async def _revoked(self, partitions: list[Partition]) -> None:
        self.assigned = {}
        self.assignment += 1

    async def _reached_end(self) -> bool:
        """Tell whether all that was in the owned partitions within `RECENT_S` is folded.

        What is in them now is no goal: on a busy machine there is always a record more than was
        taken a moment ago, and the fold would not be ready for minutes.
        """
        if not self.positions and time.monotonic() - self.loaded_at < ASSIGNED_WITHIN_S:
            return False  # Kafka has not dealt them out yet; a member may also remain without any
        ours = [p for p, position in self.positions.items() if position.claim.halted is None]
        if self.goal is None:
            self.goal = time.monotonic(), await self.owned.end_offsets(ours)
        set_at, ends = self.goal
        at = await self.owned.positions(ours)
        if not all(partition in at and at[partition] >= ends[partition] for partition in ours):
            return False
        self.goal = None
        return time.monotonic() - set_at <= RECENT_S


MAX_RECORDS = 500
"""Records taken at once; a transaction holds at most five times as many."""

TICK_EVERY_S = 1.0
"""How often time passes and a new log is looked for."""

RECENT_S = 10.0
"""A fold that has all up to this long ago is not behind."""

ASSIGNED_WITHIN_S = 15.0
"""A member of the group that has no partition after this time is left without any."""

_RECORDS = Counter(
    "fold_records_total",
    "Records of owned topics that were taken. Flat while gateways send: see the log.",
    ["service"],
)
_LOST = Counter(
    "fold_lost_records_total",
    "Records that retention deleted before they were folded. Over 0: retention is too short.",
    ["service"],
)
_COMMIT_S = Histogram(
    "fold_commit_s",
    "Time of one commit. Over 0.2: look at the database, or raise the commit interval.",
    ["service"],
)
_HALTED = Gauge(
    "fold_halted_partitions",
    "Partitions whose log changed without a declaration. Over 0: find out why, then declare the "
    "log.",
    ["service"],
)
