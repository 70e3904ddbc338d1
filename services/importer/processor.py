"""Carries out an import: reads a file block by block into the outbox, which drains to Kafka, and
waits until the historian has said that all of it is stored. Called by command.py."""

from __future__ import annotations

import asyncio
import hashlib
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from pathlib import Path

from aurelian.edge.assembly import HOUR, MAX_PAYLOAD_BYTES
from aurelian.edge.drain import Drain
from aurelian.edge.names import readable
from aurelian.edge.outbox.limits import Limits, OutboxFull
from aurelian.edge.outbox.outbox import Outbox
from aurelian.edge.outbox.rows import REJECTED, HourCount, OutboxEntry, RecordKind
from aurelian.edge.outbox.thread import OutboxThread
from aurelian.edge.pace import Pace
from aurelian.model import codec
from aurelian.model.sample import SampleBatch
from aurelian.model.time import now_us
from importer.asset_records import MissingAssets
from importer.bad_lines import BadLine, BadLinesFile
from importer.bookmark import Bookmark, Totals, decode_bookmark
from importer.chunks import make_chunk, report_cells
from importer.csv_rows import Table
from importer.judging import Judge
from importer.local_times import LocalTimes
from importer.plan import Plan
from importer.settings import ImporterSettings

_FULL_WAIT_S = 1.0
_LOOK_S = 0.05
_MOST_REJECTED_BYTES = MAX_PAYLOAD_BYTES // 2


@dataclass(frozen=True, slots=True)
class Progress:
    """How an import stands.

    Attributes:
        offset, size: of the file, in its own units.
        waiting: records in the outbox that nobody has stored.
        trouble: why nothing moves; empty: it does.
    """

    totals: Totals
    offset: int
    size: int
    waiting: int
    trouble: str = ""


@dataclass(frozen=True, slots=True)
class Listener:
    """What is told of an import while it runs: `note` sentences, `progress` every half second,
    `bad` each bad line."""

    note: Callable[[str], None]
    progress: Callable[[Progress], None]
    bad: Callable[[Sequence[BadLine]], None]


@dataclass(frozen=True, slots=True)
class Part:
    """What one block of the file becomes."""

    batches: list[SampleBatch]
    bad: list[BadLine]
    received_at: int
    after: Bookmark


class _SentPace(Pace):
    """Also remembers up to when what was appended is in Kafka: about, and (`all_up_to`) all."""

    def __init__(self) -> None:
        super().__init__()
        self.sent_up_to = self.all_up_to = 0
        self.is_up = False

    def sent(self, up_to: int, samples: int, *, reached_end: bool) -> None:
        """See `Pace.sent`."""
        super().sent(up_to, samples, reached_end=reached_end)
        self.is_up = True
        self.sent_up_to = max(up_to, self.sent_up_to)
        if reached_end:
            self.all_up_to = up_to

    def away(self) -> None:
        """See `Pace.away`."""
        super().away()
        self.is_up = False


async def run_import(
    settings: ImporterSettings,
    plan: Plan,
    bad_file: BadLinesFile,
    tell: Listener,
    *,
    wait: bool = True,
    again: bool = False,
) -> Totals:
    """Import a file; return what was read of it, by this run and those before.

    Args:
        wait: until the historian has all of it; else until Kafka has.
        again: also where all of it was imported before.

    Raises:
        OutboxFull: the outbox cannot be opened.
        OSError: the file, or that of bad lines, cannot be read or written.
    """
    boot = now_us()
    limits = Limits(
        max_bytes=settings.outbox_max_bytes,
        max_age_s=settings.outbox_max_age_s,
        min_free=settings.outbox_min_free,
    )
    opened = await asyncio.to_thread(Outbox.open, settings.state / "outbox", boot, limits)
    async with OutboxThread(opened) as outbox:
        start = _start(outbox.outbox, plan, tell, again=again)
        if start.done and not (await outbox.call(opened.level)).rows:
            return start.totals
        return await _Import(settings, plan, bad_file, tell, outbox, start).run(wait=wait)


def _start(outbox: Outbox, plan: Plan, tell: Listener, *, again: bool) -> Bookmark:
    """Where to begin: where the outbox says that the same import was, else at the start."""
    found = decode_bookmark(outbox.bookmark(plan.source))
    path_before = outbox.bookmark(_path_key(plan))
    if found is not None and found.identity == plan.identity:
        if not found.done:
            where = "row" if plan.table.kind == "Parquet" else "line"
            tell.note(f"goes on at {where} {found.place.line}, where it was broken off")
            return found
        if not again:
            tell.note("this file was imported before, with the same settings: nothing to send")
            return found
        tell.note("this file was imported before, and is sent again: duplicates are stored once")
    elif found is not None:
        tell.note("this file was imported before with other settings: it is sent anew")
    elif path_before and path_before != plan.content:
        tell.note("this file has changed since it was imported: it is read from its beginning")
    return Bookmark(plan.identity, plan.table.start(), Totals(), 0, {}, {})


def _path_key(plan: Plan) -> str:
    unit = plan.targets[0].unit.path if plan.targets else ""
    text = f"{plan.table.path.resolve()}|{unit}"
    return f"path-{hashlib.sha256(text.encode()).hexdigest()[:16]}"


class _Import:
    """One run."""

    def __init__(
        self,
        settings: ImporterSettings,
        plan: Plan,
        bad_file: BadLinesFile,
        tell: Listener,
        outbox: OutboxThread,
        start: Bookmark,
    ) -> None:
        self._settings, self._plan, self._tell = settings, plan, tell
        self._bad_file, self._outbox, self._at = bad_file, outbox, start
        self._pace = _SentPace()
        self._trouble = ""
        self._appended_at = 0
        self._unsent: deque[tuple[int, int]] = deque()

    async def run(self, *, wait: bool) -> Totals:
        """Feed the outbox, drain it, wait for its end."""
        assets = MissingAssets(self._settings, self._plan.plant)
        drain = Drain(
            self._settings,
            self._settings.gateway,
            self._outbox,
            new_assets=assets.take,
            replication=self._settings.kafka_replication,
            pace=self._pace,
        )
        async with asyncio.TaskGroup() as group:
            beside = [
                group.create_task(drain.send(), name="send"),
                group.create_task(drain.listen(), name="listen"),
                group.create_task(self._report(), name="report"),
            ]
            finding = group.create_task(assets.find(), name="find missing assets")
            if not self._at.done:
                await self._feed(wait=wait)
            await (self._await_stored() if wait else self._await_sent())
            await finding
            for task in beside:
                task.cancel()
        self._tell.progress(await self._progress())
        return self._at.totals

    async def _feed(self, *, wait: bool) -> None:
        """Read on while the block before is committed."""
        await asyncio.to_thread(self._bad_file.cut, self._at.bad_bytes)
        parts = self._parts()
        reading = asyncio.create_task(asyncio.to_thread(next, parts, None))
        try:
            while (part := await reading) is not None:
                reading = asyncio.create_task(asyncio.to_thread(next, parts, None))
                await self._commit(part)
                self._tell.bad(part.bad)
                # Who does not wait for the historian shall not wait for it in the middle either.
                held_back_by = self._waiting if wait else self._waiting_for_kafka
                while await held_back_by() > self._settings.import_waiting_batches:  # noqa: ASYNC110
                    await asyncio.sleep(_LOOK_S)
        finally:
            if not reading.done():
                # A thread cannot be cancelled: the file must not be closed under it.
                with suppress(Exception):
                    await asyncio.shield(reading)

    def _parts(self) -> Iterator[Part]:
        """Read the file from the bookmark on; runs in a thread."""
        plan, at = self._plan, self._at
        clocks = LocalTimes(plan.zone, newest_first=plan.newest_first)
        clocks.last = dict(at.clocks)
        judge = Judge(self._settings.gateway, self._outbox.outbox.boot, dict(at.last))
        totals, bad_bytes = at.totals, at.bad_bytes

        def bookmark(table: Table | None) -> Bookmark:
            place = at.place if table is None else table.then
            return Bookmark(
                plan.identity,
                place,
                totals,
                bad_bytes,
                dict(clocks.last),
                dict(judge.last),
                done=table is None,
            )

        for table in plan.table.tables(at.place, plan.wanted, self._settings.import_block_bytes):
            received_at = now_us()
            chunk = make_chunk(table, plan, clocks, received_at)
            judged = judge.judge(chunk.signals, received_at)
            report_cells(chunk, table, judged.faults)
            totals = totals.plus(
                Totals(
                    chunk.rows,
                    judged.values,
                    chunk.empty,
                    len(chunk.bad),
                    sum(each.values for each in chunk.bad),
                    chunk.open_times,
                    chunk.first,
                    chunk.last,
                )
            )
            if chunk.bad:
                bad_bytes = self._bad_file.write(chunk.bad)
            at = bookmark(table)
            yield Part(judged.batches, chunk.bad, received_at, at)
        yield Part([], [], now_us(), bookmark(None))

    async def _commit(self, part: Part) -> None:
        """Put a part into the outbox with its bookmark, once there is room."""
        plan, rejected = self._plan, sum(each.values for each in part.bad)
        owner = plan.plant.owner
        entries = [
            OutboxEntry(
                RecordKind.SAMPLES, each.line, each.line, len(each), partial(codec.encode, each)
            )
            for each in part.batches
        ] + self._rejected(part)
        received = sum(map(len, part.batches)) + rejected
        hour = part.received_at // HOUR * HOUR
        counts = (
            [HourCount(plan.source, hour, owner, received, rejected=rejected)] if received else []
        )
        marks = {plan.source: part.after.encode(), _path_key(plan): plan.content}
        while True:
            try:
                await self._outbox.append(entries, counts, marks)
                break
            except OutboxFull as error:
                self._trouble = str(error)
                await asyncio.sleep(_FULL_WAIT_S)
        self._trouble = ""
        self._at, self._appended_at = part.after, now_us()
        self._pace.appended(received - rejected)
        self._unsent.append((self._appended_at, len(entries)))

    def _rejected(self, part: Part) -> list[OutboxEntry]:
        """Bad lines as records for the rejected table, those of one kind together."""
        entries = []
        by_kind = sorted(part.bad, key=lambda each: each.error_class)
        for kind, of_kind in groupby(by_kind, key=lambda each: each.error_class):
            for lines in _within(list(of_kind)):
                payload = "\n".join(each.text for each in lines).encode(errors="backslashreplace")
                numbers = ", ".join(str(each.line) for each in lines[:100])
                more = "" if len(lines) <= 100 else f" and {len(lines) - 100} more"
                rejected = codec.Rejected(
                    owner=self._plan.plant.owner,
                    gateway=self._settings.gateway,
                    boot=self._outbox.outbox.boot,
                    source=self._plan.source,
                    time=part.received_at,
                    reason=readable(f"line {lines[0].line}: {lines[0].reason}"),
                    error_class=kind,
                    origin=readable(f"{self._plan.table.path.name} lines {numbers}{more}"),
                    payload=payload[:MAX_PAYLOAD_BYTES],
                    payload_size=len(payload),
                    payload_sha256=hashlib.sha256(payload).hexdigest(),
                    samples=sum(each.values for each in lines),
                )
                data = codec.encode_rejected(rejected)
                entries.append(
                    OutboxEntry(
                        RecordKind.REJECTED,
                        REJECTED,
                        self._plan.source,
                        rejected.samples,
                        lambda _, data=data: data,  # type: ignore[misc]
                    )
                )
        return entries

    async def _await_stored(self) -> None:
        while await self._waiting():  # noqa: ASYNC110 - what the historian says makes it true
            await asyncio.sleep(_LOOK_S)

    async def _await_sent(self) -> None:
        while not self._is_sent():  # noqa: ASYNC110 - what the drain does makes it true
            await asyncio.sleep(_LOOK_S)

    def _is_sent(self) -> bool:
        return self._pace.is_up and self._pace.all_up_to >= self._appended_at

    async def _waiting(self) -> int:
        level = await self._outbox.call(self._outbox.outbox.level)
        return level.rows

    async def _waiting_for_kafka(self) -> int:
        while self._unsent and self._unsent[0][0] <= self._pace.sent_up_to:
            self._unsent.popleft()
        return sum(records for _, records in self._unsent)

    async def _report(self) -> None:
        while True:
            await asyncio.sleep(0.5)
            self._tell.progress(await self._progress())

    async def _progress(self) -> Progress:
        waiting = await self._waiting()
        trouble = self._trouble
        if not trouble and waiting and not self._pace.is_up:
            trouble = "Kafka is away; what is read waits on this disk"
        return Progress(
            self._at.totals, self._at.place.offset, self._plan.table.size, waiting, trouble
        )


def _within(lines: Sequence[BadLine]) -> Iterator[list[BadLine]]:
    """Bad lines in groups that fit a record."""
    group: list[BadLine] = []
    size = 0
    for each in lines:
        if group and size + len(each.text) > _MOST_REJECTED_BYTES:
            yield group
            group, size = [], 0
        group.append(each)
        size += len(each.text) * 4
    if group:
        yield group


def default_bad_file(path: Path) -> Path:
    """Where the bad lines of a file are listed: beside it."""
    return (
        path.with_name(path.name + ".bad.csv")
        if path.suffix != ".csv"
        else path.with_name(path.stem + ".bad.csv")
    )
