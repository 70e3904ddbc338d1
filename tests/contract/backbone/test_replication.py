"""On three real brokers: what acknowledges a record, set and read back."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager
from typing import TypeVar

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.errors import UnknownTopicOrPartitionError
from aiokafka.protocol.admin import AlterConfigsRequest, DescribeConfigsRequest

from aurelian.backbone import replication
from aurelian.backbone.replication import ReplicationError
from aurelian.backbone.topics import TOPICS, create_topics
from tests import servers
from tests.waiting import until

_AnswerT = TypeVar("_AnswerT")


@pytest.fixture(scope="module")
def cluster() -> Iterator[servers.KafkaCluster]:
    """Three brokers, for the tests of this file."""
    with servers.kafka_cluster() as three:
        yield three


async def test_with_three_replicas_two_copies_acknowledge(cluster: servers.KafkaCluster) -> None:
    assert await create_topics(cluster.bootstrap, 3) == [topic.name for topic in TOPICS]
    assert await create_topics(cluster.bootstrap, 3) == []
    async with _admin(cluster) as admin, asyncio.timeout(20):
        # A topic that somebody else makes, without a word about copies, has the cluster's default.
        await admin.create_topics([NewTopic("made-by-hand", 1, 3)])
        in_force = await _once_known(
            lambda: replication._read_setting(
                admin, ["made-by-hand", *(topic.name for topic in TOPICS)]
            )
        )
    assert set(in_force.values()) == {2}


async def test_the_default_is_set_beside_what_an_administrator_has_set(
    cluster: servers.KafkaCluster,
) -> None:
    async with _admin(cluster) as admin:
        resource = (4, "", [("log.cleaner.threads", "2"), ("min.insync.replicas", "1")])
        await admin._send_request(AlterConfigsRequest(resources=[resource]))
        await replication.set_cluster_default(admin, 3)
        wanted = {"log.cleaner.threads": "2", "min.insync.replicas": "2"}

        async def known() -> bool:
            return await _cluster_defaults(admin) == wanted

        await until(known, "every broker to know", 20)


async def test_a_topic_that_acknowledges_with_one_copy_is_named(
    cluster: servers.KafkaCluster,
) -> None:
    weak = NewTopic("weak", 1, 3, topic_configs={"min.insync.replicas": "1"})
    async with _admin(cluster) as admin:
        await admin.create_topics([weak])
        with pytest.raises(ReplicationError, match=r"^weak: min.insync.replicas in force is 1"):
            await _once_known(lambda: replication.check_topics(admin, ["weak"]))


async def _once_known(ask: Callable[[], Awaitable[_AnswerT]]) -> _AnswerT:
    """Ask again while the broker that was asked has not heard of a new topic."""
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(UnknownTopicOrPartitionError):
                return await ask()
            await asyncio.sleep(0.05)


async def _cluster_defaults(admin: AIOKafkaAdminClient) -> dict[str, str]:
    found = await admin._send_request(
        DescribeConfigsRequest(resources=[(4, "", None)], include_synonyms=False)
    )
    ((_, _, _, _, entries),) = found.resources
    return {entry[0]: entry[1] for entry in entries}


@asynccontextmanager
async def _admin(cluster: servers.KafkaCluster) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=cluster.bootstrap)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()
