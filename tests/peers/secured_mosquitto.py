"""Mosquitto as plants have it: TLS, client certificates, names and passwords, WebSocket; each on a
listener of its own."""

from __future__ import annotations

import contextlib
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from cryptography.x509.oid import ExtendedKeyUsageOID

from aurelian.local import mqtt, ports
from aurelian.local.processes import Program
from tests import servers
from tests.peers.certificates import Made, authority, make

USER, PASSWORD = "press-7", "word of the press: ÄÖ"

_CONF = """\
per_listener_settings true
persistence true
persistence_location {folder}/
log_dest stderr
log_type all
listener {plain} 127.0.0.1
allow_anonymous true
listener {password} 127.0.0.1
allow_anonymous false
password_file {folder}/passwords
listener {tls} 127.0.0.1
allow_anonymous true
certfile {certificate}
keyfile {key}
listener {mutual} 127.0.0.1
allow_anonymous false
cafile {folder}/authority.pem
certfile {certificate}
keyfile {key}
require_certificate true
use_identity_as_username true
listener {websocket} 127.0.0.1
protocol websockets
allow_anonymous true
listener {secure_websocket} 127.0.0.1
protocol websockets
allow_anonymous true
certfile {certificate}
keyfile {key}
"""

LISTENERS = ("plain", "password", "tls", "mutual", "websocket", "secure_websocket")


@dataclass(frozen=True, slots=True)
class SecuredMosquitto:
    """A running one.

    Attributes:
        port: by the name of the listener.
        folder: `authority.pem`; `client.pem` and `client-key.pem`, which it trusts; `other.pem` and
            `other-key.pem`, which it does not.
        log: what it said.
    """

    port: dict[str, int]
    folder: Path
    log: Path


@contextlib.contextmanager
def secured_mosquitto(
    folder: Path,
    *,
    hosts: Sequence[str] = ("127.0.0.1",),
    certificate: Made | None = None,
    issuer: Made | None = None,
    more: Mapping[str, Sequence[str]] | None = None,
    files: Mapping[str, bytes] | None = None,
) -> Iterator[SecuredMosquitto]:
    """Run one.

    Args:
        hosts: that its certificate names; certificate: another one than a good one of `issuer`.
        more: further listeners with the lines of their configuration, where `{folder}` stands for
            that of the configuration; files: what is put there.
    """
    executable = mqtt.find_mosquitto()
    passwords = shutil.which("mosquitto_passwd")
    if executable is None or passwords is None:
        servers.cannot_run(
            "mosquitto is not installed: apt-get install mosquitto", installable=True
        )
    issuer = issuer or authority("plant authority")
    own = certificate or make("broker", issuer, uris=(), hosts=hosts)
    with servers.server_folder() as home:
        state = home / "mqtt"
        state.mkdir(mode=0o700)
        (state / "authority.pem").write_bytes(issuer.pem)
        (folder / "authority.pem").write_bytes(issuer.pem)
        certificate_file, key_file = own.write(state, "broker")
        own.write(folder, "broker")
        usage = (ExtendedKeyUsageOID.CLIENT_AUTH,)
        make("press-7", issuer, uris=(), hosts=(), extended=usage).write(folder, "client")
        make("stranger", uris=(), hosts=(), extended=usage).write(folder, "other")
        subprocess.run([passwords, "-b", "-c", state / "passwords", USER, PASSWORD], check=True)
        port = {name: ports.any_free() for name in (*LISTENERS, *(more or {}))}
        conf = state / "mosquitto.conf"
        text = _CONF.format(folder=state, certificate=certificate_file, key=key_file, **port)
        for name, lines in (more or {}).items():
            text += f"listener {port[name]} 127.0.0.1\n"
            text += "".join(f"{line.replace('{folder}', str(state))}\n" for line in lines)
        conf.write_text(text)
        for name, content in (files or {}).items():
            (state / name).write_bytes(content)
        account = servers.postgres.open_home(home)
        if account is not None:
            for each in (state, *state.iterdir()):
                shutil.chown(each, account.uid, account.gid)
        log = home / "mqtt.log"
        program = Program("mqtt", (executable, "-c", str(conf)), log, cwd=state, account=account)
        # Those of WebSockets open later than the others.
        server = servers.MqttServer(
            program,
            lambda: all(map(ports.accepts, port.values())),
            port=port["plain"],
            kind="mosquitto",
        )
        server.start()
        try:
            yield SecuredMosquitto(port, folder, log)
        finally:
            server.stop()
