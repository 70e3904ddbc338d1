"""Looks at a gateway's outbox every second: readiness, metrics, gap records for what happened to
its files, room in a full one. Run by `gateway.run_gateway`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Sequence
from contextlib import suppress

from prometheus_client import Counter, Gauge

from aurelian.edge.assembly import HOUR, event_entry
from aurelian.edge.forward import Source
from aurelian.edge.outbox.limits import Level, OutboxFull, ReachedLimit
from aurelian.edge.outbox.newer import NEWER_STEP, newer_reason
from aurelian.edge.outbox.outbox import Outbox
from aurelian.edge.outbox.refusal import refusal_of
from aurelian.edge.outbox.reports import SetAside, confirm_reported
from aurelian.edge.outbox.rows import HourCount, OutboxEntry
from aurelian.edge.outbox.thin import Loss
from aurelian.edge.outbox.thread import OutboxThread
from aurelian.edge.source_state import SourceStates
from aurelian.model.codec import Gap, SourceEvent
from aurelian.model.time import now_us
from aurelian.runtime.health import Health

log = logging.getLogger(__name__)

_REFUSED_S = 2.0
"""Refused for less, an append went well at its next attempt or will; nobody has to be told."""

_COUNTS_KEPT = 7 * 24 * HOUR

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
    "0: a limit is reached, or the disk refuses, and machines get no acknowledgement; /readyz of "
    "this port says why and what to do.",
)
LOST_FILES = Counter(
    "gateway_lost_files_total",
    "Outbox files that were damaged (*.reported in its folder; look at the disk), of a newer "
    "version (*.newer; run it again), or deleted while the gateway ran; the log says which.",
)


THINNED = Counter(
    "gateway_thinned_values_total",
    "Values left out of a full outbox, as AURELIAN_OUTBOX_THIN_AFTER_S allows; each stretch is a "
    "gap record. Let Kafka and the historian run again, or give the outbox more disk.",
)


async def watch_outbox(
    outbox: OutboxThread,
    sources: Iterable[Source],
    gateway: str,
    thin_after_s: float,
    health: Health,
    states: SourceStates,
    waits_for: Callable[[], str | None],
) -> None:
    """Every second: states of the sources, readiness, metrics, gap records for damaged files,
    counts too old to be published again."""
    while True:
        try:
            level = await _look(outbox, sources, gateway)
            refusal = _refusal(outbox, level)
            if 0 < thin_after_s < outbox.refused_s():
                await _thin(outbox, gateway, level)
            health.outbox = await outbox.call(_shown, outbox.outbox)
        except OSError as error:
            # The disk refuses even to be looked at: what runs goes on, and it is asked again.
            refusal = refusal_of(outbox.outbox.folder, error)
            log.warning("outbox cannot be looked at", extra={"fields": {"error": str(refusal)}})
        health.ready = waits_for() if refusal is None else str(refusal)
        health.tick()
        if refusal is None:
            states.look()
        else:
            states.look(refusal.cause, refusal.step)
        await asyncio.sleep(1)


async def _thin(outbox: OutboxThread, gateway: str, level: Level) -> None:
    """Leave old numbers out, of one file: the next look goes on where that was not enough."""
    if level.reached_limit not in (ReachedLimit.BYTES, ReachedLimit.DISK):
        return

    def report(losses: Sequence[Loss]) -> tuple[list[OutboxEntry], list[HourCount]]:
        counts = [
            HourCount(each.source, each.hour, each.owner, dropped=each.count) for each in losses
        ]
        return [event_entry(_thinned(each, gateway, outbox)) for each in losses], counts

    with suppress(OutboxFull):
        values = await outbox.call(outbox.outbox.thin_oldest, report)
        THINNED.inc(values)
        if values:
            fields = {"left_out": values}
            log.warning("outbox is full, old numbers are thinned", extra={"fields": fields})


def _thinned(loss: Loss, gateway: str, outbox: OutboxThread) -> SourceEvent:
    return SourceEvent(
        owner=loss.owner,
        gateway=gateway,
        boot=outbox.outbox.boot,
        source=loss.source,
        time=now_us(),
        gap=Gap(
            from_time=loss.from_time,
            to_time=loss.to_time,
            count=loss.count,
            reason="outbox full: of each minute the least, greatest and last number were kept",
        ),
    )


def _refusal(outbox: OutboxThread, level: Level) -> OutboxFull | None:
    """Why the outbox takes no samples; None: it does."""
    if outbox.refusal is not None and outbox.refused_s() > _REFUSED_S:
        return outbox.refusal
    reached = level.reached_limit
    return None if level.accepting else OutboxFull(f"outbox: {reached.cause}", reached.step)


async def _look(outbox: OutboxThread, sources: Iterable[Source], gateway: str) -> Level:
    await outbox.call(outbox.outbox.look_after_files)
    for aside in await outbox.call(outbox.outbox.unreported):
        LOST_FILES.inc()
        fields = {"file": aside.path.name, "error": aside.reason}
        log.error("outbox file was set aside or lost", extra={"fields": fields})
        with suppress(OutboxFull):
            await outbox.append(
                [event_entry(_gap(aside, source, gateway, outbox)) for source in sources]
            )
            await outbox.call(confirm_reported, aside)
    level = await outbox.call(outbox.outbox.level)
    OUTBOX_ROWS.set(level.rows)
    OUTBOX_BYTES.set(level.bytes)
    OUTBOX_AGE.set(level.oldest_age_s)
    OUTBOX_ACCEPTING.set(level.accepting and outbox.refused_s() <= _REFUSED_S)
    await outbox.call(outbox.outbox.forget_counts, now_us() - _COUNTS_KEPT)
    return level


def _shown(outbox: Outbox) -> dict[str, object]:
    return {
        "newer_files": [
            {"file": str(path), "cause": newer_reason(path), "step": NEWER_STEP}
            for path in outbox.newer_files()
        ]
    }


def _gap(aside: SetAside, source: Source, gateway: str, outbox: OutboxThread) -> SourceEvent:
    return SourceEvent(
        owner=source.owner,
        gateway=gateway,
        boot=outbox.outbox.boot,
        source=source.model.key,
        time=now_us(),
        gap=Gap(from_time=aside.from_time, to_time=aside.to_time, reason=aside.reason),
    )
