"""Mosquitto with lines of configuration of a test's own."""

from __future__ import annotations

import contextlib
import shutil
from collections.abc import Iterator

from aurelian.local import mqtt, ports
from aurelian.local.processes import Program
from tests import servers


@contextlib.contextmanager
def plain_mosquitto(*lines: str) -> Iterator[str]:
    """Run one that admits everybody; its url."""
    executable = mqtt.find_mosquitto()
    if executable is None:
        servers.cannot_run(
            "mosquitto is not installed: apt-get install mosquitto", installable=True
        )
    with servers.server_folder() as home:
        state = home / "mqtt"
        state.mkdir(mode=0o700)
        port = ports.any_free()
        conf = state / "mosquitto.conf"
        own = (f"listener {port} 127.0.0.1", "allow_anonymous true", *lines)
        conf.write_text("\n".join((*own, "")))
        account = servers.postgres.open_home(home)
        if account is not None:
            for each in (state, conf):
                shutil.chown(each, account.uid, account.gid)
        program = Program(
            "mqtt", (executable, "-c", str(conf)), home / "mqtt.log", cwd=state, account=account
        )
        server = servers.MqttServer(
            program, lambda: ports.accepts(port), port=port, kind="mosquitto"
        )
        server.start()
        try:
            yield server.url
        finally:
            server.stop()
