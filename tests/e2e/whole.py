"""The whole stack as a user starts it: `aurelian up` with the pilot plant and plants of the tests;
and what its store must hold.

Used by the end-to-end tests and by `tests/faults/`.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import signal
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

import paho.mqtt.client as paho
import psycopg
import pytest

from aurelian.local.ports import any_free
from aurelian.local.processes import await_condition, start_time
from aurelian.local.services import page_keys
from tests import servers
from tests.e2e import plants
from tests.waiting import until

ROOT = Path(__file__).resolve().parents[2]
START_LIMIT_S = 120.0
STOP_LIMIT_S = 15.0

_STORED = """
SELECT s.path, (extract(epoch FROM n.source_or_time) * 1000000)::bigint, n.value, n.status
FROM historian.signal s JOIN (
    SELECT signal, coalesce(source_time, time) AS source_or_time, to_jsonb(value) AS value, status
      FROM historian.sample_number
    UNION ALL
    SELECT signal, coalesce(source_time, time), to_jsonb(value), status FROM historian.sample_text
    UNION ALL
    SELECT signal, coalesce(source_time, time), to_jsonb(integer), status FROM
      historian.sample_other
) n ON n.signal = s.key
WHERE s.path LIKE %s
"""


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

    def key_of(self, company: str) -> str:
        """The key that opens a company's pages."""
        return (page_keys(self.home) / company).read_text().strip()

    def headers_of(self, company: str) -> dict[str, str]:
        """What a request brings to see a company's pages, and what they forward to."""
        return {"authorization": f"Bearer {self.key_of(company)}"}

    def link_of(self, company: str, path: str = "/") -> str:
        """Address that opens a page of a company in a browser."""
        return f"{self.url}{path}?key={self.key_of(company)}"

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

    @property
    def log(self) -> Path:
        """What the launcher says."""
        return _log_of(self.home)

    def pids(self) -> list[int]:
        """Process ids of all that runs, the launcher left out."""
        return [int(str(each["pid"])) for each in self.services.values() if each["pid"]]

    def cut_power(self) -> None:
        """Kill -9 everything at once, servers, services and launcher, and wait until it is gone."""
        pids = self.pids()
        for pid in (self.launcher.pid, *pids):
            with contextlib.suppress(ProcessLookupError):  # ended together with the launcher
                os.kill(pid, signal.SIGKILL)
        self.launcher.wait()
        gone = await_condition(lambda: all(start_time(pid) is None for pid in pids), 10)
        assert gone, "a process outlived kill -9"
        (self.home / "run" / "status.json").unlink()

    def start_again(self) -> None:
        """Start it on the same state folder and wait until it is ready."""
        self.launcher = _launch(self.home, self.plant)
        _await_start(self)

    def service_url(self, name: str) -> str:
        """Address of one process."""
        return str(self.services[name]["api_url"] or self.services[name]["ops_url"])

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


@contextlib.contextmanager
def running_stack(further_plants: Mapping[str, str] | None = None) -> Iterator[Stack]:
    """A stack of its own, started and ready, and stopped at the end: in order, within its time,
    leaving no process behind.

    `further_plants`: plant models by file name, beside the pilot plant and those of plants.py.
    """
    with servers.server_folder() as folder:
        plant = folder / "plant"
        plant.mkdir()
        for file in (ROOT / "services" / "pilot_factory" / "plants").glob("*.yaml"):
            shutil.copy(file, plant)
        own_port = any_free()
        recordings = plants.write_plants(plant, own_port)
        for name, model in (further_plants or {}).items():
            (plant / name).write_text(model)
        home = folder / "home"
        opened = Stack(home, plant, _launch(home, plant), own_port, recordings)
        try:
            _await_start(opened)
            yield opened
            pids = opened.pids()
        finally:
            launcher = opened.launcher
            launcher.send_signal(signal.SIGTERM)
            try:
                launcher.wait(STOP_LIMIT_S)
            except subprocess.TimeoutExpired:
                launcher.kill()
                launcher.wait()
        assert launcher.returncode == 0, opened.log.read_text()
        assert not [pid for pid in pids if Path(f"/proc/{pid}").exists()], (
            "processes were left behind"
        )


@contextlib.asynccontextmanager
async def mqtt_client(stack: Stack) -> AsyncIterator[paho.Client]:
    """A client of the stack's MQTT broker, with its loop in a thread."""
    url = urlsplit(stack.mqtt_url)
    client = paho.Client(paho.CallbackAPIVersion.VERSION2, protocol=paho.MQTTv5)
    client.connect(str(url.hostname), url.port or 1883)
    client.loop_start()
    try:
        yield client
    finally:
        client.disconnect()
        client.loop_stop()


def _launch(home: Path, plant: Path) -> subprocess.Popen[bytes]:
    with _log_of(home).open("ab") as log:
        return subprocess.Popen(
            [
                *(sys.executable, "-m", "aurelian.cli", "up", "--any-ports"),
                *("--home", str(home), "--plant", str(plant)),
            ],
            stdout=log,
            stderr=subprocess.STDOUT,
            # Recordings are old, and a historian that starts drops what is older than it shall
            # keep.
            env={**os.environ, "AURELIAN_PILOT_SEND_LOG": "1", "AURELIAN_RETENTION_DAYS": "36500"},
            start_new_session=True,
        )


def _log_of(home: Path) -> Path:
    return home.parent / "up.log"


def _await_start(stack: Stack) -> None:
    """Wait until every process with a port says that it is ready."""
    deadline = time.monotonic() + START_LIMIT_S
    waiting = ["the launcher"]
    while waiting:
        if stack.launcher.poll() is not None or time.monotonic() > deadline:
            logs = "".join(
                f"\n== {f.name}\n{f.read_text()[-1500:]}"
                for f in (stack.home / "log").glob("*.log")
            )
            pytest.fail(
                f"the stack did not start, waiting for {waiting}:\n{stack.log.read_text()}{logs}"
            )
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


async def replay(stack: Stack, name: str, log: Path, speed: float, limit_s: float = 90) -> None:
    """Replay a recording to its end, with its send log in folder `log`."""
    recorded = stack.recordings[name]
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "pilot_factory.replay",
        str(recorded.file),
        "--as",
        recorded.protocol,
        "--speed",
        str(speed),
        "--port",
        str(recorded.port),
        "--mqtt-url",
        stack.mqtt_url,
        "--send-log",
        str(log),
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, said = await asyncio.wait_for(process.communicate(), limit_s)
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    assert process.returncode == 0, said.decode()


def are_times_replaced(stack: Stack, name: str) -> set[bool]:
    """Whether the numbers of a recording stand at the gateway's time instead of their own."""
    with psycopg.connect(stack.database_url) as connection:
        rows = connection.execute(
            "SELECT DISTINCT n.source_time IS NOT NULL FROM historian.sample_number AS n JOIN "
            "historian.signal AS s ON s.key = n.signal WHERE s.path LIKE %s",
            (f"{stack.recordings[name].prefix}%",),
        )
        return {bool(row[0]) for row in rows}


async def check_store(stack: Stack, name: str, log: Path, limit_s: float = 30) -> None:
    """The store has exactly what was sent, and the ledger of the source says so."""
    recorded = stack.recordings[name]
    sent = _sent(log)
    assert len(sent) > 500
    with contextlib.suppress(AssertionError):  # the comparison below says what is missing
        await until(
            lambda: len(_stored(stack.database_url, recorded.prefix)) >= len(sent),
            timeout_s=limit_s,
        )
    rows = _stored(stack.database_url, recorded.prefix)
    stored = set(rows)
    assert len(rows) == len(stored), "a value is stored twice"
    missing, invented = sorted(sent - stored, key=str), sorted(stored - sent, key=str)
    assert not missing and not invented, (
        f"{name}: {len(missing)} missing: {missing[:3]} ... {missing[-3:]}; "
        f"{len(invented)} invented: {invented[:3]} ... {invented[-3:]}; "
        f"received and accounted for: {_ledger(stack.database_url, recorded.source)}"
    )

    def settled() -> bool:
        received, accounted = _ledger(stack.database_url, recorded.source)
        return received == accounted >= len(sent)

    await until(
        settled,
        f"a balanced ledger of {recorded.source}: {_ledger(stack.database_url, recorded.source)}",
        30,
    )


def _sent(folder: Path) -> set[tuple[str, int, object, int]]:
    rows = [
        json.loads(line)
        for file in folder.glob("*.jsonl")
        for line in file.read_text().splitlines()
    ]
    return {
        (
            "/".join(row["path"].split("/")[2:]),
            row["source_time"],
            _plain(row["value"]),
            row["status"],
        )
        for row in rows
    }


def _stored(url: str, prefix: str) -> list[tuple[str, int, object, int]]:
    with psycopg.connect(url) as connection:
        rows = connection.execute(_STORED, (f"{prefix}%",)).fetchall()
    return [("/".join(str(row[0]).split("/")[2:]), row[1], _plain(row[2]), row[3]) for row in rows]


def _ledger(url: str, source: str) -> tuple[int, int]:
    """What the gateway received of a source, and what became of it."""
    with psycopg.connect(url) as connection:
        row = connection.execute(
            """
            SELECT (SELECT coalesce(sum(received), 0) FROM historian.ledger_received WHERE source =
              %(source)s),
                   (SELECT coalesce(sum(stored + duplicate + rejected), 0) FROM
                     historian.ledger_stored WHERE source = %(source)s)
                   + (SELECT coalesce(sum(dropped + skipped), 0) FROM historian.ledger_received
                     WHERE source = %(source)s)
            """,
            {"source": source},
        ).fetchone()
    assert row is not None
    return int(row[0]), int(row[1])


def _plain(value: object) -> object:
    """Bool and integer columns are numbers in the store."""
    return float(value) if isinstance(value, bool | int) else value
