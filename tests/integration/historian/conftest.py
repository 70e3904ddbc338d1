"""A broker of a test's own."""

import asyncio
from collections.abc import Iterator

import pytest

from aurelian.backbone.topics import create_topics
from tests import servers


@pytest.fixture
def broker() -> Iterator[servers.KafkaServer]:
    """A broker of the test's own, with all topics: the services' names are fixed, so tests cannot
    share one."""
    with servers.kafka_broker() as server:
        asyncio.run(create_topics(server.bootstrap))
        yield server
