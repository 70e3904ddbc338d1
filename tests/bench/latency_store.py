"""Benchmark `latency_store`: how long after its source time a sample can be queried, in ms; `value`
is the 99th percentile.

For 20 s 20 lines make a batch of 25 samples every 100 ms (5,000 samples/s), each stamped when it is
made: codec, Kafka, historian, committed row. A row can be queried from its transaction's COMMIT on,
whose time PostgreSQL keeps (`track_commit_timestamp`). The gateway's outbox is measured by
`outbox`; it comes on top.
"""

from __future__ import annotations

import asyncio
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import psycopg

from aurelian.backbone.client import Producer
from aurelian.backbone.topics import SAMPLES, create_topics
from aurelian.db.logs import declare_log
from aurelian.db.migrate import upgrade
from aurelian.model import codec
from aurelian.model.sample import Sample, ValueType, make_batch
from aurelian.runtime.settings import KafkaSettings
from tests import servers
from tests.bench import telemetry
from tests.bench.framework import cpu_and_memory, say
from tests.integration.historian.historian_process import await_offsets, running_historian

SECONDS = 20.0
INTERVAL_S = 0.1
BATCH = 25


def run() -> Iterator[dict[str, object]]:
    """Yield the one result."""
    with servers.postgres_server(durable=True) as postgres, servers.kafka_broker() as broker:
        with psycopg.connect(postgres.url(), autocommit=True) as conn:
            conn.execute("ALTER SYSTEM SET track_commit_timestamp = on")
        postgres.stop()
        postgres.start()
        url = postgres.create_database()
        upgrade(url)
        declare_log(url, "bench")
        asyncio.run(create_topics(broker.bootstrap))
        with tempfile.TemporaryDirectory(prefix="aurelian-bench-") as folder:
            with running_historian(
                broker.bootstrap, url, Path(folder), log_level="WARNING"
            ) as historian:
                asyncio.run(_send(broker.bootstrap, 0, 2.0))  # learn signals, fill caches
                records = asyncio.run(_send(broker.bootstrap, 1_000_000, SECONDS))
                await_offsets(url, records)
                cpu_s, peak_mb = cpu_and_memory(historian.process.pid)
        with psycopg.connect(url) as conn:
            rows = conn.execute(
                "SELECT extract(epoch FROM pg_xact_commit_timestamp(xmin) - time) * 1000 FROM "
                "historian.sample_number "
                "WHERE sub = 1"
            ).fetchall()
            duplicates = conn.execute(
                "SELECT sum(duplicate) FROM historian.ledger_stored"
            ).fetchone()
    milliseconds = np.array([float(row[0]) for row in rows])
    p50, p99 = np.percentile(milliseconds, [50, 99])
    sent = int(SECONDS / INTERVAL_S) * telemetry.LINES * BATCH
    say(
        f"{len(milliseconds)} samples, p50 {p50:.0f} ms, p99 {p99:.0f} ms, longest "
        f"{milliseconds.max():.0f} ms"
    )
    yield {
        "bench": "latency_store",
        "value": round(float(p99), 1),
        "unit": "ms",
        "cpu_s": round(cpu_s, 1),
        "peak_mb": round(peak_mb, 1),
        "samples": sent,
        "lost": sent - len(milliseconds),
        "duplicates": int(duplicates[0]) if duplicates else None,
        "p50_ms": round(float(p50), 1),
        "samples_per_s": sent / SECONDS,
        "store": "PostgreSQL 18, native partitions",
        "broker": "Apache Kafka",
    }


async def _send(bootstrap: str, first_sequence: int, seconds: float) -> int:
    """Send at a steady rate; return the records sent in all runs so far. `sub` 1 marks the rows
    that count."""
    settings = KafkaSettings(kafka_bootstrap=bootstrap, kafka_timeout_s=30)
    lines = [telemetry.signals_of_line(line)[:BATCH] for line in range(telemetry.LINES)]
    counted = first_sequence > 0
    random = np.random.default_rng(1)
    async with Producer(settings, "bench") as producer:
        futures = []
        begin = time.monotonic()
        rounds = int(seconds / INTERVAL_S)
        for n in range(rounds):
            await asyncio.sleep(max(begin + n * INTERVAL_S - time.monotonic(), 0))
            values = random.normal(20, 5, (len(lines), BATCH)).tolist()
            for line, signals in enumerate(lines):
                now = time.time_ns() // 1000
                samples = [
                    Sample(signal, value, ValueType.DOUBLE, now, now, sub=int(counted))
                    for signal, value in zip(signals, values[line], strict=True)
                ]
                batch = make_batch(
                    samples,
                    owner=telemetry.OWNER,
                    gateway="bench",
                    boot=telemetry.START_US + first_sequence,
                    sequence=n + 1,
                    line=telemetry.line_path(line),
                )
                futures.append(await producer.post(SAMPLES, batch.line, codec.encode(batch)))
        await producer.settle(futures)
    return rounds * telemetry.LINES + (int(2.0 / INTERVAL_S) * telemetry.LINES if counted else 0)
