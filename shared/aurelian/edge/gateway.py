"""What an adapter of a machine protocol gives and gets: readings in, acknowledgement after the disk
has them.

Implemented and called by the gateways (`services/*_gateway/source.py`); moved on by `forward` and
`run_gateway`.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from collections.abc import AsyncGenerator, Callable, Sequence
from contextlib import suppress
from typing import Protocol, TypeVar

from prometheus_client import Counter, Gauge, Histogram
from pydantic import Field

from aurelian.edge.assembly import HOUR, Assembly, Group, LastSeen, event_entry
from aurelian.edge.assembly import Delivery as Delivery
from aurelian.edge.contract import Ordinals
from aurelian.edge.contract import Reading as Reading
from aurelian.edge.contract import Reject as Reject
from aurelian.edge.drain import Drain
from aurelian.edge.outbox.limits import Limits, OutboxFull
from aurelian.edge.outbox.outbox import Outbox
from aurelian.edge.outbox.rows import OutboxRow, RecordKind
from aurelian.edge.outbox.salvage import DamagedFile
from aurelian.edge.outbox.thread import OutboxThread
from aurelian.model.asset import Asset
from aurelian.model.codec import Gap, SourceEvent, decode
from aurelian.model.plant import Plant
from aurelian.model.plant_file import load_plants
from aurelian.model.plant_parts import SourceModel
from aurelian.runtime.health import Health
from aurelian.runtime.settings import KafkaSettings

log = logging.getLogger(__name__)

S = TypeVar("S", bound="GatewaySettings")


_REMEMBERED_ROWS, _REMEMBERED_SAMPLES = 500, 20_000
_INLINE_READINGS = 500
"""Groups from this size on are made in a thread: the loop would stand still for some
milliseconds."""

_INBOX_BYTES = 4 * 2**20
_READING_BYTES = 200
_FULL_WAIT_S = 1.0
_COUNTS_KEPT = 7 * 24 * HOUR

RECEIVED = Counter(
    "gateway_received_values_total",
    "Values that a source delivered, rejected ones included; flat while the machine runs: is it "
    "still connected?",
    ["source"],
)
REJECTED = Counter(
    "gateway_rejected_values_total",
    "Values that broke the contract; see the rejected table for bytes and reasons, then mend the "
    "plant model or the machine.",
    ["source"],
)
DROPPED = Counter(
    "gateway_dropped_values_total",
    "Values known to be lost before the gateway; larger queues at the source, or slower sampling, "
    "help.",
    ["source"],
)
SKIPPED = Counter(
    "gateway_skipped_values_total",
    "Values left out by a rule; expected, see the source's README.",
    ["source"],
)
COMMIT_SECONDS = Histogram(
    "gateway_commit_seconds",
    "From a group of values to its sync on the disk, waiting for the commit before included; "
    "long: the disk is slow or full.",
    buckets=(0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10),
)
OUTBOX_ROWS = Gauge(
    "gateway_outbox_rows",
    "Records that nobody has stored yet; growing: is Kafka there, is the historian?",
)
OUTBOX_BYTES = Gauge(
    "gateway_outbox_bytes",
    "Disk that the outbox uses; near its limit the gateway stops acknowledging.",
)
OUTBOX_AGE = Gauge(
    "gateway_outbox_oldest_age_seconds", "Age of the oldest record that nobody has stored."
)
OUTBOX_ACCEPTING = Gauge(
    "gateway_outbox_accepting",
    "0: a limit is reached and machines get no acknowledgement; free the disk.",
)
LOST_FILES = Counter(
    "gateway_lost_files_total",
    "Damaged outbox files set aside (*.reported in the outbox folder); look at the disk.",
)


class Source(Protocol):
    """An adapter: one connection to one machine, server or broker.

    Attributes:
        model: its part of the plant model.
        owner: company of its plant.
    """

    model: SourceModel
    owner: str

    def deliveries(self) -> AsyncGenerator[Delivery, None]:
        """Yield what arrives, until cancelled; reconnects by itself. Waiting for the next
        `__anext__` is backpressure."""


class GatewaySettings(KafkaSettings):
    """For the gateways: who they are, and the limits of their disk."""

    gateway: str = Field(
        "gateway-1",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        description="this gateway's own name, never shared with another",
    )
    kafka_replication: int = Field(
        1,
        ge=1,
        description="copies that Kafka keeps; from 3 on rows may leave the outbox 15 minutes "
        "after its ack",
    )
    outbox_max_bytes: int = Field(4 * 2**30, ge=2**27, description="disk that the outbox may use")
    outbox_max_age_s: float = Field(
        14 * 86_400.0, description="oldest row that may wait in the outbox"
    )
    outbox_min_free: float = Field(0.1, description="share of the disk that stays free")


MakeSources = Callable[[S, Sequence[Plant]], Sequence[Source]]
"""Makes a gateway's sources, those of its own kind, out of all plant models under
`settings.plant`."""


async def run_gateway(settings: S, health: Health, make_sources: MakeSources[S]) -> None:
    """Run a gateway until cancelled: sources, outbox, drain to Kafka, releases, heartbeats and
    counts.

    Ready when its outbox takes samples; Kafka being away does not matter to that.

    Raises:
        PlantError: a plant model is unusable.
        OutboxFull: the outbox's folder cannot be written.
    """
    plants = load_plants(settings.plant)
    sources = make_sources(settings, plants)
    limits = Limits(
        max_bytes=settings.outbox_max_bytes,
        max_age_s=settings.outbox_max_age_s,
        min_free=settings.outbox_min_free,
    )
    boot = _now()
    last_seen = LastSeen(settings.gateway, boot)
    opened = await asyncio.to_thread(Outbox.open, settings.state / "outbox", boot, limits)
    async with OutboxThread(opened) as outbox:
        drain = Drain(
            settings,
            settings.gateway,
            outbox,
            assets=_assets_of(sources, plants),
            replication=settings.kafka_replication,
            heartbeats=lambda: last_seen.take_heartbeats(_now()),
        )
        ordinals = await asyncio.to_thread(
            _ordinals_of, await outbox.call(opened.newest, _REMEMBERED_ROWS)
        )
        async with asyncio.TaskGroup() as kafka_side:
            kafka_side.create_task(drain.send(), name="send")
            kafka_side.create_task(drain.listen(), name="listen")
            kafka_side.create_task(
                _watch(outbox, sources, settings.gateway, health), name="watch outbox"
            )
            # The sources end first, so that the drain's last round has all of theirs.
            async with asyncio.TaskGroup() as machine_side:
                for source in sources:
                    work = forward(
                        source, outbox, settings.gateway, last_seen, ordinals.get(source.model.id)
                    )
                    machine_side.create_task(work, name=f"source {source.model.id}")


async def forward(
    source: Source,
    outbox: OutboxThread,
    gateway: str,
    last_seen: LastSeen | None = None,
    ordinals: Ordinals | None = None,
) -> None:
    """Move what a source delivers into the outbox and acknowledge it then; ends when the source
    does.

    While a commit runs deliveries collect, up to a bound, and go into the next one; beyond it the
    source waits.
    """
    inbox = _Inbox()
    assembly = Assembly(gateway, outbox.outbox.boot, ordinals or Ordinals())
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_read(source, inbox), name=f"read {source.model.id}")
        while deliveries := await inbox.take():
            if last_seen is not None:
                for delivery in deliveries:
                    last_seen.note(delivery)
            if sum(len(delivery.readings) for delivery in deliveries) < _INLINE_READINGS:
                group = assembly.assemble(deliveries)
            else:
                group = await asyncio.to_thread(assembly.assemble, deliveries)
            await _append(outbox, source.model.id, group)
            for delivery in deliveries:
                if delivery.ack is not None:
                    delivery.ack()


async def _read(source: Source, inbox: _Inbox) -> None:
    try:
        # Closed here and now: a cancelled source must end its connections before the outbox goes.
        async with contextlib.aclosing(source.deliveries()) as deliveries:
            async for delivery in deliveries:
                await inbox.put(delivery)
    finally:
        inbox.close()


async def _append(outbox: OutboxThread, source: str, group: Group) -> None:
    """Append a group; while the outbox is full, wait: nothing is acknowledged, so the source keeps
    it."""
    full = False
    started = time.perf_counter()
    records = list(group.entries)
    while True:
        try:
            await outbox.append(records, group.counts)
            break
        except OutboxFull as error:
            if not full:
                log.warning(
                    "outbox is full", extra={"fields": {"source": source, "error": str(error)}}
                )
                full = True
                events = [entry for entry in records if entry.kind is RecordKind.EVENTS]
                records = [entry for entry in records if entry.kind is not RecordKind.EVENTS]
                with suppress(OutboxFull):
                    await outbox.append(events)
                    events = []
                records += events
            await asyncio.sleep(_FULL_WAIT_S)
    if full:
        log.info("outbox takes samples again", extra={"fields": {"source": source}})
    COMMIT_SECONDS.observe(time.perf_counter() - started)
    for count in group.counts:
        RECEIVED.labels(source).inc(count.received)
        REJECTED.labels(source).inc(count.rejected)
        DROPPED.labels(source).inc(count.dropped)
        SKIPPED.labels(source).inc(count.skipped)


async def _watch(
    outbox: OutboxThread, sources: Sequence[Source], gateway: str, health: Health
) -> None:
    """Every second: readiness, metrics, gap records for damaged files, counts too old to be
    published again."""
    while True:
        for damaged in await outbox.call(outbox.outbox.damaged_files):
            LOST_FILES.inc()
            log.error("outbox file was damaged", extra={"fields": {"file": damaged.path.name}})
            with suppress(OutboxFull):
                await outbox.append(
                    [event_entry(_gap(damaged, source, gateway, outbox)) for source in sources]
                )
                await outbox.call(outbox.outbox.confirm_reported, damaged)
        level = await outbox.call(outbox.outbox.level)
        OUTBOX_ROWS.set(level.rows)
        OUTBOX_BYTES.set(level.bytes)
        OUTBOX_AGE.set(level.oldest_age_s)
        OUTBOX_ACCEPTING.set(level.accepting)
        health.ready = (
            None
            if level.accepting
            else f"outbox: limit of {level.reached_limit.name.lower()} reached"
        )
        health.tick()
        await outbox.call(outbox.outbox.forget_counts, _now() - _COUNTS_KEPT)
        await asyncio.sleep(1)


def _gap(damaged: DamagedFile, source: Source, gateway: str, outbox: OutboxThread) -> SourceEvent:
    return SourceEvent(
        owner=source.owner,
        gateway=gateway,
        boot=outbox.outbox.boot,
        source=source.model.id,
        time=_now(),
        gap=Gap(from_time=damaged.from_time, to_time=damaged.to_time, reason=damaged.reason),
    )


def _assets_of(sources: Sequence[Source], plants: Sequence[Plant]) -> list[Asset]:
    """All assets of the plants that the sources belong to."""
    mine = {source.model.id for source in sources}
    return [
        asset
        for plant in plants
        if mine & {each.id for each in plant.sources}
        for asset in plant.assets()
    ]


def _ordinals_of(rows: Sequence[OutboxRow]) -> dict[str, Ordinals]:
    """The ordinals of each source's newest values: a machine sends again what was not
    acknowledged."""
    ordinals: dict[str, Ordinals] = {}
    newest: list[OutboxRow] = []
    samples = 0
    for row in reversed(rows):
        samples += row.samples
        if samples > _REMEMBERED_SAMPLES:
            break
        newest.insert(0, row)
    for row in newest:
        for sample in decode(row.data).samples():
            ordinals.setdefault(sample.signal.source, Ordinals()).remember(sample)
    return ordinals


def _now() -> int:
    return time.time_ns() // 1000


class _Inbox:
    """Deliveries between a source and its next commit, bounded by what they hold."""

    def __init__(self) -> None:
        self._deliveries: list[Delivery] = []
        self._bytes = 0
        self._some, self._room = asyncio.Event(), asyncio.Event()
        self._room.set()
        self._closed = False

    async def put(self, delivery: Delivery) -> None:
        """Hand over a delivery; waits while there is no room."""
        await self._room.wait()
        self._deliveries.append(delivery)
        self._bytes += _size(delivery)
        self._some.set()
        if self._bytes >= _INBOX_BYTES:
            self._room.clear()

    async def take(self) -> list[Delivery]:
        """All that is there, at least one; empty only when no more will come."""
        await self._some.wait()
        taken, self._deliveries, self._bytes = self._deliveries, [], 0
        self._room.set()
        if not self._closed:
            self._some.clear()
        return taken

    def close(self) -> None:
        """Say that no more will come."""
        self._closed = True
        self._some.set()


def _size(delivery: Delivery) -> int:
    return (
        len(delivery.readings) * _READING_BYTES
        + sum(len(each.value) for each in delivery.readings if isinstance(each.value, (str, bytes)))
        + sum(len(reject.payload) + _READING_BYTES for reject in delivery.rejects)
    )
