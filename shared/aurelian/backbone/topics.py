"""The one table of topics: name, key, partitions, retention, who writes, who reads. Made by
`aurelian topics create`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError, for_code

from aurelian.backbone.replication import (
    SETTING,
    Expected,
    TopicError,
    check_topics,
    min_insync_replicas,
    set_cluster_default,
    tune_topics,
)

HOUR_MS = 3600 * 1000
DAY_MS = 24 * HOUR_MS


@dataclass(frozen=True, slots=True)
class Topic:
    """One topic.

    Attributes:
        name: with its version; a change of partitions or of meaning is a new version.
        key: what the record's key is.
        partitions: fixed for the version.
        retention_ms: None for compacted topics.
        writers: services.
        readers: services.
        max_message_bytes: the largest record that it takes.
    """

    name: str
    key: str
    partitions: int
    retention_ms: int | None
    writers: str
    readers: str
    max_message_bytes: int = 1_048_588

    @property
    def compacted(self) -> bool:
        """True where Kafka keeps the newest record of each key."""
        return self.retention_ms is None


SAMPLES = Topic(
    "aurelian.samples.v1",
    "line",
    12,
    7 * DAY_MS,
    "gateways",
    "historian line_health maintenance dashboard",
    8_388_608,
)
SOURCE_EVENTS = Topic(
    "aurelian.source-events.v1",
    "source",
    6,
    7 * DAY_MS,
    "gateways",
    "historian line_health dashboard",
)
ASSETS = Topic("aurelian.assets.v1", "asset id", 3, None, "gateways", "all")
REJECTED = Topic("aurelian.rejected.v1", "source", 3, 30 * DAY_MS, "gateways", "historian")
STORED = Topic("aurelian.stored.v1", "gateway, boot, line", 3, None, "historian", "gateways")
COMMANDS = Topic("aurelian.commands.v1", "gateway", 3, 1 * DAY_MS, "aurelian command", "gateways")
LINE_EVENTS = Topic(
    "aurelian.line-events.v1",
    "line",
    6,
    30 * DAY_MS,
    "line_health",
    "capacity dashboard partner_events",
)
MAINTENANCE_EVENTS = Topic(
    "aurelian.maintenance-events.v1",
    "asset id",
    6,
    30 * DAY_MS,
    "maintenance",
    "capacity dashboard partner_events",
)
CAPACITY_EVENTS = Topic(
    "aurelian.capacity-events.v1", "owner", 3, 30 * DAY_MS, "capacity", "partner_events dashboard"
)
FIGURES = Topic(
    "aurelian.figures.v1",
    "as the event's own topic",
    6,
    1 * DAY_MS,
    "line_health maintenance",
    "capacity dashboard partner_events",
)

TOPICS = (
    SAMPLES,
    SOURCE_EVENTS,
    ASSETS,
    REJECTED,
    STORED,
    COMMANDS,
    LINE_EVENTS,
    MAINTENANCE_EVENTS,
    CAPACITY_EVENTS,
    FIGURES,
)


def topic_settings(topic: Topic, replication_factor: int) -> dict[str, str]:
    """Kafka's own settings of a topic."""
    settings = {
        "max.message.bytes": str(topic.max_message_bytes),
        SETTING: str(min_insync_replicas(replication_factor)),
    }
    if topic.compacted:
        settings["cleanup.policy"] = "compact"
    else:
        settings["cleanup.policy"] = "delete"
        settings["retention.ms"] = str(topic.retention_ms)
    return settings


def topic_tuning(topic: Topic) -> dict[str, str]:
    """Settings of a topic that may be otherwise: what an administrator has set stays.

    Kafka compacts closed segments only, and by itself closes one after a week or a gigabyte: a
    small topic would keep every record of a week, and all who start would read it.
    """
    if not topic.compacted:
        return {}
    return {
        "segment.ms": str(HOUR_MS),
        "min.cleanable.dirty.ratio": "0.1",
        "max.compaction.lag.ms": str(DAY_MS),
    }


async def create_topics(
    bootstrap: str, replication_factor: int = 1, timeout_s: float = 30.0
) -> list[str]:
    """Make every topic that is not there yet, check all, and return the names made. Idempotent.

    Raises:
        ConnectionError: no broker answered within `timeout_s`.
        TopicError: a topic cannot be made, or was there and cannot keep what it must.
    """
    deadline = time.monotonic() + timeout_s
    expected = [
        Expected(
            t.name,
            t.partitions,
            replication_factor,
            topic_settings(t, replication_factor),
            topic_tuning(t),
        )
        for t in TOPICS
    ]
    made: list[str] = []
    while True:
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=5000)
        try:
            await admin.start()
            if replication_factor >= 3:
                await set_cluster_default(admin, replication_factor)
            made += await _create_missing(admin, expected)
            await tune_topics(admin, expected)
            await check_topics(admin, expected)
            return made
        except KafkaError as error:
            if time.monotonic() > deadline:
                raise ConnectionError(
                    f"no Kafka broker answered at {bootstrap}: {error!r}"
                ) from error
            await asyncio.sleep(0.2)
        finally:
            await admin.close()


async def _create_missing(admin: AIOKafkaAdminClient, expected: Sequence[Expected]) -> list[str]:
    there = set(await admin.list_topics())
    missing = [topic for topic in expected if topic.name not in there]
    if not missing:
        return []
    answer = await admin.create_topics(
        [
            NewTopic(t.name, t.partitions, t.replicas, topic_configs={**t.settings, **t.tuning})
            for t in missing
        ]
    )
    made = []
    order = [topic.name for topic in missing]
    for name, code, *message in sorted(answer.topic_errors, key=lambda e: order.index(e[0])):
        if not code:
            made.append(name)
            continue
        kind: Any = for_code(code)
        if kind is TopicAlreadyExistsError:
            continue
        if getattr(kind, "retriable", False):
            raise kind
        why = message[0] if message and message[0] else kind.__name__
        raise TopicError(f"{name} cannot be made: {why}")
    return made
