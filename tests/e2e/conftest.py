"""The whole stack as a user starts it, once for all end-to-end tests: `aurelian up` with the pilot plant and plants of the tests."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from aurelian.local.ports import any_free
from tests import servers
from tests.e2e import plants

ROOT = Path(__file__).resolve().parents[2]
START_LIMIT_S = 120.0
STOP_LIMIT_S = 15.0


@dataclass
class Stack:
    """A running stack.

    Attributes:
        home: its state folder.
        plant: its folder of plant models.
        own_opcua_port: where the gateway expects the test's own OPC UA server.
        recordings: what may be replayed, by name.
    """

    home: Path
    plant: Path
    launcher: subprocess.Popen[bytes]
    own_opcua_port: int
    recordings: dict[str, plants.Recorded]

    @property
    def status(self) -> dict[str, object]:
        """What the launcher says of itself."""
        answer: dict[str, object] = json.loads((self.home / "run" / "status.json").read_text())
        return answer

    @property
    def url(self) -> str:
        """Address of the dashboard."""
        return str(self.status["url"])

    @property
    def database_url(self) -> str:
        """The database as its owner."""
        return str(self.status["database_url"])

    @property
    def mqtt_url(self) -> str:
        """The MQTT broker."""
        return str(self.status["mqtt_url"])

    @property
    def services(self) -> dict[str, dict[str, object]]:
        """Processes by name."""
        services = self.status["services"]
        assert isinstance(services, dict)
        return services

    def service_url(self, name: str) -> str:
        """Address of one process."""
        return str(self.services[name]["ops_url"])

    def aurelian(self, *arguments: str) -> str:
        """Run the `aurelian` command on this stack and return what it printed."""
        done = subprocess.run(
            [sys.executable, "-m", "aurelian.cli", *arguments, "--home", str(self.home)],
            check=True,
            capture_output=True,
            text=True,
            timeout=60,
        )
        return done.stdout.strip()


@pytest.fixture(scope="session")
def stack() -> Iterator[Stack]:
    """The stack, started and ready, and stopped at the end: in order, within its time, leaving no process behind."""
    with servers.server_folder() as folder:
        plant = folder / "plant"
        plant.mkdir()
        for file in (ROOT / "services" / "pilot_factory" / "plants").glob("*.yaml"):
            shutil.copy(file, plant)
        own_port = any_free()
        recordings = plants.write_plants(plant, own_port)
        log = (folder / "up.log").open("wb")
        launcher = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "aurelian.cli",
                "up",
                "--home",
                str(folder / "home"),
                "--plant",
                str(plant),
                "--any-ports",
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            env={**os.environ, "AURELIAN_PILOT_SEND_LOG": "1"},
            start_new_session=True,
        )
        opened = Stack(folder / "home", plant, launcher, own_port, recordings)
        try:
            _await_ready(opened, folder / "up.log")
            yield opened
            pids = [int(str(each["pid"])) for each in opened.services.values() if each["pid"]]
        finally:
            launcher.send_signal(signal.SIGTERM)
            try:
                launcher.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                launcher.kill()
                launcher.wait()
            log.close()
        assert launcher.returncode == 0, (folder / "up.log").read_text()
        assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()], "processes were left behind"


def _await_ready(stack: Stack, log: Path) -> None:
    """Wait until every process with a port says that it is ready."""
    deadline = time.monotonic() + START_LIMIT_S
    waiting = ["the launcher"]
    while waiting:
        if stack.launcher.poll() is not None or time.monotonic() > deadline:
            logs = "".join(
                f"\n== {f.name}\n{f.read_text()[-1500:]}" for f in (stack.home / "log").glob("*.log")
            )
            pytest.fail(f"the stack did not start, waiting for {waiting}:\n{log.read_text()}{logs}")
        time.sleep(0.3)
        if (stack.home / "run" / "status.json").exists():
            waiting = [
                name
                for name, each in stack.services.items()
                if each["ops_url"] and not _is_ready(str(each["ops_url"]))
            ]


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=2) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
