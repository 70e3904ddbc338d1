"""How many copies of a record must exist before Kafka acknowledges it; called by `topics.py`.

With three replicas `min.insync.replicas` is 2: one broker may be lost without losing an
acknowledged record. From Kafka 4.1 on (eligible leader replicas) that value in a broker's own file
is ignored, so it is set on every topic, set as the cluster's default for topics that others make,
and what is really in force is read back.
"""

from __future__ import annotations

from collections.abc import Sequence
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


class ReplicationError(Exception):
    """A topic acknowledges what a single lost broker can lose; the message names it and the fix."""


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


async def check_topics(admin: AIOKafkaAdminClient, names: Sequence[str]) -> None:
    """Read what is in force for existing topics.

    Raises:
        ReplicationError: a topic with three replicas or more acknowledges with one copy.
        KafkaError: the cluster refused.
    """
    replicas: dict[str, int] = {}
    for topic in await admin.describe_topics(list(names)):
        _raise_for(topic["error_code"])  # a broker may not have heard of a new topic yet
        replicas[topic["topic"]] = min(len(each["replicas"]) for each in topic["partitions"])
    in_force = await _read_setting(admin, list(replicas))
    weak = [name for name, count in replicas.items() if in_force[name] < min_insync_replicas(count)]
    if weak:
        raise ReplicationError(
            f"{', '.join(sorted(weak))}: {SETTING} in force is 1 with 3 replicas, so one lost "
            "broker can lose acknowledged records: set it on each (kafka-configs.sh --alter "
            f"--topic NAME --add-config {SETTING}=2)"
        )


async def _read_setting(admin: AIOKafkaAdminClient, names: Sequence[str]) -> dict[str, int]:
    wanted = [ConfigResource(ConfigResourceType.TOPIC, name, {SETTING: None}) for name in names]
    found: dict[str, int] = {}
    for answer in await admin.describe_configs(wanted):
        for code, _, _, name, entries in answer.resources:
            _raise_for(code)
            found[name] = next(int(entry[1]) for entry in entries if entry[0] == SETTING)
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
