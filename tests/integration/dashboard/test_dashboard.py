"""The dashboard as a process on a real broker and a real store: values, states and freshness reach
a browser's stream."""

import asyncio
import contextlib
import html
import json
import signal
import threading
import time
from collections.abc import AsyncIterator, Callable, Iterator
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from uuid import uuid4

import httpx
import pytest

from aurelian.backbone.topics import ASSETS, LINE_EVENTS, SAMPLES, SOURCE_EVENTS, create_topics
from aurelian.db.logs import declare_log
from aurelian.events import schemas
from aurelian.model.sample import Signal, ValueType
from tests import dashboard_stack, servers
from tests.dashboard_store import write_machine_alarm
from tests.plant_traffic import PlantTraffic

StreamEvent = tuple[int, str, dict]


@pytest.fixture(scope="module")
def api(
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[tuple[str, list[dict[str, str]]]]:
    """A stand-in for an API behind the dashboard: its URL, the headers that it was asked with."""
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
    yield f"http://127.0.0.1:{server.server_port}", asked
    released.set()
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def stack(
    postgres: servers.PostgresServer,
    migrated_template: str,
    api: tuple[str, list[dict[str, str]]],
) -> Iterator[dashboard_stack.DashboardStack]:
    settings = {
        "AURELIAN_HISTORY_URL": api[0],
        "AURELIAN_EVENTS_URL": api[0],
        "AURELIAN_CAPACITY_URL": "http://127.0.0.1:9",
    }
    with dashboard_stack.running_dashboard(postgres, migrated_template, **settings) as opened:
        yield opened


@contextlib.asynccontextmanager
async def stream(
    stack: dashboard_stack.DashboardStack, last_id: int | None = None, owner: str = ""
) -> AsyncIterator["Stream"]:
    headers = {} if last_id is None else {"last-event-id": str(last_id)}
    headers |= stack.headers_of(owner or stack.plants[0].owner)
    async with (
        httpx.AsyncClient(timeout=20) as client,
        client.stream("GET", f"{stack.dashboard.url}/stream", headers=headers) as answer,
    ):
        assert answer.headers["content-type"].startswith("text/event-stream")
        assert answer.headers["x-accel-buffering"] == "no"
        yield Stream(answer.aiter_lines())


class Stream:
    """What a browser reads."""

    def __init__(self, lines: AsyncIterator[str]) -> None:
        self._lines = lines
        self.events: list[StreamEvent] = []

    async def wait_for(
        self, wanted: Callable[[StreamEvent], bool], limit_s: float = 10.0
    ) -> StreamEvent:
        async with asyncio.timeout(limit_s):
            while True:
                found = await self._next()
                self.events.append(found)
                if wanted(found):
                    return found

    async def _next(self) -> StreamEvent:
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


async def page(stack: dashboard_stack.DashboardStack, path: str = "/") -> str:
    return (await page_part(stack, path)).partition("<body>")[2]


async def page_part(stack: dashboard_stack.DashboardStack, path: str) -> str:
    async with httpx.AsyncClient(headers=stack.headers) as client:
        answer = await client.get(stack.dashboard.url + path)
        assert answer.status_code == 200
        return answer.text


def tile(text: str, line: str) -> str:
    return text.partition(f'<line-frame class="tile" data-line="{line}"')[2].partition(
        "</line-frame>"
    )[0]


async def until_page(
    stack: dashboard_stack.DashboardStack,
    path: str,
    holds: Callable[[str], bool],
    limit_s: float = 10,
) -> str:
    """`path`: of a page, or of a part of one."""
    read = page_part if path.startswith("/parts/") else page
    deadline = time.monotonic() + limit_s
    while not holds(text := await read(stack, path)):
        assert time.monotonic() < deadline, text
        await asyncio.sleep(0.05)
    return text


def double_of(stack: dashboard_stack.DashboardStack) -> Signal:
    return next(
        signal for signal in stack.line.constraint.signals() if signal.type is ValueType.DOUBLE
    )


async def test_one_marked_value_reaches_a_browsers_stream(
    stack: dashboard_stack.DashboardStack,
) -> None:
    signal = double_of(stack)
    async with stack.open_plant() as traffic, stream(stack) as browser:
        _, _, snap = await browser.wait_for(lambda event: event[1] == "snap")
        index = [entry[0] for entry in snap["signals"]].index(signal.id)
        await traffic.send_values(stack.line, [(signal, 4711.0815, ValueType.DOUBLE, 0)])
        _, _, frame = await browser.wait_for(
            lambda event: event[1] == "v" and 4711.0815 in event[2]["v"]
        )
        assert frame["i"][frame["v"].index(4711.0815)] == index


async def test_a_page_shows_the_last_known_values_without_javascript(
    stack: dashboard_stack.DashboardStack,
) -> None:
    signal = double_of(stack)
    async with stack.heartbeats() as traffic:
        await traffic.send_values(stack.line, [(signal, 1234.5, ValueType.DOUBLE, 0x80310000)])
        text = await until_page(stack, f"/lines/{stack.line.id}", lambda text: "1,234.5" in text)
        assert "Bad: no communication" in text
        assert stack.line.model.title in text
        text = await page(stack)
        for line in stack.plants[0].lines():
            assert 'data-freshness="live"' in tile(text, line.id)[:100]
        assert (
            "2,906" in text
            and '−32 <span class="word">behind</span>' in text
            and "31,240 of 100,800" in text
        )


async def test_a_line_without_calendar_state_and_counts_says_why_it_has_no_oee(
    stack: dashboard_stack.DashboardStack,
) -> None:
    first, *others = stack.plants[0].lines()
    assert "missing-of" not in await page(stack)
    bare = [{**each, "role": "other"} for each in first.output.meaning()["signals"]]  # type: ignore[attr-defined]
    changes: dict[str, dict[str, object]] = {
        first.id: {"calendar": {"shifts": [], "holidays": []}, "constraint": first.output.id},
        first.output.id: {"signals": bare},
    }
    title = first.output.model.title or first.output.model.name
    async with stack.open_plant() as traffic:
        assets = [each for each in stack.plants[0].assets() if each.id in changes]
        for asset in assets:
            changed = replace(asset, meaning={**asset.meaning, **changes[asset.id]})
            await traffic.producer.send(ASSETS, asset.id, changed.encode())
        try:
            text = await until_page(stack, "/", lambda text: text.count("missing-of") == 3)
            for said in (
                "No shift calendar, so no target and no OEE",
                f"{title} has no state signal, so the line has no state and no OEE",
                f"{title} has no count of good pieces, so no actual and no OEE",
            ):
                assert f'<p class="missing-of">{said}</p>' in tile(text, first.id)
            assert all("missing-of" not in tile(text, line.id) for line in others)
            text = html.unescape(await page(stack, f"/lines/{first.id}"))
            assert (
                "no OEE. In the plant file write, for the site or the line, `calendar: {shifts: "
                "[{name: day, start: '06:00', end: '14:00'}]}`" in text
            )
            assert "`role: state`" in text and "`role: good_count`" in text
        finally:
            for asset in assets:
                await traffic.producer.send(ASSETS, asset.id, asset.encode())
        await until_page(stack, "/", lambda text: "missing-of" not in text)


async def test_a_line_whose_source_falls_silent_turns_stale_and_is_no_longer_said_to_run(
    stack: dashboard_stack.DashboardStack,
) -> None:
    line = stack.line.id
    async with stack.heartbeats():
        await until_page(stack, "/", lambda text: 'data-freshness="live"' in tile(text, line)[:100])
    text = await until_page(
        stack, "/", lambda text: 'data-freshness="stale"' in tile(text, line)[:100]
    )
    assert "Running" not in tile(text, line).replace("last Running", "")
    assert "No data" in tile(text, line)
    async with stack.heartbeats():
        await until_page(
            stack, "/", lambda text: 'data-freshness="live"' in tile(text, line)[:100], 5
        )


async def test_an_alarm_of_a_machine_is_shown_and_of_a_silent_source_as_not_known(
    stack: dashboard_stack.DashboardStack,
) -> None:
    path = f"/parts/machine-alarms/{stack.line.id}"
    assert "<h2>" not in await page_part(stack, path)  # none of its machines ever told any
    unit, source = stack.line.constraint, stack.source
    write_machine_alarm(stack.database_url, unit, "hot <1>", severity=800)
    write_machine_alarm(stack.database_url, unit, "went", retain=False)
    write_machine_alarm(stack.database_url, unit, "of the plc", is_of_unit=False)
    async with stack.heartbeats():
        await until_page(
            stack, "/", lambda text: 'data-freshness="live"' in tile(text, stack.line.id)
        )
        text = await page_part(stack, path)
        assert text.index("hot &lt;1&gt;") < text.index("of the plc") and "went" not in text
        assert "active, not acknowledged" in text and "Not known" not in text
        assert source.rpartition("/")[2] in text
        assert "hot &lt;1&gt;" in await page(stack, f"/lines/{stack.line.id}")
    text = await until_page(stack, path, lambda text: text.count("Not known since") == 2)
    assert text.count('data-freshness="stale"') == 2


async def test_a_dead_source_is_sent_at_once_with_its_reason(
    stack: dashboard_stack.DashboardStack,
) -> None:
    async with stack.heartbeats() as traffic, stream(stack) as browser:
        await browser.wait_for(lambda event: event[1] == "snap")
        await traffic.die(
            stack.plants[0], stack.source, "pulled by a test", [stack.line.constraint.id]
        )
        dead = await browser.wait_for(lambda event: event[1] == "source")
        assert dead[2] == {
            "key": stack.line.constraint.id,
            "dead": "pulled by a test",
            "heard": dead[2]["heard"],
        }
        assert 'data-freshness="stale"' in tile(await page(stack), stack.line.id)[:100]
        await traffic.send_values(stack.line, [(double_of(stack), 1.0, ValueType.DOUBLE, 0)])
        alive = await browser.wait_for(lambda event: event[1] == "source")
        assert alive[2]["dead"] is None


async def test_a_browser_that_comes_back_misses_no_state_and_sees_none_twice(
    stack: dashboard_stack.DashboardStack,
) -> None:
    async def send_numbered(traffic: PlantTraffic, number: int) -> None:
        since = f"2099-01-01T00:00:{number:02d}Z"
        data = {
            "state": "running",
            "previous": "down",
            "unit": None,
            "reason": str(number),
            "since": since,
        }
        await traffic.send_event(stack.line, schemas.LINE_STATE_CHANGED, stack.line.id, data)

    async with stack.open_plant() as traffic:
        async with stream(stack) as browser:
            await browser.wait_for(lambda event: event[1] == "snap")
            for number in range(3):
                await send_numbered(traffic, number)
            last = await browser.wait_for(
                lambda event: event[1] == "state" and event[2]["reason"] == "2"
            )
            seen = browser.events
        for number in range(3, 6):
            await send_numbered(traffic, number)
        async with stream(stack, last[0]) as browser:
            await browser.wait_for(lambda event: event[1] == "state" and event[2]["reason"] == "5")
            seen = seen + browser.events
    assert [body["reason"] for _, kind, body in seen if kind == "state"] == [
        str(n) for n in range(6)
    ]
    assert "reset" not in {kind for _, kind, _ in seen}
    numbers = [number for number, _, _ in seen]
    assert numbers == sorted(set(numbers))


async def test_an_unknown_number_gets_one_reset_and_a_snapshot(
    stack: dashboard_stack.DashboardStack,
) -> None:
    async with stream(stack, 1) as browser:
        await browser.wait_for(lambda event: event[1] == "hb")
    assert [kind for _, kind, _ in browser.events][:2] == ["reset", "snap"]


async def test_a_new_kafka_log_makes_a_new_picture(stack: dashboard_stack.DashboardStack) -> None:
    async with stream(stack) as browser:
        await browser.wait_for(lambda event: event[1] == "snap")
        await asyncio.to_thread(declare_log, stack.database_url, uuid4())
        await browser.wait_for(lambda event: event[1] == "reset")
        _, _, snap = await browser.wait_for(lambda event: event[1] == "snap")
    assert len(snap["units"]) == sum(len(line.units) for line in stack.plants[0].lines())


async def test_bytes_that_nobody_can_read_stop_nothing(
    stack: dashboard_stack.DashboardStack,
) -> None:
    signal = double_of(stack)
    async with stack.open_plant() as traffic, stream(stack) as browser:
        await browser.wait_for(lambda event: event[1] == "snap")
        for topic in (
            SAMPLES,
            SOURCE_EVENTS,
            ASSETS,
            LINE_EVENTS,
        ):
            await traffic.producer.send(topic, stack.line.path, b"\xff\x00 no message")
        await traffic.send_values(stack.line, [(signal, 815.0, ValueType.DOUBLE, 0)])
        await browser.wait_for(lambda event: event[1] == "v" and 815.0 in event[2]["v"])


async def test_reads_are_forwarded_with_the_visitors_key_and_nothing_else_of_the_browser(
    stack: dashboard_stack.DashboardStack, api: tuple[str, list[dict[str, str]]]
) -> None:
    async with httpx.AsyncClient(base_url=stack.dashboard.url, headers=stack.headers) as client:
        path = "/history/v1/samples?signal=a%2Fb&points=2"
        answer = await client.get(path, headers={"cookie": "x=1"})
        assert answer.json() == {"ok": True}
        assert "set-cookie" not in answer.headers
        asked = api[1][-1]
        assert asked["path"] == path
        assert asked["authorization"] == stack.headers["authorization"]
        assert "cookie" not in asked
        assert (await client.post("/history/v1/samples")).status_code == 405
        asks = len(api[1])
        for wrong in ("", "Bearer ak_test.secret", stack.headers_of("*")["authorization"]):
            refused = await client.get(path, headers={"authorization": wrong})
            assert refused.status_code == 401
            assert refused.headers["content-type"] == "application/problem+json"
        assert len(api[1]) == asks, "nothing is asked in the name of nobody"


async def test_an_event_stream_is_forwarded_as_it_comes(
    stack: dashboard_stack.DashboardStack,
) -> None:
    async with (
        httpx.AsyncClient(timeout=5, headers=stack.headers) as client,
        client.stream("GET", f"{stack.dashboard.url}/events/v1/stream") as answer,
    ):
        async for line in answer.aiter_lines():
            if line == "data: first":
                break


async def test_an_api_that_is_away_is_a_problem_with_a_name(
    stack: dashboard_stack.DashboardStack,
) -> None:
    async with httpx.AsyncClient(headers=stack.headers) as client:
        answer = await client.get(f"{stack.dashboard.url}/capacity/v1/operations-capabilities")
    assert answer.status_code == 502
    assert answer.headers["content-type"] == "application/problem+json"
    assert answer.json()["title"] == "The capacity service does not answer"


async def test_another_host_name_is_refused_and_every_answer_has_its_policy(
    stack: dashboard_stack.DashboardStack,
) -> None:
    async with httpx.AsyncClient(base_url=stack.dashboard.url, headers=stack.headers) as client:
        assert (await client.get("/", headers={"host": "rebound.example"})).status_code == 421
        assert (await client.get("/", headers={"host": "localhost:8080"})).status_code == 200
        missing = await client.get("/lines/none")
        assert missing.status_code == 404
        assert "Page not found" in missing.text
        assert "default-src 'none'" in missing.headers["content-security-policy"]


@pytest.mark.parametrize("path", ["/system", "/parts/alarms", "/display-tables.js", "/snapshot"])
async def test_every_other_page_answers(stack: dashboard_stack.DashboardStack, path: str) -> None:
    async with httpx.AsyncClient(base_url=stack.dashboard.url, headers=stack.headers) as client:
        assert (await client.get(path)).status_code == 200


@pytest.mark.parametrize("path", ["/metrics", "/readyz", "/livez"])
async def test_health_and_metrics_are_not_on_the_port_of_the_pages(
    stack: dashboard_stack.DashboardStack, path: str
) -> None:
    async with httpx.AsyncClient(headers=stack.headers) as client:
        assert (await client.get(f"{stack.dashboard.url}{path}")).status_code == 404
        assert (await client.get(f"{stack.dashboard.ops_url}{path}")).status_code == 200


async def test_a_broker_that_goes_away_is_named_and_its_successor_is_followed(
    stack: dashboard_stack.DashboardStack,
) -> None:
    async with stream(stack) as browser:
        await browser.wait_for(lambda event: event[1] == "snap")
        stack.kafka.kill()
        await browser.wait_for(
            lambda event: event[1] == "hb" and event[2]["problem"] == "Kafka does not answer"
        )
        stack.kafka.start()
        await create_topics(stack.kafka.bootstrap)
        await asyncio.to_thread(declare_log, stack.database_url, uuid4())
        await browser.wait_for(lambda event: event[1] == "snap")
        await browser.wait_for(lambda event: event[1] == "hb" and event[2]["problem"] is None)
    async with stack.heartbeats():
        await until_page(
            stack, "/", lambda text: 'data-freshness="live"' in tile(text, stack.line.id)[:100]
        )


async def test_it_ends_soon_although_a_browser_is_on_the_stream(
    stack: dashboard_stack.DashboardStack,
) -> None:
    async with stream(stack) as browser:
        await browser.wait_for(lambda event: event[1] == "snap")
        began = time.monotonic()
        process = stack.dashboard.process
        assert process is not None
        process.send_signal(signal.SIGTERM)
        assert await asyncio.to_thread(process.wait, 10) == 0
        assert time.monotonic() - began < 5
    stack.dashboard.restart()  # from this thread: its end would end the process too
