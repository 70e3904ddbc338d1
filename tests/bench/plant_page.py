"""`plant_page_1000`: median milliseconds for which one view of the plant page with 1,000 machines
holds the dashboard's event loop; beside it 100 and 300 machines.

The real app answers a real request (`GET /`) with its middleware, route, template and headers; the
picture in it is `tests.large_plant`: shuffled states, signals in the counts of the pilot plant,
values report-by-exception. Between two views a tenth of the signals has new values, a tenth of the
lines one more part, and one line in a hundred another state, as in a few seconds of work;
`all_changed_ms` is a view for which every line has changed. Nothing in a view waits, so the
thread's CPU time is what the loop is held for, whatever else runs on the machine.
"""

from __future__ import annotations

import asyncio
import gc
import random
import resource
import statistics
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from fastapi import FastAPI
from pydantic import SecretStr
from starlette.types import Message, Scope

from aurelian.runtime.health import Health
from dashboard.app import make_app
from dashboard.companies import Pictures
from dashboard.gate import Visitor
from dashboard.hub import Hub
from dashboard.live import LivePlant
from dashboard.settings import DashboardSettings
from tests.large_plant import make_live_plant

SIZES = (100, 300, 1000)
VIEWS = 15
MADE_SHARE, STATE_SHARE = 0.1, 0.01
"""Of signals with a new value and of lines with one more part, and of lines in another state, since
the view before."""


def run() -> Iterator[dict[str, object]]:
    """Yield the one result."""
    cpu = time.process_time()
    found = {machines: asyncio.run(_measure(machines)) for machines in SIZES}
    ms = {machines: each[0] for machines, each in found.items()}
    _, all_changed_ms, page_bytes, snapshot_ms, signals = found[1000]
    yield {
        "bench": "plant_page_1000",
        "value": round(ms[1000], 1),
        "unit": f"ms of the event loop ({', '.join(f'{n}: {v:.1f}' for n, v in ms.items())})",
        "peer": None,
        "ratio": None,
        "target": 50,
        "cpu_s": round(time.process_time() - cpu, 2),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
        "samples": VIEWS * len(SIZES),
        "all_changed_ms": round(all_changed_ms, 1),
        "page_kb": round(page_bytes / 1024),
        "snapshot_ms": round(snapshot_ms, 1),
        "signals": signals,
    }


async def _measure(machines: int) -> tuple[float, float, int, float, int]:
    """Median ms of the page, of one with every tile drawn anew, its bytes, median ms of a whole
    snapshot, number of signals."""
    now_ms = time.time_ns() // 1_000_000
    plant = make_live_plant(machines, now_ms)
    app = _make_app()
    pictures = Pictures(lambda: plant)
    app.state.companies.replace(pictures)
    app.state.gate = _OpenGate(app.state.companies.hub_of("bench"))
    hub: Hub = app.state.companies.hub_of("bench")
    random_ = random.Random(machines)
    pages, redrawn, snapshots, size = [], [], [], 0
    for _ in range(VIEWS):
        _change(hub, plant, random_)
        gc.collect()
        started = time.thread_time()
        status, size = await _get(app, "/")
        pages.append(time.thread_time() - started)
        assert status == 200 and size > machines * 100
        _change(hub, plant, random_)
        client = hub.join()
        started = time.thread_time()
        assert hub.take(client, now_ms)
        snapshots.append(time.thread_time() - started)
        hub.leave(client)
    for _ in range(VIEWS):
        _change(hub, plant, random_, made=1.0, states=1.0)
        gc.collect()
        started = time.thread_time()
        await _get(app, "/")
        redrawn.append(time.thread_time() - started)
    return (
        1000 * statistics.median(pages),
        1000 * statistics.median(redrawn),
        size,
        1000 * statistics.median(snapshots),
        len(plant.signals),
    )


def _change(
    hub: Hub,
    plant: LivePlant,
    random_: random.Random,
    made: float = MADE_SHARE,
    states: float = STATE_SHARE,
) -> None:
    """Some seconds of work: new values and signs of life; a share of the lines `made` one more good
    part, a share of them is in another state."""
    now_ms = time.time_ns() // 1_000_000
    signals = list(plant.signals.values())
    for signal in random_.sample(signals, int(len(signals) * MADE_SHARE)):
        plant.put_value(
            signal.id,
            signal.value,
            status=0,
            flags=0,
            time_us=now_ms * 1000,
            gateway_time_us=now_ms * 1000,
        )
        plant.presence.mark_heard(signal.asset, now_ms * 1000, now_ms)
    lines = list(plant.findings.lines.values())
    for line in random_.sample(lines, round(len(lines) * made)):
        assert line.kpi is not None
        hub.publish(plant.findings.put_kpi({**line.kpi, "good": line.kpi["good"] + 1}))
    for line in random_.sample(lines, round(len(lines) * states)):
        assert line.state is not None
        hub.publish(plant.findings.put_state({**line.state, "since": now_ms}))
    hub.tick()


def _make_app() -> FastAPI:
    """The dashboard's app; its feed does not run, its database is never asked."""
    settings = DashboardSettings(
        database_url=SecretStr("postgresql://nobody@127.0.0.1:9/none"),
        kafka_bootstrap="127.0.0.1:9",
        key_pepper_file=Path(__file__),  # any file of that length: no key is checked
    )
    return make_app(settings, Health("dashboard"))


@dataclass
class _OpenGate:
    """Lets everybody in: the database that knows the keys is not there."""

    hub: Hub

    async def enter(self, key: str) -> Visitor:
        """The one company's pages."""
        return Visitor(key, "bench", self.hub)


async def _get(app: FastAPI, path: str) -> tuple[int, int]:
    """Ask the app as its server does; the status and the number of bytes of the answer."""
    scope: Scope = {
        "type": "http",
        "asgi": {"version": "3.0"},
        "http_version": "1.1",
        "method": "GET",
        "scheme": "http",
        "path": path,
        "raw_path": path.encode(),
        "query_string": b"",
        "root_path": "",
        "headers": [(b"host", b"127.0.0.1:8080")],
        "client": ("127.0.0.1", 50000),
        "server": ("127.0.0.1", 8080),
    }
    status = size = 0

    async def receive() -> Message:
        return {"type": "http.request", "body": b"", "more_body": False}

    async def send(message: Message) -> None:
        nonlocal status, size
        status = message.get("status", status)
        size += len(message.get("body", b""))

    await app(scope, receive, send)
    return status, size
