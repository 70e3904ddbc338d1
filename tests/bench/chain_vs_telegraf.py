"""`chain_vs_telegraf`: values a CPU second from MQTT through Kafka to rows in PostgreSQL, of all
processes of the path but the brokers: our gateway, our historian and the database's own, against
Telegraf (inputs.mqtt_consumer, outputs.kafka), Telegraf (inputs.kafka_consumer, outputs.postgresql)
and the database's own. Ratios are ours / Telegraf's.

`mqtt_single`: messages of one value and its time, of 500 machines in turn. `mqtt_json10`: flat
objects of ten numbers and a time. Ours has a row for each number, Telegraf one for each message.

Each message has its number in its values, so that what is missing is seen: `lost` is what the
publisher counted, from the first message that is stored on, less the different values in the
tables. Then (`killed_...`) each program is killed twice with SIGKILL under the load of
`mqtt_single` and started again; `duplicates` are rows beyond the different values.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

import psycopg

from aurelian.backbone.topics import create_topics
from aurelian.db.logs import declare_log
from aurelian.db.migrate import upgrade
from aurelian.local import ports
from tests import servers
from tests.bench.framework import end, say
from tests.bench.mqtt_gateway import MACHINES, plant, publishing
from tests.bench.mqtt_load import FIRST
from tests.bench.opcua_gateway import start_gateway
from tests.bench.path_cost import SECONDS, Measured, instant, measure, tell
from tests.integration.historian.historian_process import start_historian
from tests.peers import telegraf, telegraf_chain

SINGLE_RATE = int(os.environ.get("BENCH_SINGLE_RATE", "1000"))
JSON10_RATE = int(os.environ.get("BENCH_JSON10_RATE", "500"))
KILLS = int(os.environ.get("BENCH_KILLS", "2"))
TARGETS = {"mqtt_single": 0.5, "mqtt_json10": 0.35}
_TIME, _NUMBER = "@" * 13, "#" * 10
_BETWEEN_KILLS_S = 6.0
_DRAIN_S = 60.0


@dataclass(frozen=True, slots=True)
class Load:
    """What is published.

    Attributes:
        values: of each message.
        messages: topic and payload, sent in turn.
        topics: of our plant file; `filters`: of Telegraf's subscription.
    """

    name: str
    rate: int
    values: int
    messages: Sequence[tuple[str, bytes]]
    topics: str
    filters: str


@dataclass
class Program:
    """A program of a path."""

    start: Callable[[], subprocess.Popen[bytes]]
    process: subprocess.Popen[bytes]

    def kill(self) -> None:
        """Kill -9 and start it again after a second."""
        self.process.kill()
        self.process.wait()
        time.sleep(1.0)
        self.process = self.start()


@dataclass(frozen=True, slots=True)
class Running:
    """A path that runs.

    Attributes:
        rows: query with `value`, `time` and `stored` of each value.
        brokers: process ids of Mosquitto and Kafka.
    """

    programs: tuple[Program, Program]
    mqtt: servers.MqttServer
    database: str
    rows: str
    brokers: tuple[int, int]


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
    sides: list[tuple[str, Side, Side]] = []
    with servers.postgres_server(durable=True) as postgres:
        for load in (_single(), _json10()):
            theirs = _side("Telegraf", load, _theirs, postgres)
            ours = _side("ours", load, _ours, postgres)
            sides.append((load.name, ours, theirs))
            result |= _figures(load, ours, theirs)
        killed = {
            name: _killed(name, path, postgres)
            for name, path in (("ours", _ours), ("peer", _theirs))
            if KILLS
        }
    ratio = result["mqtt_single"]
    first = sides[0][1].cost
    yield {
        "bench": "chain_vs_telegraf",
        "value": ratio,
        "unit": "of Telegraf",
        "ratio": ratio,
        "target": TARGETS["mqtt_single"],
        "mqtt_json10_target": TARGETS["mqtt_json10"],
        "cpu_s": round(first.programs_s + first.database_s, 2),
        "peak_mb": round(first.peak_mb, 1),
        "samples": sum(ours.cost.stored for _, ours, _ in sides),
        "lost": sum(ours.whole.lost for _, ours, _ in sides),
        "duplicates": sum(ours.whole.duplicates for _, ours, _ in sides),
        "peer_lost": sum(theirs.whole.lost for _, _, theirs in sides),
        "peer_duplicates": sum(theirs.whole.duplicates for _, _, theirs in sides),
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


def _figures(load: Load, ours: Side, theirs: Side) -> dict[str, object]:
    name, mine, peers = load.name, ours.cost, theirs.cost
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
        f"{name}_p50_s": round(ours.p50_s, 3),
        f"{name}_p99_s": round(ours.p99_s, 3),
        f"{name}_peer_p50_s": round(theirs.p50_s, 3),
        f"{name}_peer_p99_s": round(theirs.p99_s, 3),
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


@contextlib.contextmanager
def _ours(load: Load, postgres: servers.PostgresServer) -> Iterator[Running]:
    with _brokers_and_folder() as (mqtt, kafka, folder):
        database = postgres.create_database()
        upgrade(database)
        declare_log(database, "bench")
        asyncio.run(create_topics(kafka.bootstrap))
        site = plant("mqtt_json", f'topic: "{load.topics}"', MACHINES, load.values)
        site = site.replace("URL", mqtt.url)
        port = ports.any_free()

        def gateway() -> subprocess.Popen[bytes]:
            return start_gateway(folder, site, kafka.bootstrap, "mqtt_gateway", ops_port=port)

        def historian() -> subprocess.Popen[bytes]:
            return start_historian(kafka.bootstrap, database, folder, log_level="WARNING").process

        rows = (
            "SELECT value, coalesce(source_time, time) AS time, stored_time AS stored "
            "FROM historian.sample_number"
        )
        with _running(gateway, historian) as programs:
            yield Running(programs, mqtt, database, rows, (mqtt.pid, kafka.pid))


@contextlib.contextmanager
def _theirs(load: Load, postgres: servers.PostgresServer) -> Iterator[Running]:
    with _brokers_and_folder() as (mqtt, kafka, folder):
        database = postgres.create_database()
        asyncio.run(telegraf_chain.create_topic(kafka.bootstrap))

        def to_kafka() -> subprocess.Popen[bytes]:
            text = telegraf_chain.to_kafka(mqtt, kafka.bootstrap, load.filters)
            return telegraf.start(folder, "to-kafka", text)

        def to_postgresql() -> subprocess.Popen[bytes]:
            text = telegraf_chain.to_postgresql(kafka.bootstrap, database)
            return telegraf.start(folder, "to-postgresql", text)

        columns = ["value"] if load.values == 1 else [f"v{n}" for n in range(load.values)]
        each = ", ".join(f"({column})" for column in columns)
        rows = (
            "SELECT each.value, time AT TIME ZONE 'UTC' AS time, stored "
            f"FROM {telegraf_chain.TABLE} CROSS JOIN LATERAL (VALUES {each}) each(value)"
        )
        with _running(to_kafka, to_postgresql) as programs:
            try:
                yield Running(programs, mqtt, database, rows, (mqtt.pid, kafka.pid))
            except BaseException:
                for log in folder.glob("*.log"):
                    say(log.read_text()[-2000:])
                raise


@contextlib.contextmanager
def _brokers_and_folder() -> Iterator[tuple[servers.MqttServer, servers.KafkaServer, Path]]:
    with (
        servers.mosquitto_broker() as mqtt,
        servers.kafka_broker() as kafka,
        tempfile.TemporaryDirectory(prefix="aurelian-bench-") as folder,
    ):
        yield mqtt, kafka, Path(folder)


@contextlib.contextmanager
def _running(
    first: Callable[[], subprocess.Popen[bytes]], second: Callable[[], subprocess.Popen[bytes]]
) -> Iterator[tuple[Program, Program]]:
    with contextlib.ExitStack() as stack:
        programs = []
        for start in (first, second):
            program = Program(start, start())
            stack.callback(lambda each: end(each.process), program)
            programs.append(program)
        yield programs[0], programs[1]


@contextlib.contextmanager
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
        found = connection.execute(query, values).fetchone()  # type: ignore[arg-type]
    assert found is not None
    return tuple(found)
