"""Asset records on their way to Kafka; called by drain.py."""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterable

from prometheus_client import Counter

from aurelian.backbone.client import Producer
from aurelian.backbone.topics import ASSETS
from aurelian.model.asset import Asset

log = logging.getLogger(__name__)

_OVERHEAD_BYTES = 1024

SET_ASIDE = Counter(
    "gateway_refused_records_total",
    "Records that Kafka refuses as they are, set aside with the reason; see the rejected table.",
    ["topic"],
)


async def send_assets(producer: Producer, assets: Iterable[Asset]) -> None:
    """Send them, and return when Kafka has them; one that is too large is left out, and logged."""
    posted = []
    for asset in assets:
        value = asset.encode()
        if len(value) > ASSETS.max_message_bytes - _OVERHEAD_BYTES:
            log.error(
                "asset is too large for a record",
                extra={"fields": {"asset": asset.path, "bytes": len(value)}},
            )
            SET_ASIDE.labels(ASSETS.name).inc()
            continue
        posted.append(await producer.post(ASSETS, asset.id, value))
    await producer.settle(posted)


async def send_gone(producer: Producer, ids: Collection[str]) -> None:
    """Send tombstones of assets that are there no more, and return when Kafka has them."""
    await producer.settle([await producer.post(ASSETS, each, None) for each in ids])
