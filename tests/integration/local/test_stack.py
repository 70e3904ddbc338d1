"""The embedded stack with real servers and small stand-ins for the services: start, crash, restart,
stop."""

import asyncio
import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path

import psutil
import psycopg
import pytest

from aurelian.backbone.client import Consumer, Producer
from aurelian.backbone.topics import COMMANDS, TOPICS, create_topics
from aurelian.local import home, ports
from aurelian.local.options import Options, Stack, StackError
from aurelian.local.preparation import Preparation
from aurelian.local.processes import start_time, tail_of
from aurelian.local.services import Rank, Service, page_keys
from aurelian.local.stack import run
from aurelian.runtime.settings import KafkaSettings
from tests import servers

SERVICE_SOURCE = '''
"""Stand-in for a service: ops endpoints, notes of its environment and of when it was stopped."""
import http.server, json, os, pathlib, signal, sys, threading, time

state = pathlib.Path(os.environ["AURELIAN_STATE"])
(state / "environment.json").write_text(json.dumps(dict(os.environ)))

class Ops(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.end_headers()
        self.wfile.write(b"{}")
    def log_message(self, *_):
        pass

def stop(*_):
    (state / "stopped").write_text(str(time.monotonic()))
    sys.exit(0)

signal.signal(signal.SIGTERM, stop)
for kind in ("API", "OPS"):
    port = int(os.environ[f"AURELIAN_{kind}_PORT"])
    if port:
        server = http.server.ThreadingHTTPServer(("127.0.0.1", port), Ops)
        threading.Thread(target=server.serve_forever, daemon=True).start()
threading.Event().wait()
'''

SERVICES = (
    Service("stand_in_plant", "stand_in", Rank.PLANT),
    Service("stand_in_gateway", "stand_in", Rank.GATEWAY),
    Service("stand_in_worker", "stand_in", Rank.WORKER),
    Service("stand_in_api", "stand_in", Rank.API, "AURELIAN_HISTORY_URL"),
    Service("stand_in_page", "stand_in", Rank.PAGE),
)


@pytest.fixture
def options(monkeypatch: pytest.MonkeyPatch) -> Iterator[Options]:
    """A state folder of its own, stand-ins for the services, free ports."""
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))  # make_options adds to it
    with servers.server_folder() as folder:
        yield make_options(folder)


def make_options(folder: Path) -> Options:
    """Return what runs the stand-ins with their state below `folder`; sets the module path of this
    process for them."""
    modules = folder / "modules"
    modules.mkdir(exist_ok=True)
    (modules / "stand_in.py").write_text(SERVICE_SOURCE)
    paths = [
        str(modules),
        *(each for each in os.environ.get("PYTHONPATH", "").split(os.pathsep) if each),
    ]
    os.environ["PYTHONPATH"] = os.pathsep.join(dict.fromkeys(paths))
    kit = Preparation(_migrate, _declare_log, create_topics, _create_keys, lambda _: [])
    return Options(
        folder / "home",
        fixed_ports=False,
        services=SERVICES,
        seed="",
        preparation=kit,
        train_kafka=False,
    )


async def test_the_stack_starts_is_usable_and_stops_in_order(options: Options) -> None:
    async with _running(options) as stack:
        assert _get(f"{stack.url}/readyz") == 200
        assert stack.keys == ("a key",)
        assert len(_declared_logs(stack)) == 1
        status = await _status(
            options, lambda found: found["services"]["stand_in_page"]["state"] == "ready"
        )
        assert status["url"] == stack.url
        assert status["services"]["kafka"]["memory_mb"] > 100
        pids = [each["pid"] for each in status["services"].values()]
        environment = json.loads(
            (options.home / "state" / "stand_in_page" / "environment.json").read_text()
        )
        assert (
            environment["AURELIAN_HISTORY_URL"]
            == f"http://127.0.0.1:{stack.ports.api['stand_in_api']}"
        )
    assert [pid for pid in pids if start_time(pid) is not None] == [], (
        "a process outlived the stack"
    )
    ended = [
        float((options.home / "state" / each.name / "stopped").read_text()) for each in SERVICES
    ]
    assert ended == sorted(ended), "sources end first, the page last"
    assert home.read_launcher(options.home) is None


async def test_a_second_start_finds_the_data_again_and_makes_no_new_keys(options: Options) -> None:
    async with _running(options) as stack:
        with psycopg.connect(stack.database_url) as connection:
            connection.execute("CREATE TABLE kept AS SELECT 42 AS answer")
    async with _running(options) as stack:
        with psycopg.connect(stack.database_url) as connection:
            assert connection.execute("SELECT answer FROM kept").fetchone() == (42,)
        assert stack.keys == ()
        assert len(_declared_logs(stack)) == 1, "Kafka's log is the one of the first start"


async def test_a_killed_kafka_comes_back_on_its_port_with_its_log(options: Options) -> None:
    async with _running(options) as stack:
        settings = KafkaSettings(kafka_bootstrap=f"{ports.LOOPBACK}:{stack.ports.kafka}")
        async with Producer(settings, "before") as producer:
            await producer.send(COMMANDS, "gateway", b"kept")
        status = await _status(
            options, lambda found: found["services"]["kafka"]["state"] == "ready"
        )
        os.kill(status["services"]["kafka"]["pid"], signal.SIGKILL)
        await _status(options, lambda found: found["services"]["kafka"]["starts"] == 2)
        await _status(options, lambda found: found["services"]["kafka"]["state"] == "ready")
        async with Consumer(settings, [COMMANDS], client_id="after") as consumer:
            async with asyncio.timeout(20):
                while not (found := await consumer.take()):
                    pass
        assert [each.value for each in found] == [b"kept"]
        assert len(_declared_logs(stack)) == 1
        made_anew = await create_topics(settings.kafka_bootstrap)
        assert made_anew == [], f"all {len(TOPICS)} topics are still there"


async def test_a_kafka_that_ends_slowly_is_not_killed_while_there_is_time(
    options: Options,
) -> None:
    async with _running(options):
        status = await _status(
            options, lambda found: found["services"]["kafka"]["state"] == "ready"
        )
        pid = status["services"]["kafka"]["pid"]
        os.kill(pid, signal.SIGSTOP)  # as on a machine that has no time for it
        asyncio.get_running_loop().call_later(4.0, os.kill, pid, signal.SIGCONT)


@pytest.mark.long
async def test_a_lost_log_is_refused_until_the_operator_declares_the_new_one(
    options: Options,
) -> None:
    async with _running(options):
        pass
    (options.home / "kafka").rename(options.home / "lost")
    with pytest.raises(StackError, match=r"goes on from another one .*aurelian up --new-log"):
        await run(options, asyncio.Event(), lambda _: None)
    async with _running(replace(options, new_log=True)) as stack:
        assert len(_declared_logs(stack)) == 2
    async with _running(options) as stack:
        assert len(_declared_logs(stack)) == 2


async def test_killed_servers_and_services_come_back(options: Options) -> None:
    victims = ("postgres", "mqtt", "stand_in_worker")
    async with _running(options) as stack:
        for victim in victims:
            found = await _status(
                options, lambda found, name=victim: found["services"][name]["state"] == "ready"
            )
            os.kill(found["services"][victim]["pid"], signal.SIGKILL)
        for victim in victims:
            await _status(
                options, lambda found, name=victim: found["services"][name]["starts"] == 2
            )
            await _status(
                options, lambda found, name=victim: found["services"][name]["state"] == "ready"
            )
        with psycopg.connect(stack.database_url) as connection:
            assert connection.execute("SELECT 1").fetchone() == (1,)


async def test_a_second_launcher_is_told_that_the_folder_is_held(options: Options) -> None:
    async with _running(options) as stack:
        with pytest.raises(home.AlreadyRunningError):
            await run(options, asyncio.Event(), lambda _: None)
        launcher = home.read_launcher(options.home)
        assert launcher is not None
        assert (launcher.pid, launcher.url) == (os.getpid(), stack.url)


async def test_a_stop_in_the_middle_of_the_start_leaves_nothing(options: Options) -> None:
    stop = asyncio.Event()
    told: list[str] = []

    def tell(sentence: str) -> None:
        told.append(sentence)
        if "schema" in sentence:
            stop.set()

    up: list[Stack] = []
    await run(replace(options, tell=tell), stop, up.append)
    assert up == []
    assert processes_of(options.home) == []


async def test_a_page_that_never_gets_ready_is_a_sentence_with_the_end_of_its_log(
    options: Options,
) -> None:
    broken = Service("broken_page", "no_such_module", Rank.PAGE)
    options = replace(options, services=(*SERVICES[:-1], broken), start_limit_s=3)
    with pytest.raises(
        StackError, match=r"broken_page was not ready within 3 s(?s:.*)No module named"
    ):
        await run(options, asyncio.Event(), lambda _: None)
    assert processes_of(options.home) == []


async def test_nothing_outlives_a_launcher_that_is_killed(options: Options) -> None:
    code = f"""
import asyncio
from pathlib import Path
from tests.integration.local.test_stack import make_options, run
options = make_options(Path({str(options.home.parent)!r}))
asyncio.run(run(options, asyncio.Event(), lambda stack: print("up", flush=True)))
"""
    launcher = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, cwd=servers.ROOT, stdout=subprocess.PIPE
    )
    try:
        assert launcher.stdout is not None
        assert (await launcher.stdout.readline()).strip() == b"up"
        started = psutil.Process(launcher.pid).children(recursive=True)
        assert {each.name() for each in started} >= {"postgres", "java"}
        assert len(started) >= len(SERVICES) + 3
    finally:
        launcher.kill()
        await launcher.communicate()
    _, alive = await asyncio.to_thread(psutil.wait_procs, started, 10)
    assert alive == []


@asynccontextmanager
async def _running(options: Options) -> AsyncIterator[Stack]:
    """Run the stack in this process; stop it, within the promised time, when the block is left."""
    stop, up = asyncio.Event(), asyncio.Queue[Stack]()
    async with asyncio.TaskGroup() as group:
        running = group.create_task(run(options, stop, up.put_nowait))
        rising = group.create_task(up.get())
        await asyncio.wait({running, rising}, timeout=60, return_when=asyncio.FIRST_COMPLETED)
        assert rising.done(), {
            "the stack did not come up": home.read_status(options.home),
            **{log.name: log.read_text()[-800:] for log in (options.home / "log").glob("*.log")},
        }
        try:
            yield rising.result()
        finally:
            began = time.monotonic()
            stop.set()
            killed = await running
            assert time.monotonic() - began < 10
            assert killed == [], {
                name: tail_of(options.home / "log" / f"{name}.log") for name in killed
            }


async def _status(options: Options, wanted: Callable[[dict], bool], limit_s: float = 20) -> dict:
    async with asyncio.timeout(limit_s):
        while True:
            found = home.read_status(options.home)
            with suppress(KeyError):
                if found is not None and wanted(found):
                    return found
            await asyncio.sleep(0.05)


def processes_of(folder: Path) -> list[str]:
    """Command lines of the processes, other than this one, whose command line or environment names
    `folder`."""
    found = []
    for process in Path("/proc").iterdir():
        with suppress(OSError):
            if (
                process.name.isdigit()
                and int(process.name) != os.getpid()
                and start_time(int(process.name))
            ):
                surroundings = (process / "environ").read_bytes() + (
                    process / "cmdline"
                ).read_bytes()
                if str(folder).encode() in surroundings:
                    found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


def _get(url: str) -> int:
    with urllib.request.urlopen(url, timeout=5) as answer:
        return int(answer.status)


def _migrate(url: str) -> None:
    with psycopg.connect(url) as connection:
        connection.execute(
            "CREATE TABLE IF NOT EXISTS declared_log (id text, at timestamptz DEFAULT now())"
        )


def _declare_log(url: str, log_id: str, anew: bool) -> str:
    newest = "SELECT id FROM declared_log ORDER BY at DESC LIMIT 1"
    with psycopg.connect(url) as connection:
        current = connection.execute(newest).fetchone()
        if current is None or anew:
            connection.execute("INSERT INTO declared_log VALUES (%s)", (log_id,))
            return log_id
        return str(current[0])


def _declared_logs(stack: Stack) -> list[str]:
    with psycopg.connect(stack.database_url) as connection:
        return [row[0] for row in connection.execute("SELECT id FROM declared_log ORDER BY at")]


def _create_keys(url: str, folder: Path, plant: Path) -> tuple[str, ...]:
    file = page_keys(folder) / "acme"
    if file.exists():
        return ()
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("a key")
    return ("a key",)
