"""What one gateway sends to the broker, collected while a test runs; for the tests of the
gateways."""

import asyncio
import contextlib
from collections.abc import AsyncIterator

from aurelian.backbone.client import Consumer
from aurelian.backbone.topics import REJECTED, SAMPLES, SOURCE_EVENTS, create_topics
from aurelian.model import codec
from aurelian.model.sample import Sample
from aurelian.runtime.settings import KafkaSettings


class Log:
    """Samples, events and rejected bytes of one gateway, in the order of arrival."""

    def __init__(self) -> None:
        self.samples: list[Sample] = []
        self.events: list[codec.SourceEvent] = []
        self.rejected: list[codec.Rejected] = []

    async def follow(self, bootstrap: str, gateway: str) -> None:
        """Collect until cancelled."""
        settings = KafkaSettings(kafka_bootstrap=bootstrap)
        async with Consumer(
            settings, [SAMPLES, SOURCE_EVENTS, REJECTED], client_id="test"
        ) as consumer:
            while True:
                for record in await consumer.take(timeout_s=0.1):
                    assert record.value is not None
                    if record.topic == SAMPLES.name:
                        batch = codec.decode(record.value)
                        if batch.gateway == gateway:
                            self.samples += batch.samples()
                    elif record.topic == REJECTED.name:
                        rejected = codec.decode_rejected(record.value)
                        if rejected.gateway == gateway:
                            self.rejected.append(rejected)
                    else:
                        event = codec.decode_event(record.value)
                        if event.gateway == gateway:
                            self.events.append(event)

    def of(self, name: str) -> list[Sample]:
        """The samples of the signals with this name."""
        return [sample for sample in self.samples if sample.signal.path.endswith(f"/{name}")]

    def kind(self, name: str) -> list[codec.SourceEvent]:
        """The events of a kind: birth, death, heartbeat, gap."""
        return [event for event in self.events if event.WhichOneof("kind") == name]


@contextlib.asynccontextmanager
async def followed(bootstrap: str, gateway: str) -> AsyncIterator[Log]:
    """Make the topics and collect what a gateway sends."""
    await create_topics(bootstrap)
    log = Log()
    task = asyncio.create_task(log.follow(bootstrap, gateway))
    try:
        yield log
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task
