"""Benchmarks `historian_vs_copy*`: rows/s of the historian from Kafka into the migrated table,
against a raw binary COPY.

`historian_vs_copy`: two million samples of 20 lines with 1,000 signals each in shuffled batches of
500, report by exception (`telemetry.report_doubles_by_exception`). `historian_vs_copy_50`: the same
in batches of 50.
`historian_vs_copy_constant`: as many samples of 200 machines in which every signal reports once a
second in a fixed order, a third each in batches of 8, 50 and 500: what these benches sent before.

All of it lies in Kafka. A historian process stores it, with indexes, ledger, deliveries and
rollups; timed from the claim of its partitions, just before the first fetch, to the last COMMIT.
The peer is psycopg: the same rows, ordered by time as they came, as one binary COPY into an
identical table of the same server, after it. `ratio` is historian / peer.
"""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import psycopg

from aurelian.backbone.topics import SAMPLES, create_topics
from aurelian.db.logs import declare_log
from aurelian.db.migrate import upgrade
from tests import servers
from tests.bench import telemetry
from tests.bench.framework import cpu_and_memory, say
from tests.integration.historian.historian_process import running_historian, send_batches

ROWS = int(os.environ.get("BENCH_ROWS", "2000000"))
CONSTANT_SIZES = (8, 50, 500)
COLUMNS = "signal, time, sub, source_time, server_time, gateway_time, status, flags, type, value"
TARGET = 0.7

Fill = Callable[[str], tuple[int, int]]
"""Sends samples to the broker at an address; returns records and samples."""


def run() -> Iterator[dict[str, object]]:
    """Yield the result of shuffled batches of 500 samples."""
    yield _measure("historian_vs_copy", lambda bootstrap: _send_shuffled(bootstrap, 500))


def run_50() -> Iterator[dict[str, object]]:
    """Yield the result of shuffled batches of 50 samples."""
    yield _measure("historian_vs_copy_50", lambda bootstrap: _send_shuffled(bootstrap, 50))


def run_constant() -> Iterator[dict[str, object]]:
    """Yield the result of batches in which nothing but the values changes."""
    yield _measure("historian_vs_copy_constant", _send_constant)


def _measure(bench: str, fill: Fill) -> dict[str, object]:
    with servers.postgres_server(durable=True) as postgres, servers.kafka_broker() as broker:
        url = postgres.create_database()
        upgrade(url)
        declare_log(url, "bench")
        asyncio.run(create_topics(broker.bootstrap))
        records, rows = fill(broker.bootstrap)
        say(f"{rows} samples in {records} records are in Kafka")
        with tempfile.TemporaryDirectory(prefix="aurelian-bench-") as folder:
            with running_historian(
                broker.bootstrap, url, Path(folder), log_level="WARNING"
            ) as historian:
                seconds = _await_all(url, records)
                cpu_s, peak_mb = cpu_and_memory(historian.process.pid)
        stored, duplicates = _counts(url)
        say(
            f"historian: {stored} rows in {seconds:.1f} s = {stored / seconds:.0f} rows/s, "
            f"{cpu_s:.1f} s of CPU"
        )
        peer = copy_raw(url, rows)
        say(f"raw COPY: {rows / peer:.0f} rows/s")
    return {
        "bench": bench,
        "value": round(stored / seconds),
        "unit": "rows/s",
        "peer": round(rows / peer),
        "ratio": round(peer / seconds * stored / rows, 3),
        "target": TARGET,
        "cpu_s": round(cpu_s, 1),
        "peak_mb": round(peak_mb, 1),
        "samples": rows,
        "lost": rows - stored,
        "duplicates": duplicates,
        "store": "PostgreSQL 18, native partitions",
        "broker": "Apache Kafka",
    }


def _send_shuffled(bootstrap: str, size: int) -> tuple[int, int]:
    records = send_batches(bootstrap, telemetry.report_doubles_by_exception(ROWS, size))
    return records, records * size


def _send_constant(bootstrap: str) -> tuple[int, int]:
    sequences = [0] * telemetry.LINES
    records = rows = first_second = 0
    for size in CONSTANT_SIZES:
        batches = telemetry.make_batches(
            -(-ROWS // len(CONSTANT_SIZES)), size, first_second=first_second, sequences=sequences
        )
        before = records
        records += send_batches(bootstrap, batches)
        rows += (records - before) * size
        per_line = (records - before) // telemetry.LINES * size
        first_second += (
            per_line // (telemetry.ASSETS // telemetry.LINES * telemetry.SIGNALS_PER_ASSET) + 1
        )
    return records, rows


def _await_all(url: str, records: int) -> float:
    """Seconds from the claim of the partitions to the commit of the last record."""
    query = (
        "SELECT count(*), coalesce(sum(next_offset), 0) FROM historian.kafka_offset WHERE "
        "topic = %s"
    )
    started = None
    with psycopg.connect(url, autocommit=True) as conn:
        while True:
            row = conn.execute(query, (SAMPLES.name,)).fetchone()
            assert row is not None
            now = time.monotonic()
            if row[0] and started is None:
                started = now
            if row[1] >= records and started is not None:
                return now - started
            if started is not None and now - started > 1800:
                raise TimeoutError(f"{row[1]} of {records} records stored after 30 minutes")
            time.sleep(0.02 if started is None else 0.05)


def _counts(url: str) -> tuple[int, int]:
    with psycopg.connect(url) as conn:
        stored = conn.execute("SELECT count(*) FROM historian.sample_number").fetchone()
        ledger = conn.execute(
            "SELECT sum(stored), sum(duplicate) FROM historian.ledger_stored"
        ).fetchone()
        minutes = conn.execute("SELECT sum(count) FROM historian.rollup_minute").fetchone()
        hours = conn.execute("SELECT sum(count) FROM historian.rollup_hour").fetchone()
    assert stored and ledger and minutes and hours
    if not stored[0] == ledger[0] == minutes[0] == hours[0]:
        raise AssertionError(
            f"rows {stored[0]}, ledger {ledger[0]}, minutes {minutes[0]}, hours {hours[0]}"
        )
    return int(stored[0]), int(ledger[1])


def copy_raw(url: str, rows: int) -> float:
    """Seconds of one binary COPY of the same rows, ordered by time as they came, with its
    COMMIT."""
    with psycopg.connect(url) as conn:
        blocks: list[bytes] = []
        with conn.cursor() as cursor:
            query = (
                f"COPY (SELECT {COLUMNS} FROM historian.sample_number ORDER BY time, signal) "
                "TO STDOUT (FORMAT binary)"
            )
            with cursor.copy(query) as out:
                buffer = bytearray()
                for block in out:
                    buffer += block
                    if len(buffer) > 1 << 20:
                        blocks.append(bytes(buffer))
                        buffer.clear()
                blocks.append(bytes(buffer))
        conn.execute("CREATE SCHEMA peer")
        conn.execute(
            "CREATE TABLE peer.sample_number (LIKE historian.sample_number INCLUDING ALL) "
            "PARTITION BY RANGE (time)"
        )
        for name, bounds in _partitions(conn):
            conn.execute(f"CREATE TABLE peer.{name} PARTITION OF peer.sample_number {bounds}")  # type: ignore[arg-type]
        conn.commit()
        conn.autocommit = True
        conn.execute("CHECKPOINT")
        conn.autocommit = False
        started = time.monotonic()
        with (
            conn.cursor() as cursor,
            cursor.copy(f"COPY peer.sample_number ({COLUMNS}) FROM STDIN (FORMAT binary)") as copy,
        ):
            for block in blocks:
                copy.write(block)
        conn.commit()
        seconds = time.monotonic() - started
        found = conn.execute("SELECT count(*) FROM peer.sample_number").fetchone()
    assert found is not None and found[0] == rows
    return seconds


def _partitions(conn: psycopg.Connection[tuple[object, ...]]) -> list[tuple[str, str]]:
    rows = conn.execute(
        "SELECT c.relname, pg_get_expr(c.relpartbound, c.oid) FROM pg_inherits i JOIN pg_class c "
        "ON c.oid = i.inhrelid "
        "WHERE i.inhparent = 'historian.sample_number'::regclass"
    ).fetchall()
    return [(str(name), str(bounds)) for name, bounds in rows]
