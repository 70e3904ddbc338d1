"""MQTT brokers of four makes, each with what its stock configuration does to us."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from aurelian.local import artemis, kafka, kafka_jars, mqtt, ports, postgres
from aurelian.local.processes import Program
from tests import npm, servers

AEDES = Path(__file__).parent / "aedes"

_STOCK = """\
listener {port} 127.0.0.1
allow_anonymous true
persistence {persistent}
persistence_location {folder}/
autosave_on_changes true
autosave_interval 1
log_dest stderr
log_type all
"""


@dataclass(frozen=True, slots=True)
class Make:
    """A broker and its configuration.

    Attributes:
        versions: of MQTT that it speaks, 5 and 4 (3.1.1).
        keeps: its sessions and messages through a restart, also after kill -9.
        resends: what it sent and nobody acknowledged, in the session that it says it kept.
        queue: messages that it keeps for a session that is away before it gives up new ones; 0:
            more than a test can fill.
    """

    name: str
    versions: tuple[int, ...]
    keeps: bool
    queue: int = 0
    resends: bool = True


MAKES = {
    each.name: each
    for each in (
        Make("mosquitto", (5, 4), keeps=True),
        Make("mosquitto-stock", (5, 4), keeps=True, queue=1000),
        Make("mosquitto-memory", (5, 4), keeps=False, queue=1000),
        Make("artemis", (5, 4), keeps=True),
        Make("aedes", (4,), keeps=False),
        Make("amqtt", (4,), keeps=False, resends=False),
    )
}
"""`mosquitto` as the stack runs it: 1,000 in flight, 200,000 queued; `-stock`: 20 and 1,000."""


@contextlib.contextmanager
def broker(name: str, *, port: int = 0) -> Iterator[servers.MqttServer]:
    """Run one; skip where it cannot be had."""
    port = port or ports.any_free()
    with servers.server_folder() as folder:
        program = _program(name, port, folder)
        server = servers.MqttServer(
            program, lambda: ports.accepts(port), start_limit_s=60, port=port, kind=name
        )
        server.start()
        try:
            yield server
        finally:
            server.stop()


def _program(name: str, port: int, folder: Path) -> Program:
    log = folder / "mqtt.log"
    if name == "amqtt":
        return mqtt.amqtt_program(port, log)
    if name == "aedes":
        return aedes_program(port, log)
    if name == "artemis":
        try:
            java = kafka.find_java()
            jars = artemis.ensure_jars(kafka_jars.default_cache())
        except (kafka.KafkaError, kafka_jars.KafkaJarsError, OSError) as error:
            servers.cannot_run(f"no Apache ActiveMQ Artemis: {error}")
        return artemis.program(java, jars, port, folder / "mqtt", log)
    executable = mqtt.find_mosquitto()
    if executable is None:
        servers.cannot_run(
            "mosquitto is not installed: apt-get install mosquitto", installable=True
        )
    account = postgres.open_home(folder)
    if name == "mosquitto":
        return mqtt.mosquitto_program(executable, port, folder / "mqtt", log, account)
    state = folder / "mqtt"
    state.mkdir(mode=0o700)
    conf = state / "mosquitto.conf"
    persistent = str(name == "mosquitto-stock").lower()
    conf.write_text(_STOCK.format(port=port, folder=state, persistent=persistent))
    if account is not None:
        for each in (state, conf):
            shutil.chown(each, account.uid, account.gid)
    return Program("mqtt", (executable, "-c", str(conf)), log, cwd=state, account=account)


def aedes_program(port: int, log: Path, *, web_port: int = 0, ping_s: float = 0) -> Program:
    """aedes; `web_port`: of WebSockets, 0: none; `ping_s`: between its pings of them."""
    node, folder = npm.install(AEDES, "aedes", "aedes")
    script = folder / "broker.mjs"
    if not script.exists() or script.read_bytes() != (AEDES / "broker.mjs").read_bytes():
        shutil.copy(AEDES / "broker.mjs", script)
    return Program("mqtt", (node, str(script), str(port), str(web_port), str(ping_s)), log)
