"""A record that was set aside can be replayed, once, through Kafka."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from aurelian.backbone.topics import SAMPLES, create_topics
from aurelian.db.logs import declare_log
from aurelian.local.rejected import (
    Filter,
    ReplayError,
    list_rejected,
    load_rejected,
    replay_rejected,
)
from aurelian.model import codec
from aurelian.runtime.settings import KafkaSettings
from tests import oracle, servers
from tests.integration.historian.historian_process import (
    await_offsets,
    running_historian,
    wait_until,
)


@pytest.fixture
def kafka() -> Iterator[str]:
    """An Apache Kafka of the test's own: it counts what is stored."""
    with servers.kafka_broker() as server:
        yield server.bootstrap


def test_a_record_that_was_set_aside_is_stored_by_its_replay_once(
    kafka: str, database_url: str, tmp_path: Path
) -> None:
    asyncio.run(create_topics(kafka))
    samples = oracle.make_samples(seed=4, count=200)
    batch = oracle.make_batches(samples)[0]
    payload = codec.encode(batch)
    declare_log(database_url, "kafka")
    with psycopg.connect(database_url) as conn:
        for n, (topic, size) in enumerate(
            [
                (SAMPLES.name, len(payload)),
                ("aurelian.rejected.v1", len(payload)),
                (SAMPLES.name, 10**9),
            ]
        ):
            conn.execute(
                "INSERT INTO historian.rejected (owner, gateway, source, received_at, error_class, "
                "reason, origin, payload, payload_size, payload_sha256, samples, log_id, topic, "
                "partition, \"offset\", fingerprint) VALUES (%s, 'g', 's', now(), 'schema', "
                "'why', 'o', %s, %s, 'h', 0, 'kafka', %s, 0, 0, %s)",
                (batch.owner, payload, size, topic, str(n)),
            )
    third, second, first = (
        row["id"] for row in list_rejected(database_url, Filter(owner=batch.owner, open_only=True))
    )
    assert list_rejected(database_url, Filter(owner="nobody")) == []
    assert list_rejected(database_url, Filter(error_class="name")) == []
    settings = KafkaSettings(kafka_bootstrap=kafka)

    def replay(id: int) -> str:
        return asyncio.run(replay_rejected(database_url, settings, id, "someone"))

    def stored() -> int:
        return oracle.count_rows(database_url)

    with running_historian(kafka, database_url, tmp_path):
        assert replay(first) == SAMPLES.name
        wait_until(lambda: stored() > 0, 30, "the replayed batch")
        count = stored()
        with pytest.raises(ReplayError, match="was replayed already"):
            replay(first)
        for id, why in ((second, "gateway g"), (third, "bytes were kept"), (10**9, "no rejected")):
            with pytest.raises(ReplayError, match=why):
                replay(id)
        # A crash between sending and marking: the same stream and number again.
        with psycopg.connect(database_url) as conn:
            conn.execute("UPDATE historian.rejected SET replayed_at = NULL WHERE id = %s", [first])
        replay(first)
        await_offsets(database_url, 2)
        assert stored() == count
    row = load_rejected(database_url, first)
    assert row is not None and row["replayed_by"] == "someone"
