"""The MQTT broker of the embedded stack: `mosquitto` where it is installed, else `amqtt`; called by
the stack and the tests.

Both let anybody in, on loopback only. Mosquitto keeps what it has queued through a restart; amqtt
keeps nothing.
"""

import os
import shutil
import sys
from pathlib import Path

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


def program(port: int, folder: Path, log: Path, account: Account | None) -> Program:
    """Describe the MQTT broker that this machine has, on `port` of loopback, with its state in
    `folder`."""
    mosquitto = find_mosquitto()
    return (
        mosquitto_program(mosquitto, port, folder, log, account)
        if mosquitto
        else amqtt_program(port, log)
    )


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
