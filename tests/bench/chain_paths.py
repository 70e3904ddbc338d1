"""Ways from MQTT through Kafka to rows in PostgreSQL, as they run: ours and Telegraf's, each with
brokers and a database of its own; called by `chain_vs_telegraf`."""

from __future__ import annotations

import asyncio
import contextlib
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path

from aurelian.backbone.topics import create_topics
from aurelian.db.logs import declare_log
from aurelian.db.migrate import upgrade
from aurelian.local import ports
from tests import servers
from tests.bench.framework import end, say
from tests.bench.mqtt_gateway import MACHINES, plant
from tests.bench.opcua_gateway import start_gateway
from tests.integration.historian.historian_process import start_historian
from tests.peers import telegraf, telegraf_chain


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


@contextlib.contextmanager
def ours(load: Load, postgres: servers.PostgresServer) -> Iterator[Running]:
    """Our gateway and our historian."""
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
def theirs(
    load: Load, postgres: servers.PostgresServer, flush_interval: str = "1s"
) -> Iterator[Running]:
    """Telegraf twice, with what it has collected flushed so often."""
    with _brokers_and_folder() as (mqtt, kafka, folder):
        database = postgres.create_database()
        asyncio.run(telegraf_chain.create_topic(kafka.bootstrap))

        def to_kafka() -> subprocess.Popen[bytes]:
            text = telegraf_chain.to_kafka(mqtt, kafka.bootstrap, load.filters, flush_interval)
            return telegraf.start(folder, "to-kafka", text)

        def to_postgresql() -> subprocess.Popen[bytes]:
            text = telegraf_chain.to_postgresql(kafka.bootstrap, database, flush_interval)
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


def theirs_often(load: Load, postgres: servers.PostgresServer) -> AbstractContextManager[Running]:
    """Telegraf at the pace of our commits."""
    return theirs(load, postgres, "100ms")


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
