"""The MQTT broker of the embedded stack: `mosquitto` where it is installed, else Apache ActiveMQ
Artemis on the Java that Kafka runs on, else `amqtt`; called by the stack and the tests.

All let anybody in, on loopback only. Mosquitto and Artemis speak MQTT 5 and 3.1.1 and keep what
they have queued through a restart; amqtt speaks 3.1.1 and keeps nothing, which is told.
"""

import os
import shutil
import sys
from collections.abc import Callable
from pathlib import Path

from aurelian.local import artemis, kafka, kafka_jars
from aurelian.local.ports import LOOPBACK
from aurelian.local.processes import Account, Program

_MOSQUITTO_CONF = """\
listener {port} {host}
allow_anonymous true
persistence true
persistence_location {folder}/
autosave_interval 1
max_queued_messages 200000
max_inflight_messages 1000
log_dest stdout
log_timestamp_format %Y-%m-%dT%H:%M:%S
connection_messages false
"""


def find_mosquitto() -> str | None:
    """Return the path of the `mosquitto` program, which Debian puts where users do not look, or
    None."""
    return shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")


def program(
    port: int,
    folder: Path,
    log: Path,
    account: Account | None,
    tell: Callable[[str], None] = lambda sentence: None,
) -> Program:
    """Describe the MQTT broker that this machine has, on `port` of loopback, with its state in
    `folder`. Blocks: Artemis may have to be fetched."""
    if (mosquitto := find_mosquitto()) is not None:
        return mosquitto_program(mosquitto, port, folder, log, account)
    try:
        java, jars = kafka.find_java(), artemis.ensure_jars(kafka_jars.default_cache(), tell)
    except (kafka.KafkaError, kafka_jars.KafkaJarsError, OSError) as error:
        tell(
            "the MQTT broker is amqtt: it refuses clients of MQTT 5 (ours go on with 3.1.1) and "
            "forgets what it has queued for a gateway that is away; mended by: apt-get install "
            f"mosquitto (Artemis, which would stand in, cannot be had: {error})"
        )
        return amqtt_program(port, log)
    # Another folder than Mosquitto's, and run as Kafka is: a wheel's Java may be closed to others.
    return artemis.program(java, jars, port, folder.with_name(f"{folder.name}-artemis"), log)


def mosquitto_program(
    executable: str, port: int, folder: Path, log: Path, account: Account | None
) -> Program:
    """Write the configuration into `folder` (0700, owned by `account`) and describe Mosquitto.

    Started as `account`, not as root with its own `user` option: a later change of user would cut
    the tether that ends it together with the launcher.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    configuration = folder / "mosquitto.conf"
    configuration.write_text(_MOSQUITTO_CONF.format(port=port, host=LOOPBACK, folder=folder))
    if account is not None:
        os.chown(folder, account.uid, account.gid)
        os.chown(configuration, account.uid, account.gid)
    return Program("mqtt", (executable, "-c", str(configuration)), log, cwd=folder, account=account)


def amqtt_program(port: int, log: Path) -> Program:
    """Describe the broker written in Python."""
    return Program(
        "mqtt", (sys.executable, "-m", "aurelian.local.amqtt_broker", LOOPBACK, str(port)), log
    )
