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
from aurelian.backbone.replication import Expected, TopicError
from aurelian.backbone.topics import SAMPLES, STORED, TOPICS, create_topics, topic_settings
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
            lambda: replication._read_settings(
                admin,
                [
                    Expected(name, 1, 3, {replication.SETTING: "2"})
                    for name in ("made-by-hand", *(topic.name for topic in TOPICS))
                ],
            )
        )
    assert {each[replication.SETTING] for each in in_force.values()} == {"2"}


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


WEAK = {
    "replicas": (
        NewTopic("weak-replicas", 2, 1),
        r"1 of 3 copies: one lost broker can lose acknowledged records",
    ),
    "acknowledged by one": (
        NewTopic("weak-acks", 2, 3, topic_configs={"min.insync.replicas": "1"}),
        r"min.insync.replicas in force is 1, it must be 2: kafka-configs.sh --alter --topic "
        r"weak-acks --add-config min.insync.replicas=2",
    ),
    "partitions": (NewTopic("weak-partitions", 1, 3), r"1 partitions where 2 are meant"),
    "compacted": (
        NewTopic("weak-policy", 2, 3, topic_configs={"cleanup.policy": "compact"}),
        r"cleanup.policy in force is compact, it must be delete",
    ),
    "short retention": (
        NewTopic("weak-retention", 2, 3, topic_configs={"retention.ms": "60000"}),
        r"retention.ms in force is 60000, it must be 604800000",
    ),
    "small records": (
        NewTopic("weak-size", 2, 3, topic_configs={"max.message.bytes": "1000"}),
        r"max.message.bytes in force is 1000, it must be",
    ),
}


@pytest.mark.parametrize("what", WEAK)
async def test_a_topic_that_cannot_keep_what_it_must_is_named(
    cluster: servers.KafkaCluster, what: str
) -> None:
    topic, says = WEAK[what]
    expected = Expected(topic.name, 2, 3, topic_settings(SAMPLES, 3))
    async with _admin(cluster) as admin:
        await replication.set_cluster_default(admin, 3)
        await admin.create_topics([topic])
        with pytest.raises(TopicError, match=says):
            await _once_known(lambda: replication.check_topics(admin, [expected]))


async def test_more_than_is_asked_for_is_fine(cluster: servers.KafkaCluster) -> None:
    more = topic_settings(SAMPLES, 3) | {"retention.ms": "-1", "max.message.bytes": "90000000"}
    async with _admin(cluster) as admin:
        await admin.create_topics([NewTopic("strong", 2, 3, topic_configs=more)])
        expected = Expected("strong", 2, 1, topic_settings(SAMPLES, 1))
        await _once_known(lambda: replication.check_topics(admin, [expected]))


async def test_a_topic_that_cannot_be_made_says_so() -> None:
    with servers.kafka_broker() as broker:
        with pytest.raises(TopicError, match=r"aurelian.samples.v1 cannot be made: .*replica"):
            await create_topics(broker.bootstrap, 2)


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


async def test_compacted_topics_close_segments_soon_also_where_they_were_there_before(
    cluster: servers.KafkaCluster,
) -> None:
    await create_topics(cluster.bootstrap, 3)
    names = ["segment.ms", "min.cleanable.dirty.ratio", "max.compaction.lag.ms"]
    wanted = dict(zip(names, ("3600000", "0.1", "86400000"), strict=True))
    async with _admin(cluster) as admin:
        asked = [Expected(STORED.name, 3, 3, wanted)]
        assert await _once_known(lambda: replication._read_settings(admin, asked)) == {
            STORED.name: wanted
        }
        # A topic of the version before has Kafka's defaults; one of its settings is a person's.
        made = await admin.create_topics(
            [NewTopic("of-before", 1, 3, topic_configs={"segment.ms": "7200000"})]
        )
        assert [code for _, code, *_ in made.topic_errors] == [0]
        before = [Expected("of-before", 1, 3, wanted, wanted)]
        await _once_known(lambda: replication._read_settings(admin, before))
        await replication.tune_topics(admin, before)

        async def tuned() -> bool:
            found = (await replication._read_settings(admin, before))["of-before"]
            return found == {**wanted, "segment.ms": "7200000"}

        await until(tuned, "the settings in force", 20)


@asynccontextmanager
async def _admin(cluster: servers.KafkaCluster) -> AsyncIterator[AIOKafkaAdminClient]:
    admin = AIOKafkaAdminClient(bootstrap_servers=cluster.bootstrap)
    await admin.start()
    try:
        yield admin
    finally:
        await admin.close()
