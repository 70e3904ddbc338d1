"""How many copies of a record must exist before Kafka acknowledges it, and whether topics that are
there keep what they must; called by `topics.py`.

With three replicas `min.insync.replicas` is 2: one broker may be lost without losing an
acknowledged record. From Kafka 4.1 on (eligible leader replicas) that value in a broker's own file
is ignored, so it is set on every topic, set as the cluster's default for topics that others make,
and what is really in force is read back.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import for_code
from aiokafka.protocol.api import Request, RequestStruct, Response
from aiokafka.protocol.types import Array, Boolean, Int8, Int16, Int32, Schema, String

SETTING = "min.insync.replicas"
_CLUSTER_DEFAULT = ""
"""Name of the broker resource that stands for all brokers."""
_SET = 0
_KAFKA_DEFAULTS = {
    "segment.ms": "604800000",
    "min.cleanable.dirty.ratio": "0.5",
    "max.compaction.lag.ms": "9223372036854775807",
}


class TopicError(Exception):
    """A topic cannot be made, or is there and cannot keep what it must; the message names it and
    the fix."""


@dataclass(frozen=True, slots=True)
class Expected:
    """What a topic must be. `settings`: Kafka's own, as it was or would be made; `tuning`: what it
    is given where nobody has set it."""

    name: str
    partitions: int
    replicas: int
    settings: Mapping[str, str]
    tuning: Mapping[str, str] = field(default_factory=dict)


def min_insync_replicas(replication_factor: int) -> int:
    """Return the copies that an acknowledgement needs: 2 of 3 and more, else 1 (with 2 of 2 the
    loss of either broker would stop all writing)."""
    return 2 if replication_factor >= 3 else 1


async def set_cluster_default(admin: AIOKafkaAdminClient, replication_factor: int) -> None:
    """Set the cluster's default; what else an administrator has set there stays. Idempotent.

    Raises:
        KafkaError: the cluster refused.
    """
    value = str(min_insync_replicas(replication_factor))
    resource = (ConfigResourceType.BROKER, _CLUSTER_DEFAULT, [(SETTING, _SET, value)])
    answer = await admin._send_request(_IncrementalAlterConfigs(resource))
    for code, *_ in answer.responses:
        _raise_for(code)


async def tune_topics(admin: AIOKafkaAdminClient, topics: Sequence[Expected]) -> None:
    """Give topics of a version before their tuning, where Kafka's own default is in force.

    Raises:
        KafkaError: the cluster refused, or does not know a topic (yet).
    """
    tuned = [replace(topic, settings=topic.tuning) for topic in topics if topic.tuning]
    in_force = await _read_settings(admin, tuned)
    for topic in tuned:
        changes = [
            (name, _SET, value)
            for name, value in topic.tuning.items()
            if in_force[topic.name][name] == _KAFKA_DEFAULTS[name] != value
        ]
        if changes:
            resource = (ConfigResourceType.TOPIC, topic.name, changes)
            answer = await admin._send_request(_IncrementalAlterConfigs(resource))
            for code, *_ in answer.responses:
                _raise_for(code)


async def check_topics(admin: AIOKafkaAdminClient, topics: Sequence[Expected]) -> None:
    """Compare topics that are there with what they must be; more copies and longer retention are
    fine.

    Raises:
        TopicError: what is wrong with which topic.
        KafkaError: the cluster refused, or does not know a topic (yet).
    """
    by_name = {topic.name: topic for topic in topics}
    problems: list[str] = []
    in_force = await _read_settings(admin, topics)
    for found in await admin.describe_topics(list(by_name)):
        _raise_for(found["error_code"])  # a broker may not have heard of a new topic yet
        expected, partitions = by_name[found["topic"]], found["partitions"]
        replicas = min(len(each["replicas"]) for each in partitions)
        problems += (
            f"{expected.name}: {problem}"
            for problem in _problems(expected, len(partitions), replicas, in_force[expected.name])
        )
    if problems:
        raise TopicError("; ".join(sorted(problems)))


def _problems(
    expected: Expected, partitions: int, replicas: int, in_force: Mapping[str, str]
) -> Iterator[str]:
    if partitions != expected.partitions:
        yield f"{partitions} partitions where {expected.partitions} are meant (order is by them)"
    if replicas < expected.replicas:
        yield (
            f"{replicas} of {expected.replicas} copies: one lost broker can lose acknowledged "
            "records; raise it with kafka-reassign-partitions.sh"
        )
    for name, wanted in expected.settings.items():
        found = in_force[name]
        if name == SETTING:
            # The value for the copies that it really has, which may be more than asked for.
            wanted = str(min_insync_replicas(max(replicas, expected.replicas)))
        if _is_less(found, wanted):
            yield (
                f"{name} in force is {found}, it must be {wanted}: kafka-configs.sh --alter "
                f"--topic {expected.name} --add-config {name}={wanted}"
            )


def _is_less(found: str, wanted: str) -> bool:
    """Whether a setting keeps less than is wanted; -1 is for ever."""
    if not wanted.lstrip("-").isdigit() or not found.lstrip("-").isdigit():
        return found != wanted
    return found != "-1" and (wanted == "-1" or int(found) < int(wanted))


async def _read_settings(
    admin: AIOKafkaAdminClient, topics: Sequence[Expected]
) -> dict[str, dict[str, str]]:
    wanted = [
        ConfigResource(ConfigResourceType.TOPIC, topic.name, dict.fromkeys(topic.settings))
        for topic in topics
    ]
    found: dict[str, dict[str, str]] = {}
    for answer in await admin.describe_configs(wanted):
        for code, _, _, name, entries in answer.resources:
            _raise_for(code)
            found[name] = {entry[0]: str(entry[1]) for entry in entries}
    return found


def _raise_for(code: int) -> None:
    if code:
        error: Any = for_code(code)
        raise error


# The client has only the old request, which replaces all settings of a resource by those given.
class _IncrementalAlterConfigsResponse(Response):  # type: ignore[misc]
    API_KEY = 44
    API_VERSION = 0
    SCHEMA = Schema(
        ("throttle_time_ms", Int32),
        (
            "responses",
            Array(
                ("error_code", Int16),
                ("error_message", String("utf-8")),
                ("resource_type", Int8),
                ("resource_name", String("utf-8")),
            ),
        ),
    )


class _IncrementalAlterConfigsStruct(RequestStruct):  # type: ignore[misc]
    API_KEY = 44
    API_VERSION = 0
    RESPONSE_TYPE = _IncrementalAlterConfigsResponse
    SCHEMA = Schema(
        (
            "resources",
            Array(
                ("resource_type", Int8),
                ("resource_name", String("utf-8")),
                (
                    "configs",
                    Array(
                        ("name", String("utf-8")),
                        ("config_operation", Int8),
                        ("value", String("utf-8")),
                    ),
                ),
            ),
        ),
        ("validate_only", Boolean),
    )


class _IncrementalAlterConfigs(Request[_IncrementalAlterConfigsStruct]):  # type: ignore[misc]
    API_KEY = 44

    def __init__(self, resource: tuple[int, str, list[tuple[str, int, str]]]) -> None:
        self._resource = resource

    def build(self, struct: type[_IncrementalAlterConfigsStruct]) -> _IncrementalAlterConfigsStruct:
        return struct([self._resource], False)
