"""The dashboard as a process on a real broker and a real store: values, states and freshness reach
a browser's stream."""

import asyncio
import contextlib
import json
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from uuid import uuid4

import httpx
import pytest

from aurelian.backbone.topics import create_topics
from aurelian.db.logs import declare_log
from aurelian.events import schemas
from aurelian.model.sample import Signal, ValueType
from tests import servers, stage

Told = tuple[int, str, dict]


@pytest.fixture(scope="module")
def api(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[str, list[dict[str, str]], Path]]:
    """A stand-in for an API behind the dashboard: its URL, the headers that it was asked with, the
    key's file."""
    asked: list[dict[str, str]] = []

    class Answer(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(
                {"path": self.path, **{name.lower(): value for name, value in self.headers.items()}}
            )
            self.send_response(200)
            stream = "/stream" in self.path
            self.send_header("content-type", "text/event-stream" if stream else "application/json")
            self.send_header("set-cookie", "secret=1")
            self.end_headers()
            self.wfile.write(b"id: 1\ndata: first\n\n" if stream else b'{"ok":true}')
            self.wfile.flush()
            if stream:
                released.wait(10)

        def log_message(self, *_: object) -> None:
            return

    released = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answer)
    threading.Thread(target=server.serve_forever).start()
    key = tmp_path_factory.mktemp("key") / "key"
    key.write_text("ak_test.secret\n")
    yield f"http://127.0.0.1:{server.server_port}", asked, key
    released.set()
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def theatre(
    postgres: servers.PostgresServer,
    migrated_template: str,
    api: tuple[str, list[dict[str, str]], Path],
) -> Iterator[stage.Theatre]:
    settings = {
        "AURELIAN_HISTORY_URL": api[0],
        "AURELIAN_EVENTS_URL": api[0],
        "AURELIAN_CAPACITY_URL": "http://127.0.0.1:9",
        "AURELIAN_API_KEY_FILE": str(api[2]),
    }
    with stage.theatre(postgres, migrated_template, **settings) as opened:
        yield opened


@contextlib.asynccontextmanager
async def stream(url: str, last_id: int | None = None) -> AsyncIterator["Stream"]:
    headers = {} if last_id is None else {"last-event-id": str(last_id)}
    async with (
        httpx.AsyncClient(timeout=20) as client,
        client.stream("GET", f"{url}/stream", headers=headers) as answer,
    ):
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["x-accel-buffering"] == "no"
        yield Stream(answer.aiter_lines())


class Stream:
    """What a browser reads."""

    def __init__(self, lines: AsyncIterator[str]) -> None:
        self._lines = lines
        self.told: list[Told] = []

    async def wait_for(self, wanted: Callable[[Told], bool], limit_s: float = 10.0) -> Told:
        async with asyncio.timeout(limit_s):
            while True:
                found = await self._next()
                self.told.append(found)
                if wanted(found):
                    return found

    async def _next(self) -> Told:
        fields: dict[str, str] = {}
        async for line in self._lines:
            if line:
                name, _, value = line.partition(": ")
                fields[name] = value
            elif "data" in fields:
                return int(fields["id"]), fields["event"], json.loads(fields["data"])
            else:
                fields = {}
        raise AssertionError("the stream ended")


async def page(theatre: stage.Theatre, path: str = "/") -> str:
    async with httpx.AsyncClient() as client:
        answer = await client.get(theatre.dashboard.url + path)
        assert answer.status_code == 200
        return answer.text.partition("<body>")[2]


def tile(text: str, line: str) -> str:
    return text.partition(f'<line-frame class="tile" data-line="{line}"')[2].partition(
        "</line-frame>"
    )[0]


async def until_page(
    theatre: stage.Theatre, path: str, holds: Callable[[str], bool], limit_s: float = 10
) -> str:
    deadline = time.monotonic() + limit_s
    while not holds(text := await page(theatre, path)):
        assert time.monotonic() < deadline, text
        await asyncio.sleep(0.05)
    return text


def double_of(theatre: stage.Theatre) -> Signal:
    return next(
        signal for signal in theatre.line.constraint.signals() if signal.type is ValueType.DOUBLE
    )


async def test_one_marked_value_reaches_a_browsers_stream(theatre: stage.Theatre) -> None:
    signal = double_of(theatre)
    async with theatre.stage() as on, stream(theatre.dashboard.url) as browser:
        _, _, snap = await browser.wait_for(lambda told: told[1] == "snap")
        index = [entry[0] for entry in snap["signals"]].index(signal.id)
        await on.send_values(theatre.line, [(signal, 4711.0815, ValueType.DOUBLE, 0)])
        _, _, frame = await browser.wait_for(
            lambda told: told[1] == "v" and 4711.0815 in told[2]["v"]
        )
        assert frame["i"][frame["v"].index(4711.0815)] == index


async def test_a_page_shows_the_last_known_values_without_javascript(
    theatre: stage.Theatre,
) -> None:
    signal = double_of(theatre)
    async with theatre.beating() as on:
        await on.send_values(theatre.line, [(signal, 1234.5, ValueType.DOUBLE, 0x80310000)])
        text = await until_page(
            theatre, f"/lines/{theatre.line.id}", lambda text: "1,234.5" in text
        )
        assert "Bad: no communication" in text
        assert theatre.line.model.title in text
        text = await page(theatre)
        for line in (line for plant in theatre.plants for line in plant.lines()):
            assert 'data-freshness="live"' in tile(text, line.id)[:100]
        assert "2,906" in text and "−32 behind" in text and "31,240 of 100,800" in text


async def test_a_line_whose_source_falls_silent_turns_stale_and_is_no_longer_said_to_run(
    theatre: stage.Theatre,
) -> None:
    line = theatre.line.id
    async with theatre.beating():
        await until_page(
            theatre, "/", lambda text: 'data-freshness="live"' in tile(text, line)[:100]
        )
    text = await until_page(
        theatre, "/", lambda text: 'data-freshness="stale"' in tile(text, line)[:100]
    )
    assert "Running" not in tile(text, line)
    assert "No data" in tile(text, line)
    async with theatre.beating():
        await until_page(
            theatre, "/", lambda text: 'data-freshness="live"' in tile(text, line)[:100], 5
        )


async def test_a_dead_source_is_told_at_once_with_its_reason(theatre: stage.Theatre) -> None:
    async with theatre.beating() as on, stream(theatre.dashboard.url) as browser:
        await browser.wait_for(lambda told: told[1] == "snap")
        await on.die(
            theatre.plants[0], theatre.source, "pulled by a test", [theatre.line.constraint.id]
        )
        dead = await browser.wait_for(lambda told: told[1] == "source")
        assert dead[2] == {
            "key": theatre.line.constraint.id,
            "dead": "pulled by a test",
            "heard": dead[2]["heard"],
        }
        assert 'data-freshness="stale"' in tile(await page(theatre), theatre.line.id)[:100]
        await on.send_values(theatre.line, [(double_of(theatre), 1.0, ValueType.DOUBLE, 0)])
        alive = await browser.wait_for(lambda told: told[1] == "source")
        assert alive[2]["dead"] is None


async def test_a_browser_that_comes_back_misses_no_state_and_sees_none_twice(
    theatre: stage.Theatre,
) -> None:
    async def tell(on: stage.Stage, number: int) -> None:
        since = f"2099-01-01T00:00:{number:02d}Z"
        data = {
            "state": "running",
            "previous": "down",
            "unit": None,
            "reason": str(number),
            "since": since,
        }
        await on.send_event(theatre.line, schemas.LINE_STATE_CHANGED, theatre.line.id, data)

    async with theatre.stage() as on:
        async with stream(theatre.dashboard.url) as browser:
            await browser.wait_for(lambda told: told[1] == "snap")
            for number in range(3):
                await tell(on, number)
            last = await browser.wait_for(
                lambda told: told[1] == "state" and told[2]["reason"] == "2"
            )
            seen = browser.told
        for number in range(3, 6):
            await tell(on, number)
        async with stream(theatre.dashboard.url, last[0]) as browser:
            await browser.wait_for(lambda told: told[1] == "state" and told[2]["reason"] == "5")
            seen = seen + browser.told
    assert [body["reason"] for _, kind, body in seen if kind == "state"] == [
        str(n) for n in range(6)
    ]
    assert "reset" not in {kind for _, kind, _ in seen}
    numbers = [number for number, _, _ in seen]
    assert numbers == sorted(set(numbers))


async def test_an_unknown_number_gets_one_reset_and_a_snapshot(theatre: stage.Theatre) -> None:
    async with stream(theatre.dashboard.url, 1) as browser:
        await browser.wait_for(lambda told: told[1] == "hb")
    assert [kind for _, kind, _ in browser.told][:2] == ["reset", "snap"]


async def test_a_new_kafka_log_makes_a_new_picture(theatre: stage.Theatre) -> None:
    async with stream(theatre.dashboard.url) as browser:
        await browser.wait_for(lambda told: told[1] == "snap")
        await asyncio.to_thread(declare_log, theatre.database_url, uuid4())
        await browser.wait_for(lambda told: told[1] == "reset")
        _, _, snap = await browser.wait_for(lambda told: told[1] == "snap")
    assert len(snap["units"]) == sum(
        len(line.units) for plant in theatre.plants for line in plant.lines()
    )


async def test_bytes_that_nobody_can_read_stop_nothing(theatre: stage.Theatre) -> None:
    signal = double_of(theatre)
    async with theatre.stage() as on, stream(theatre.dashboard.url) as browser:
        await browser.wait_for(lambda told: told[1] == "snap")
        for topic in (stage.SAMPLES, stage.SOURCE_EVENTS, stage.ASSETS, stage.LINE_EVENTS):
            await on.producer.send(topic, theatre.line.path, b"\xff\x00 no message")
        await on.send_values(theatre.line, [(signal, 815.0, ValueType.DOUBLE, 0)])
        await browser.wait_for(lambda told: told[1] == "v" and 815.0 in told[2]["v"])


async def test_reads_are_forwarded_with_the_dashboards_key_and_nothing_of_the_browser(
    theatre: stage.Theatre, api: tuple[str, list[dict[str, str]], Path]
) -> None:
    async with httpx.AsyncClient(base_url=theatre.dashboard.url) as client:
        path = "/history/v1/samples?signal=a%2Fb&points=2"
        answer = await client.get(path, headers={"cookie": "x=1", "authorization": "Bearer mine"})
        assert answer.json() == {"ok": True}
        assert "set-cookie" not in answer.headers
        asked = api[1][-1]
        assert asked["path"] == path
        assert asked["authorization"] == "Bearer ak_test.secret"
        assert "cookie" not in asked
        assert (await client.post("/history/v1/samples")).status_code == 405


async def test_an_event_stream_is_forwarded_as_it_comes(theatre: stage.Theatre) -> None:
    async with (
        httpx.AsyncClient(timeout=5) as client,
        client.stream("GET", f"{theatre.dashboard.url}/events/v1/stream") as answer,
    ):
        async for line in answer.aiter_lines():
            if line == "data: first":
                break


async def test_an_api_that_is_away_is_a_problem_with_a_name(theatre: stage.Theatre) -> None:
    async with httpx.AsyncClient() as client:
        answer = await client.get(f"{theatre.dashboard.url}/capacity/v1/operations-capabilities")
    assert answer.status_code == 502
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["title"] == "The capacity service does not answer"


async def test_another_host_name_is_refused_and_every_answer_has_its_policy(
    theatre: stage.Theatre,
) -> None:
    async with httpx.AsyncClient(base_url=theatre.dashboard.url) as client:
        assert (await client.get("/", headers={"host": "rebound.example"})).status_code == 421
        assert (await client.get("/", headers={"host": "localhost:8080"})).status_code == 200
        assert (await client.get("/livez", headers={"host": "10.0.0.7:8000"})).status_code == 200
        missing = await client.get("/lines/none")
        assert missing.status_code == 404
        assert "Page not found" in missing.text
        assert "default-src 'none'" in missing.headers["content-security-policy"]


@pytest.mark.parametrize(
    "path", ["/system", "/parts/alarms", "/display-tables.js", "/snapshot", "/metrics"]
)
async def test_every_other_page_answers(theatre: stage.Theatre, path: str) -> None:
    async with httpx.AsyncClient(base_url=theatre.dashboard.url) as client:
        assert (await client.get(path)).status_code == 200


async def test_a_broker_that_goes_away_is_named_and_its_successor_is_followed(
    theatre: stage.Theatre,
) -> None:
    async with stream(theatre.dashboard.url) as browser:
        await browser.wait_for(lambda told: told[1] == "snap")
        theatre.kafka.kill()
        await browser.wait_for(
            lambda told: told[1] == "hb" and told[2]["problem"] == "Kafka does not answer"
        )
        theatre.kafka.start()
        await create_topics(theatre.kafka.bootstrap)
        await asyncio.to_thread(declare_log, theatre.database_url, uuid4())
        await browser.wait_for(lambda told: told[1] == "snap")
        await browser.wait_for(lambda told: told[1] == "hb" and told[2]["problem"] is None)
    async with theatre.beating():
        await until_page(
            theatre, "/", lambda text: 'data-freshness="live"' in tile(text, theatre.line.id)[:100]
        )


async def test_it_ends_soon_although_a_browser_is_on_the_stream(theatre: stage.Theatre) -> None:
    async with stream(theatre.dashboard.url) as browser:
        await browser.wait_for(lambda told: told[1] == "snap")
        began = time.monotonic()
        process = theatre.dashboard.process
        assert process is not None
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 10) == 0
        assert time.monotonic() - began < 5
    theatre.dashboard.restart()  # from this thread: its end would end the process too
