"""The one table of topics: name, key, partitions, retention, who writes, who reads. Made by
`aurelian topics create`."""

from __future__ import annotations

import asyncio
import time
from dataclasses import dataclass

from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import KafkaError, TopicAlreadyExistsError

from aurelian.backbone.replication import (
    SETTING,
    check_topics,
    min_insync_replicas,
    set_cluster_default,
)

DAY_MS = 24 * 3600 * 1000


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
COMMANDS = Topic(
    "aurelian.commands.v1", "gateway", 3, 1 * DAY_MS, "line_health dashboard", "gateways"
)
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


async def create_topics(
    bootstrap: str, replication_factor: int = 1, timeout_s: float = 30.0
) -> list[str]:
    """Make every topic that is not there yet and return the names made. Idempotent.

    Raises:
        ConnectionError: no broker answered within `timeout_s`.
        ReplicationError: a topic that was there can lose what it acknowledged.
    """
    deadline = time.monotonic() + timeout_s
    while True:
        admin = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=5000)
        try:
            await admin.start()
            if replication_factor >= 3:
                await set_cluster_default(admin, replication_factor)
            made = await _create_missing(admin, replication_factor)
            if replication_factor >= 3:
                await check_topics(admin, [topic.name for topic in TOPICS])
            return made
        except KafkaError as error:
            if time.monotonic() > deadline:
                raise ConnectionError(
                    f"no Kafka broker answered at {bootstrap}: {error!r}"
                ) from error
            await asyncio.sleep(0.2)
        finally:
            await admin.close()


async def _create_missing(admin: AIOKafkaAdminClient, replication_factor: int) -> list[str]:
    there = set(await admin.list_topics())
    missing = [topic for topic in TOPICS if topic.name not in there]
    if missing:
        try:
            await admin.create_topics(
                [
                    NewTopic(
                        t.name,
                        t.partitions,
                        replication_factor,
                        topic_configs=topic_settings(t, replication_factor),
                    )
                    for t in missing
                ]
            )
        except TopicAlreadyExistsError:
            return []
    return [topic.name for topic in missing]
