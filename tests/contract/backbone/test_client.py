"""The client against a real broker: where reading begins."""

from collections.abc import Mapping
from dataclasses import replace
from uuid import uuid4

import pytest
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.structs import OffsetAndTimestamp, TopicPartition

from aurelian.backbone.client import Consumer, Producer
from aurelian.backbone.topics import STORED
from aurelian.model.record import Partition
from aurelian.runtime.settings import KafkaSettings


async def test_a_record_written_between_two_answers_of_the_broker_is_read(
    kafka: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A gateway asks where to begin while the historian says for the first time what is stored;
    whoever begins after that waits for 15 minutes."""
    topic = replace(STORED, name=f"test.{uuid4().hex}", partitions=1)
    admin = AIOKafkaAdminClient(bootstrap_servers=kafka)
    await admin.start()
    try:
        await admin.create_topics([NewTopic(topic.name, topic.partitions, 1)])
    finally:
        await admin.close()
    settings, place = KafkaSettings(kafka_bootstrap=kafka), Partition(topic.name, 0)
    async with (
        Producer(settings, "writer") as producer,
        Consumer(settings, [topic], client_id="reader") as consumer,
    ):
        ask = consumer._consumer.offsets_for_times

        async def then_write(
            times: Mapping[TopicPartition, int],
        ) -> Mapping[TopicPartition, OffsetAndTimestamp | None]:
            answer: Mapping[TopicPartition, OffsetAndTimestamp | None] = await ask(times)
            await producer.send(topic, "key", b"stored")
            return answer

        monkeypatch.setattr(consumer._consumer, "offsets_for_times", then_write)
        since = await consumer.offsets_since([place], 0)
        assert since == {place: 0}
        consumer.seek(place, since[place])
        (record,) = await consumer.take(timeout_s=5)
        assert record.value == b"stored"
