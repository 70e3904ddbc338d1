"""`chain_vs_telegraf`: values a CPU second from MQTT through Kafka to rows in PostgreSQL, of all
processes of the path but the brokers: our gateway, our historian and the database's own, against
Telegraf (inputs.mqtt_consumer, outputs.kafka), Telegraf (inputs.kafka_consumer, outputs.postgresql)
and the database's own. Ratios are ours / Telegraf's.

`mqtt_single`: messages of one value and its time, of 500 machines in turn. `mqtt_json10`: flat
objects of ten numbers and a time. Ours has a row for each number, Telegraf one for each message.
Telegraf flushes once a second, which is the cheapest; `..._peer_100ms`: ten times a second, the
pace of our commits. How fresh the rows are is in `p50_s` and `p99_s`.

Each message has its number in its values, so that what is missing is seen: `lost` is what the
publisher counted, from the first message that is stored on, less the different values in the
tables. Then (`killed_...`) each program is killed twice with SIGKILL under the load of
`mqtt_single` and started again; `duplicates` are rows beyond the different values.
"""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass

import psycopg

from tests import servers
from tests.bench.chain_paths import Load, Running, ours, theirs, theirs_often
from tests.bench.framework import say
from tests.bench.mqtt_gateway import MACHINES, publishing
from tests.bench.mqtt_load import FIRST
from tests.bench.path_cost import SECONDS, Measured, instant, measure, tell
from tests.peers import telegraf

SINGLE_RATE = int(os.environ.get("BENCH_SINGLE_RATE", "1000"))
JSON10_RATE = int(os.environ.get("BENCH_JSON10_RATE", "500"))
KILLS = int(os.environ.get("BENCH_KILLS", "2"))
TARGETS = {"mqtt_single": 0.5, "mqtt_json10": 0.35}
_TIME, _NUMBER = "@" * 13, "#" * 10
_BETWEEN_KILLS_S = 6.0
_DRAIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Whole:
    """What is in the tables at the end, of all that was published."""

    expected: int
    rows: int
    different: int

    @property
    def lost(self) -> int:
        return self.expected - self.different

    @property
    def duplicates(self) -> int:
        return self.rows - self.different


@dataclass(frozen=True, slots=True)
class Side:
    """A path with one load: its cost, what was lost, and seconds from source time to the
    transaction that stored it."""

    cost: Measured
    whole: Whole
    p50_s: float
    p99_s: float


_Runs = Callable[[Load, servers.PostgresServer], AbstractContextManager[Running]]


def run() -> Iterator[dict[str, object]]:
    """Yield the result."""
    telegraf.build()
    result: dict[str, object] = {}
    sides: list[tuple[Side, Side]] = []
    with servers.postgres_server(durable=True) as postgres:
        for load in (_single(), _json10()):
            peer = _side("Telegraf", load, theirs, postgres)
            often = _side("Telegraf, flushed every 100 ms", load, theirs_often, postgres)
            own = _side("ours", load, ours, postgres)
            sides.append((own, peer))
            result |= _figures(load, own, peer, often)
        killed = {
            name: _killed(name, path, postgres)
            for name, path in (("ours", ours), ("peer", theirs))
            if KILLS
        }
    ratio = result["mqtt_single"]
    first = sides[0][0].cost
    yield {
        "bench": "chain_vs_telegraf",
        "value": ratio,
        "unit": "of Telegraf",
        "ratio": ratio,
        "target": TARGETS["mqtt_single"],
        "mqtt_json10_target": TARGETS["mqtt_json10"],
        "cpu_s": round(first.programs_s + first.database_s, 2),
        "peak_mb": round(first.peak_mb, 1),
        "samples": sum(own.cost.stored for own, _ in sides),
        "lost": sum(own.whole.lost for own, _ in sides),
        "duplicates": sum(own.whole.duplicates for own, _ in sides),
        "peer_lost": sum(peer.whole.lost for _, peer in sides),
        "peer_duplicates": sum(peer.whole.duplicates for _, peer in sides),
        **result,
        "kills_of_each": KILLS,
        **{
            f"killed_{name}_{what}": getattr(whole, what)
            for name, whole in killed.items()
            for what in ("expected", "lost", "duplicates")
        },
        "seconds": SECONDS,
        "store": "PostgreSQL 18, native partitions; the peer's tables without index",
        "broker": "Mosquitto and Apache Kafka, not counted",
    }


def _single() -> Load:
    messages = [
        (f"bench/unit-{n}/v0", f'{{"value": {_NUMBER}.5, "ts": {_TIME}}}'.encode())
        for n in range(MACHINES)
    ]
    return Load("mqtt_single", SINGLE_RATE, 1, messages, "bench/{unit}/{signal}", "bench/+/v0")


def _json10() -> Load:
    members = ", ".join(f'"v{n}": {_NUMBER}.{n}' for n in range(10))
    messages = [
        (f"bench/unit-{n}/state", f'{{"ts": {_TIME}, {members}}}'.encode()) for n in range(MACHINES)
    ]
    return Load("mqtt_json10", JSON10_RATE, 10, messages, "bench/{unit}/state", "bench/+/state")


def _figures(load: Load, own: Side, peer: Side, often: Side) -> dict[str, object]:
    name, mine, peers = load.name, own.cost, peer.cost
    return {
        name: round(mine.rate / peers.rate, 2),
        f"programs_{name}": round(mine.programs_rate / peers.programs_rate, 2),
        f"{name}_values_per_cpu_s": round(mine.rate),
        f"{name}_peer_values_per_cpu_s": round(peers.rate),
        f"{name}_gateway_cpu_s": round(mine.each_s[0], 2),
        f"{name}_historian_cpu_s": round(mine.each_s[1], 2),
        f"{name}_database_cpu_s": round(mine.database_s, 2),
        f"{name}_brokers_cpu_s": [round(each, 2) for each in mine.others_s],
        f"{name}_peer_to_kafka_cpu_s": round(peers.each_s[0], 2),
        f"{name}_peer_to_postgresql_cpu_s": round(peers.each_s[1], 2),
        f"{name}_peer_database_cpu_s": round(peers.database_s, 2),
        f"{name}_peer_brokers_cpu_s": [round(each, 2) for each in peers.others_s],
        f"{name}_p50_s": round(own.p50_s, 3),
        f"{name}_p99_s": round(own.p99_s, 3),
        f"{name}_peer_p50_s": round(peer.p50_s, 3),
        f"{name}_peer_p99_s": round(peer.p99_s, 3),
        f"{name}_of_peer_100ms": round(mine.rate / often.cost.rate, 2),
        f"{name}_peer_100ms_values_per_cpu_s": round(often.cost.rate),
        f"{name}_peer_100ms_p50_s": round(often.p50_s, 3),
        f"{name}_peer_100ms_p99_s": round(often.p99_s, 3),
        f"{name}_peak_mb": round(mine.peak_mb, 1),
        f"{name}_peer_peak_mb": round(peers.peak_mb, 1),
        f"{name}_messages_per_s": load.rate,
    }


def _side(name: str, load: Load, path: _Runs, postgres: servers.PostgresServer) -> Side:
    with path(load, postgres) as running, _published(running, load) as publisher:
        pids = [program.process.pid for program in running.programs]
        nominal = load.rate * load.values * SECONDS
        cost = measure(
            pids,
            postgres.pid,
            lambda start, stop: _count(running, load, start, stop),
            nominal,
            running.brokers,
        )
        whole = _at_rest(running, load, publisher)
        p50, p99 = _freshness(running, cost)
    tell(f"{load.name}, {name}", cost)
    say(f"{whole.lost} lost, {whole.duplicates} doubled; p50 {p50:.3f} s, p99 {p99:.3f} s")
    return Side(cost, whole, p50, p99)


def _killed(name: str, path: _Runs, postgres: servers.PostgresServer) -> Whole:
    """What is lost and doubled when each program is killed in turn."""
    load = _single()
    with path(load, postgres) as running, _published(running, load) as publisher:
        for _ in range(KILLS):
            for program in running.programs:
                time.sleep(_BETWEEN_KILLS_S)
                program.kill()
        time.sleep(_BETWEEN_KILLS_S)
        whole = _at_rest(running, load, publisher)
    say(f"killed, {name}: {whole}, {whole.lost} lost, {whole.duplicates} doubled")
    return whole


@contextmanager
def _published(path: Running, load: Load) -> Iterator[subprocess.Popen[str]]:
    """Publish, from when the first value is stored on."""
    with publishing(path.mqtt, load.messages, load.rate) as publisher:
        deadline = time.monotonic() + 60
        while not _count(path, load, 0, time.time())[1]:
            ended = any(each.process.poll() is not None for each in path.programs)
            if ended or time.monotonic() > deadline:
                raise RuntimeError("nothing is stored")
            time.sleep(0.5)
        yield publisher


def _count(path: Running, load: Load, start: float, stop: float) -> tuple[int, int]:
    """Values offered between two times, by the lowest and the highest number, and stored."""
    query = (
        "SELECT coalesce(floor(max(value)) - floor(min(value)) + 1, 0), count(DISTINCT value) "
        f"FROM ({path.rows}) found WHERE time >= %(start)s AND time < %(stop)s"
    )
    between = {"start": instant(start), "stop": instant(stop)}
    try:
        messages, stored = _ask(path, query, between)
    except psycopg.errors.UndefinedTable:  # Telegraf makes it with the first row
        return 0, 0
    return int(messages) * load.values, int(stored)


def _at_rest(path: Running, load: Load, publisher: subprocess.Popen[str]) -> Whole:
    """Stop the publisher and wait until all is stored, or nothing more for long."""
    publisher.terminate()
    assert publisher.stdout is not None
    published = int(publisher.stdout.readline())
    query = f"SELECT min(value), count(*), count(DISTINCT value) FROM ({path.rows}) found"
    deadline = time.monotonic() + _DRAIN_S
    before = None
    while True:
        first, rows, different = _ask(path, query)
        expected = (FIRST + published - int(first)) * load.values
        found = Whole(expected, int(rows), int(different))
        if (not found.lost and found == before) or time.monotonic() > deadline:
            return found
        before = found
        time.sleep(2.0)


def _freshness(path: Running, cost: Measured) -> tuple[float, float]:
    query = (
        "SELECT p[1], p[2] FROM (SELECT percentile_cont(ARRAY[0.5, 0.99]) WITHIN GROUP "
        f"(ORDER BY extract(epoch FROM stored - time)) AS p FROM ({path.rows}) found "
        "WHERE time >= %(start)s AND time < %(stop)s) percentiles"
    )
    p50, p99 = _ask(path, query, {"start": instant(cost.start), "stop": instant(cost.stop)})
    return float(p50), float(p99)


def _ask(path: Running, query: str, values: dict[str, str] | None = None) -> tuple[float, ...]:
    with psycopg.connect(path.database) as connection:
        found = connection.execute(query, values).fetchone()
    assert found is not None
    return tuple(found)
