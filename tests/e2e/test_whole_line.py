"""From a machine's value to the store, the history API, the operator's screen and a partner's
webhook, through every process."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import re
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import paho.mqtt.client as mqtt
import pytest
from asyncua import Server, ua
from playwright.async_api import Page, async_playwright, expect
from standardwebhooks.webhooks import Webhook

from aurelian.model.plant import derive_id
from aurelian.model.plant_file import load_plant
from aurelian.pb import sparkplug_b_pb2
from tests import servers
from tests.e2e.whole import Stack, are_times_replaced, check_store, replay
from tests.waiting import until

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
STOPPED = re.compile("Short stop|Down")  # a stop is short for its first two minutes
LINE = "pilot-a/north/machining/line-1"


@pytest.mark.parametrize(
    "name",
    [
        "opcua",
        "mqtt",
        *(pytest.param(each, marks=pytest.mark.long) for each in ("opcua-old", "mqtt-old")),
    ],
)
async def test_every_row_of_a_recording_is_in_the_store_value_for_value(
    stack: Stack, name: str, tmp_path: Path
) -> None:
    await replay(stack, name, tmp_path, speed=0)
    await check_store(stack, name, tmp_path)
    # The first value of an OPC UA session is old by nature and keeps its time.
    assert (True in are_times_replaced(stack, name)) == name.endswith("-old")


async def test_processes_killed_in_the_middle_lose_nothing_and_double_nothing(
    stack: Stack, tmp_path: Path
) -> None:
    """Kafka, historian and both gateways end by SIGKILL while 300 rows a protocol are on their
    way, twenty rows a second. amqtt would forget what a dead gateway had not taken yet."""
    servers.require_program("mosquitto", "mosquitto")
    folders = {name: tmp_path / name for name in ("opcua-small", "mqtt-small")}
    replays = [
        asyncio.create_task(replay(stack, name, folder, speed=20))
        for name, folder in folders.items()
    ]
    try:
        for victim in ("historian", "kafka", "opcua_gateway", "mqtt_gateway", "historian"):
            await asyncio.sleep(1.5)  # the fault's own rhythm: somewhere in the middle
            before = stack.services[victim]["pid"]
            os.kill(int(str(before)), signal.SIGKILL)
            await until(
                lambda v=victim, b=before: stack.services[v]["pid"] not in (b, None),
                f"{victim} back",
                30,
            )  # type: ignore[misc]
        await asyncio.gather(*replays)
    finally:
        for task in replays:
            task.cancel()
        await asyncio.gather(*replays, return_exceptions=True)
    for name, folder in folders.items():
        await check_store(stack, name, folder, limit_s=60)


async def test_one_marked_value_of_each_protocol_reaches_the_history_and_a_browsers_stream(
    stack: Stack,
) -> None:
    signals = {
        name: derive_id(f"own/here/hall/line-1/{name}/marked")
        for name in ("press", "oven", "robot")
    }
    marks = {"press": 4711.25, "oven": 4712, "robot": 4713.5}
    async with (
        _opcua_machine(stack.own_opcua_port, marks["press"]),
        _mqtt_machines(stack.mqtt_url, marks["oven"], marks["robot"]),
    ):
        headers = stack.headers_of("own")
        async with httpx.AsyncClient(base_url=stack.url, timeout=20, headers=headers) as client:
            seen = await asyncio.wait_for(
                _watch_stream(client, {signals[n]: v for n, v in marks.items()}), 60
            )
            assert seen == set(signals.values())

            async def in_history() -> bool:
                for name, id in signals.items():
                    answer = await client.get("/history/v1/latest", params={"signal": id})
                    assert answer.status_code == 200, answer.text
                    if str(marks[name]) not in answer.text:
                        return False
                return True

            await until(in_history, "the marked values in the history", 20)


async def test_every_page_of_a_working_plant_is_there(stack: Stack) -> None:
    """With all that a plant has: lines, values, a ledger with counts, services with memory."""
    line = next(load_plant(stack.plant / "pilot-a.yaml").lines())
    signal = next(line.constraint.signals())

    headers = stack.headers_of("pilot-a")
    async with httpx.AsyncClient(base_url=stack.url, timeout=20, headers=headers) as client:

        async def has_counts() -> bool:
            answer = await client.get("/system")
            assert answer.status_code == 200, answer.text
            return "pilot-a-opcua" in answer.text.partition('id="ledger"')[2]

        await until(has_counts, "the ledger of a source on the system page", 30)
        for path in ("/", f"/lines/{line.id}", f"/signals/{signal.id}", "/help", "/parts/alarms"):
            answer = await client.get(path)
            assert answer.status_code == 200, f"{path}: {answer.text}"


@pytest.fixture
def chromium() -> None:
    """Skip where no browser is."""
    if not CHROMIUM.exists():
        servers.cannot_run("no Chromium: apt-get install chromium", installable=True)


@pytest.mark.chromium
@pytest.mark.usefixtures("chromium")
async def test_a_forced_stop_and_a_commitment_are_events_that_reach_screen_and_webhook(
    stack: Stack,
) -> None:
    key = stack.aurelian(
        "keys",
        "create",
        "--owner",
        "pilot-a",
        "--name",
        "test",
        "--scope",
        "events:read",
        "--scope",
        "webhooks:write",
    )
    line = next(
        each for each in load_plant(stack.plant / "pilot-a.yaml").lines() if each.path == LINE
    )
    with _receiver() as receiver:
        async with httpx.AsyncClient(
            base_url=stack.service_url("partner_events.api"),
            timeout=20,
            headers={"authorization": f"Bearer {key}"},
        ) as partner:
            made = await partner.post("/events/v1/endpoints", json={"url": receiver.url})
            assert made.status_code == 201, made.text
            webhook = Webhook(made.json()["secret"])
            async with _browser(stack.link_of("pilot-a")) as page:
                tile = page.locator(f'[data-testid="line-tile"][data-line="{line.id}"]')
                await expect(tile).to_have_attribute("data-freshness", "live", timeout=30_000)
                before = await _newest_number(partner)
                await _fault(stack, line.constraint.path, "stop", 150)
                await expect(tile).to_contain_text(STOPPED, timeout=30_000)
                # A stop of minutes moves no estimate: the prior weighs two days (capacity.model).
                await _commit_half_a_week(stack, line.path)

                async def capacity_moved() -> bool:
                    return bool(
                        await _events(
                            partner, before, "org.aurelian.capacity.estimate-updated.v1", line.id
                        )
                    )

                await until(capacity_moved, "a capacity event of the line", 90)
                moved = (
                    await _events(
                        partner, before, "org.aurelian.capacity.estimate-updated.v1", line.id
                    )
                )[0]["data"]
                assert moved["available"] <= moved["previous_available"] * 0.98
                assert moved["total"] == pytest.approx(
                    moved["available"] + moved["committed"] + moved["unattainable"], abs=0.01
                )
                states = await _events(
                    partner, before, "org.aurelian.line.state-changed.v1", line.id
                )
                assert any(state["data"]["state"] in ("down", "short_stop") for state in states)

        def delivered() -> bool:
            types = {json.loads(body)["type"] for _, body in receiver.got}
            return {
                "org.aurelian.capacity.estimate-updated.v1",
                "org.aurelian.line.stop-started.v1",
            } <= types

        await until(delivered, "both events at the webhook", 30)
    for headers, body in receiver.got:
        webhook.verify(body, headers)


@pytest.mark.chromium
@pytest.mark.usefixtures("chromium")
async def test_a_pulled_cable_turns_the_tiles_stale_and_nothing_says_running(stack: Stack) -> None:
    line = next(each for each in load_plant(stack.plant / "pilot-b.yaml").lines())
    async with _browser(stack.link_of("pilot-b", f"/lines/{line.id}")) as page:
        banner = page.get_by_test_id("line-banner")
        await expect(banner).to_have_attribute("data-freshness", "live", timeout=30_000)
        for unit in line.units:
            await _fault(stack, unit.path, "cable", 45)
        await expect(banner).to_have_attribute("data-freshness", "stale", timeout=40_000)
        tiles = page.get_by_test_id("machine-tile")
        for tile in await tiles.all():
            await expect(tile).to_have_attribute("data-freshness", "stale", timeout=15_000)
        for shown in [banner, *await tiles.all()]:
            await expect(shown).to_contain_text("No data")
            said = str(await shown.text_content()).replace("last Running", "")
            assert "Running" not in said, said
        await expect(banner).to_have_attribute("data-freshness", "live", timeout=60_000)


@contextlib.asynccontextmanager
async def _opcua_machine(port: int, mark: float) -> AsyncIterator[None]:
    server = Server()
    await server.init()
    server.set_endpoint(f"opc.tcp://127.0.0.1:{port}")
    server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    index = await server.register_namespace("urn:own")
    node = await server.nodes.objects.add_variable(ua.NodeId("marked", index), "marked", 0.0)
    async with server, _repeating(lambda: node.write_value(mark)):
        yield


@contextlib.asynccontextmanager
async def _mqtt_machines(url: str, oven: float, robot: float) -> AsyncIterator[None]:
    """A JSON machine, and a Sparkplug edge node with one device, on one connection."""
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2, client_id="own-machines")
    client.connect("127.0.0.1", int(url.rpartition(":")[2]))
    client.loop_start()
    number = 0

    async def send() -> None:
        nonlocal number
        now = time.time_ns() // 1_000_000
        client.publish("own/oven/state", json.dumps({"ts": now, "fields": {"marked": oven}}), qos=1)
        if number == 0:
            client.publish(
                "spBv1.0/Own/NBIRTH/Node",
                _payload(now, 0, [("bdSeq", 4, 0), ("Node Control/Rebirth", 11, False)]),
            )
            client.publish("spBv1.0/Own/DBIRTH/Node/robot", _payload(now, 1, [("marked", 10, 0.0)]))
        client.publish(
            "spBv1.0/Own/DDATA/Node/robot",
            _payload(now, (number + 2) % 256, [("marked", 10, robot)]),
        )
        number += 1

    try:
        async with _repeating(send):
            yield
    finally:
        client.loop_stop()
        client.disconnect()


def _payload(now_ms: int, seq: int, metrics: list[tuple[str, int, object]]) -> bytes:
    payload = sparkplug_b_pb2.Payload(timestamp=now_ms, seq=seq)
    for name, datatype, value in metrics:
        metric = payload.metrics.add(name=name, timestamp=now_ms, datatype=datatype)
        if isinstance(value, bool):
            metric.boolean_value = value
        elif isinstance(value, float):
            metric.double_value = value
        else:
            metric.long_value = int(str(value))
    return payload.SerializeToString()


@contextlib.asynccontextmanager
async def _repeating(send: object) -> AsyncIterator[None]:
    """Call `send` every half second beside the block."""

    async def repeat() -> None:
        while True:
            await send()  # type: ignore[operator]
            await asyncio.sleep(0.5)

    task = asyncio.create_task(repeat())
    try:
        yield
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def _watch_stream(client: httpx.AsyncClient, wanted: dict[str, float]) -> set[str]:
    """Read the dashboard's stream until each signal has shown its mark."""
    index: dict[int, str] = {}
    seen: set[str] = set()
    kind = ""
    async with client.stream("GET", "/stream") as answer:
        async for line in answer.aiter_lines():
            if line.startswith("event:"):
                kind = line.removeprefix("event:").strip()
            if not line.startswith("data:"):
                continue
            data = json.loads(line.removeprefix("data:"))
            if kind == "snap":
                index = {number: entry[0] for number, entry in enumerate(data["signals"])}
            elif kind == "v":
                seen |= {
                    index[i]
                    for i, v in zip(data["i"], data["v"], strict=True)
                    if wanted.get(index.get(i, "")) == v
                }
            if seen == set(wanted):
                return seen
    raise AssertionError("the stream ended")


@contextlib.asynccontextmanager
async def _browser(url: str) -> AsyncIterator[Page]:
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = await chromium.new_page()
        await page.goto(url)
        yield page
        await chromium.close()


class _Receiver:
    """A partner's webhook server: keeps what it got."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.got: list[tuple[dict[str, str], bytes]] = []


@contextlib.contextmanager
def _receiver() -> Iterator[_Receiver]:
    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["content-length"]))
            receiver.got.append(({k.lower(): v for k, v in self.headers.items()}, body))
            self.send_response(204)
            self.end_headers()

        def log_message(self, *_: object) -> None:
            return

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    receiver = _Receiver(f"http://127.0.0.1:{server.server_address[1]}/hook")
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield receiver
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


async def _fault(stack: Stack, unit: str, fault: str, seconds: float) -> None:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "pilot_factory.fault",
        fault,
        unit,
        "--seconds",
        str(seconds),
        "--url",
        str(stack.status["pilot_control_url"]),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    said, _ = await asyncio.wait_for(process.communicate(), 20)
    assert process.returncode == 0, said.decode()


async def _commit_half_a_week(stack: Stack, path: str) -> None:
    """Promise half of what is available of the line's last week of the horizon."""
    scopes = ("--scope", "capacity:read", "--scope", "admin")
    key = stack.aurelian("keys", "create", "--owner", "pilot-a", "--name", "orders", *scopes)
    async with httpx.AsyncClient(
        base_url=stack.service_url("capacity.api"),
        timeout=20,
        headers={"authorization": f"Bearer {key}"},
    ) as api:
        answer = await api.get("/capacity/v1/operations-capabilities", params={"line": path})
        assert answer.status_code == 200, answer.text
        week = answer.json()[-1]
        (available,) = (
            each["quantity"]
            for each in week["quantities"]
            if each["capability_type"] == "Available"
        )
        order = {
            "line": path,
            "week": week["week_start"],
            "quantity": round(available / 2),
            "reference": "order of the test",
        }
        made = await api.post("/capacity/v1/commitments", json=order)
        assert made.status_code == 201, made.text


async def _newest_number(partner: httpx.AsyncClient) -> int:
    number = 0
    while True:
        page = (
            await partner.get("/events/v1/events", params={"after": number, "limit": 1000})
        ).json()
        if not page["events"]:
            return number
        number = page["next"]


async def _events(
    partner: httpx.AsyncClient, after: int, type: str, subject: str
) -> list[dict[str, object]]:
    found = []
    while True:
        page = (
            await partner.get("/events/v1/events", params={"after": after, "limit": 1000})
        ).json()
        if not page["events"]:
            return found
        found += [
            each for each in page["events"] if each["type"] == type and each["subject"] == subject
        ]
        after = page["next"]
