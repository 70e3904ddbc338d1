"""What the historian announces on `aurelian.stored.v1`, and how a connection to Kafka is kept. Used
by `drain`."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable, Mapping

from prometheus_client import Counter

from aurelian.backbone.client import Consumer, Unavailable
from aurelian.backbone.topics import STORED
from aurelian.edge.outbox.rows import StreamKey
from aurelian.model.record import Partition, Record
from aurelian.runtime.retry import Backoff

log = logging.getLogger(__name__)

_SINCE_MS = 600_000
"""What was announced this long before the start is read again: clocks differ."""


FAILURES = Counter(
    "gateway_drain_failures_total",
    "Errors of a kind that nobody expected on the way to Kafka or back; see the log.",
)


def parse_stored(
    record: Record, gateway: str
) -> str | tuple[StreamKey, int, list[tuple[int, int]]] | None:
    """Return a log id (heartbeat), a stream with its sequence and the ranges beyond it, or None: of
    another gateway, a tombstone, or unreadable."""
    try:
        key = (record.key or b"").decode()
        body = json.loads(record.value or b"null")
        if key == "@heartbeat":
            return str(body["log_id"])
        mine, boot, stream = key.split("/", 2)
        if mine != gateway:
            return None
        ends = [int(each) for each in body.get("beyond") or ()]
        ranges = list(zip(ends[::2], ends[1::2], strict=True))
        return StreamKey(int(boot), stream), int(body["sequence"]), ranges
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


async def keep_connected(
    what: str, attempt: Callable[[Callable[[], None]], Awaitable[None]]
) -> None:
    """Run `attempt` again and again; `Unavailable` backs off and is logged once until it is
    over."""
    backoff, away = Backoff(), False

    def connected() -> None:
        nonlocal away
        if away:
            log.info("kafka is back", extra={"fields": {"for": what}})
        away = False
        backoff.reset()

    while True:
        try:
            await attempt(connected)
        except Unavailable as error:
            if not away:
                log.warning("kafka is away", extra={"fields": {"for": what, "error": str(error)}})
            away = True
            await backoff.wait()
        except Exception:
            # The way to Kafka must not end the way from the machines to the disk.
            FAILURES.inc()
            log.exception("unexpected error", extra={"fields": {"for": what}})
            await backoff.wait()


async def seek_stored(
    consumer: Consumer, read_to: Mapping[Partition, int], started_ms: int
) -> None:
    """Go to what was announced since the start, or since the last record that was read: the
    topic holds all streams of all gateways, and the historian announces those of ours anew when
    we send them."""
    partitions = [Partition(STORED.name, number) for number in range(STORED.partitions)]
    since = await consumer.offsets_since(partitions, started_ms - _SINCE_MS)
    ends = await consumer.end_offsets(partitions)
    for place, offset in since.items():
        known = read_to.get(place, offset)
        consumer.seek(place, known if known <= ends[place] else offset)
