"""`opcua_vs_telegraf`: values a CPU second from an OPC UA server to rows in PostgreSQL, of all
processes of the path but Kafka: our gateway, our historian and the database's own, against Telegraf
(inputs.opcua_listener, outputs.postgresql) and the database's own. `ratio` is ours / Telegraf's.
`programs` and its `ratio`: without the database on either side.

The load server changes nodes of three types in turn (Double, Int32, Boolean) every 100 ms, which
is also the publishing interval. Both store the source's time. Both run alone, one after the other,
on one PostgreSQL server, at a rate that both hold: every value that the server offered in the time
that is measured has to be in the tables, which the Int32 nodes' values prove, since they are the
number of the change. Ours has a primary key, rollups, a ledger and offsets in the same
transactions; Telegraf's tables have no index, and in `peer_indexed` one by node and time.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

import psycopg

from aurelian.backbone.topics import create_topics
from aurelian.db.logs import declare_log
from aurelian.db.migrate import upgrade
from tests import servers
from tests.bench.framework import say
from tests.bench.opcua_gateway import INTERVAL_MS, gateway, plant
from tests.bench.path_cost import SECONDS, Measured, instant, measure, tell
from tests.integration.historian.historian_process import running_historian
from tests.peers.opcua_load_server import load_server
from tests.peers.telegraf import TABLES, telegraf

NODES = int(os.environ.get("BENCH_NODES", "2000"))
TARGET = 2.0

_OURS = """
SELECT n.value::bigint AS tick, s.kind
FROM historian.sample_number n
JOIN (
    SELECT key, substring(path FROM '[0-9]+$')::int %% 3 AS kind FROM historian.signal
) s ON s.key = n.signal
WHERE coalesce(n.source_time, n.time) >= %(start)s AND coalesce(n.source_time, n.time) < %(stop)s
"""
_THEIRS = " UNION ALL ".join(
    f"SELECT {'value' if table == 'load_int' else '0'}::bigint AS tick, {kind} AS kind "
    f"FROM {table} WHERE time >= (%(start)s::timestamptz AT TIME ZONE 'UTC') "
    "AND time < (%(stop)s::timestamptz AT TIME ZONE 'UTC')"
    for kind, table in enumerate(TABLES)
)


def run() -> Iterator[dict[str, object]]:
    """Yield the result."""
    with servers.postgres_server(durable=True) as postgres:
        peer = _of_telegraf(postgres)
        tell("Telegraf", peer)
        indexed = _of_telegraf(postgres, indexed=True)
        tell("Telegraf, with an index", indexed)
        ours = _of_ours(postgres)
        tell("ours", ours)
    yield {
        "bench": "opcua_vs_telegraf",
        "value": round(ours.rate),
        "unit": "values/cpu_s",
        "peer": round(peer.rate),
        "ratio": round(ours.rate / peer.rate, 2),
        "target": TARGET,
        "cpu_s": round(ours.programs_s + ours.database_s, 2),
        "peak_mb": round(ours.peak_mb, 1),
        "samples": ours.stored,
        "lost": ours.offered - ours.stored,
        "peer_lost": peer.offered - peer.stored,
        "peer_indexed": round(indexed.rate),
        "peer_indexed_database_cpu_s": round(indexed.database_s, 2),
        "indexed_ratio": round(ours.rate / indexed.rate, 2),
        "programs_ratio": round(ours.programs_rate / peer.programs_rate, 2),
        "gateway_cpu_s": round(ours.each_s[0], 2),
        "historian_cpu_s": round(ours.each_s[1], 2),
        "database_cpu_s": round(ours.database_s, 2),
        "peer_programs_cpu_s": round(peer.programs_s, 2),
        "peer_database_cpu_s": round(peer.database_s, 2),
        "peer_peak_mb": round(peer.peak_mb, 1),
        "offered_per_s": NODES * 1000 // INTERVAL_MS,
        "store": "PostgreSQL 18, native partitions; the peer's tables without index",
        "broker": "Apache Kafka, not counted",
    }


def _of_ours(postgres: servers.PostgresServer) -> Measured:
    with (
        servers.kafka_broker() as broker,
        load_server(NODES, INTERVAL_MS) as (url, _),
        tempfile.TemporaryDirectory(prefix="aurelian-bench-") as folder,
    ):
        database = postgres.create_database()
        upgrade(database)
        declare_log(database, "bench")
        asyncio.run(create_topics(broker.bootstrap))
        with (
            running_historian(
                broker.bootstrap, database, Path(folder), log_level="WARNING"
            ) as historian,
            gateway(plant(url, 1, NODES, INTERVAL_MS), broker.bootstrap) as (pid, _),
        ):
            pids = (pid, historian.process.pid)
            return _measure(pids, postgres.pid, database, _OURS)


def _of_telegraf(postgres: servers.PostgresServer, *, indexed: bool = False) -> Measured:
    with (
        load_server(NODES, INTERVAL_MS) as (url, _),
        tempfile.TemporaryDirectory(prefix="aurelian-bench-") as folder,
    ):
        database = postgres.create_database()
        with telegraf(Path(folder), url, NODES, INTERVAL_MS, database, indexed=indexed) as process:
            try:
                _await(lambda: _has_rows(database), process, 60)
                return _measure((process.pid,), postgres.pid, database, _THEIRS)
            except BaseException:
                say((Path(folder) / "telegraf.log").read_text()[-2000:])
                raise


def _measure(pids: Iterable[int], postmaster: int, database: str, rows: str) -> Measured:
    nominal = NODES * SECONDS * 1000 / INTERVAL_MS
    return measure(pids, postmaster, lambda *between: _count(database, rows, *between), nominal)


def _count(database: str, rows: str, start: float, stop: float) -> tuple[int, int]:
    """Values that the server offered between two times, and those that are stored.

    The Int32 nodes have the number of the change as their value: those between the lowest and the
    highest of the time were offered, to every node.

    Raises:
        AssertionError: more is stored than was offered.
    """
    query = (
        "SELECT count(*), coalesce(max(tick) FILTER (WHERE kind = 1) "
        f"- min(tick) FILTER (WHERE kind = 1) + 1, 0) FROM ({rows}) found"
    )
    with psycopg.connect(database) as connection:
        connection.execute("SET TIME ZONE 'UTC'")
        between = {"start": instant(start), "stop": instant(stop)}
        found = connection.execute(query, between).fetchone()  # type: ignore[arg-type]
    assert found is not None
    stored, ticks = int(found[0]), int(found[1])
    assert stored <= ticks * NODES, f"{stored} rows, {ticks} changes of {NODES} nodes"
    return ticks * NODES, stored


def _has_rows(database: str) -> bool:
    with psycopg.connect(database) as connection:
        found = connection.execute("SELECT to_regclass('load_int')").fetchone()
    return found is not None and found[0] is not None


def _await(condition: Callable[[], bool], process: subprocess.Popen[bytes], limit_s: float) -> None:
    deadline = time.monotonic() + limit_s
    while not condition():
        if process.poll() is not None or time.monotonic() > deadline:
            raise RuntimeError("Telegraf stores nothing")
        time.sleep(0.5)
