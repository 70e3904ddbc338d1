"""maintenance and capacity on a real broker and a real database: events and rows out, APIs that
keep owners apart."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import numpy as np
import psycopg
from fastapi import FastAPI
from pydantic import SecretStr

import capacity.processor
import maintenance.processor
from aurelian.access.keys import create_key, make_pepper
from aurelian.backbone.client import Consumer, Producer
from aurelian.backbone.topics import (
    ASSETS,
    CAPACITY_EVENTS,
    LINE_EVENTS,
    SAMPLES,
    Topic,
    create_topics,
)
from aurelian.db.engine import as_role
from aurelian.db.logs import declare_log
from aurelian.events import cloudevent as events
from aurelian.events import schemas
from aurelian.events.cloudevent import Event, encode_event, make_event
from aurelian.model import codec
from aurelian.model.calendar import start_of_week
from aurelian.model.plant import Line
from aurelian.model.plant_file import load_plant
from aurelian.model.sample import Sample, Signal, ValueType, make_batch
from aurelian.runtime.health import Health
from aurelian.runtime.settings import KafkaSettings
from capacity.api.app import make_app as make_capacity_app
from capacity.settings import CapacityApiSettings, CapacitySettings
from maintenance.api.app import make_app as make_maintenance_app
from maintenance.settings import MaintenanceApiSettings, MaintenanceSettings
from tests import servers
from tests.waiting import until

PLANT = load_plant(
    Path(__file__).parents[3] / "services" / "pilot_factory" / "plants" / "pilot-a.yaml"
)
LINE = next(PLANT.lines())


async def test_a_worn_machine_becomes_a_case_that_costs_capacity_and_only_its_owner_sees_it(
    database_url: str, tmp_path: Path
) -> None:
    declare_log(database_url, "log-1")
    pepper_file = tmp_path / "pepper"
    pepper = make_pepper(pepper_file)
    with servers.kafka_broker() as broker:
        await create_topics(broker.bootstrap)
        kafka = KafkaSettings(kafka_bootstrap=broker.bootstrap)
        async with Producer(kafka, "test") as producer, _workers(database_url, broker.bootstrap):
            for asset in PLANT.assets():
                await producer.send(ASSETS, asset.id, asset.encode())
            await _send_line_event(producer, "running", datetime.now(UTC) - timedelta(minutes=30))
            await _send_samples(producer, LINE)

            def case_open() -> bool:
                with psycopg.connect(database_url) as conn:
                    return (
                        conn.execute(
                            "SELECT 1 FROM maintenance.case WHERE closed_at IS NULL"
                        ).fetchone()
                        is not None
                    )

            await until(case_open, "an open case", 40)
            estimates = [
                e async for e in _read(kafka, CAPACITY_EVENTS, lambda found: _costs_a_week(found))
            ]
            assert {e.owner for e in estimates} == {"pilot-a"}
        url = SecretStr(as_role(database_url, "capacity"))
        capacity_app = make_capacity_app(
            CapacityApiSettings(database_url=url, key_pepper_file=pepper_file), Health("c")
        )
        url = SecretStr(as_role(database_url, "maintenance"))
        maintenance_app = make_maintenance_app(
            MaintenanceApiSettings(database_url=url, key_pepper_file=pepper_file), Health("m")
        )
        _name_assets(database_url)
        scopes = ["capacity:read", "maintenance:read", "admin"]
        keys = {
            o: create_key(database_url, owner=o, name="t", scopes=scopes, pepper=pepper)
            for o in ("pilot-a", "pilot-b")
        }
        async with _client(maintenance_app) as api:
            mine = await api.get(
                "/maintenance/v1/cases", headers=_bearer(keys["pilot-a"]), params={"open": True}
            )
            assert mine.status_code == 200, mine.text
            assert mine.json()[0]["path"] == LINE.units[1].path
            assert mine.json()[0]["drivers"][0]["path"].endswith("vibration")
            health = (
                await api.get("/maintenance/v1/health", headers=_bearer(keys["pilot-a"]))
            ).json()
            history = await api.get(
                f"/maintenance/v1/health/{health[0]['asset']}/history",
                headers=_bearer(keys["pilot-a"]),
            )
            assert history.json()
            for path in ("cases", "health", f"health/{health[0]['asset']}/history"):
                assert (
                    await api.get(f"/maintenance/v1/{path}", headers=_bearer(keys["pilot-b"]))
                ).json() == []
                assert (await api.get(f"/maintenance/v1/{path}")).status_code == 401
        async with _client(capacity_app) as api:
            await _check_capacity_api(api, keys)


async def _check_capacity_api(api: httpx.AsyncClient, keys: dict[str, str]) -> None:
    path = "/capacity/v1/operations-capabilities"
    weeks = (
        await api.get(path, headers=_bearer(keys["pilot-a"]), params={"line": LINE.path})
    ).json()
    assert len(weeks) == 8
    for week in weeks:
        quantity = {q["capability_type"]: q["quantity"] for q in week["quantities"]}
        parts = quantity["Available"] + quantity["Committed"] + quantity["Unattainable"]
        assert abs(quantity["Total"] - parts) < 0.01
    assert (await api.get(path, headers=_bearer(keys["pilot-b"]))).json() == []
    assert (await api.get(path, params={"line": LINE.path})).status_code == 401
    monday = start_of_week(datetime.now(UTC), PLANT.zone)
    order = {"line": LINE.path, "week": monday.isoformat(), "quantity": 10, "reference": "order 1"}
    foreign = await api.post(
        "/capacity/v1/commitments", json=order, headers=_bearer(keys["pilot-b"])
    )
    assert foreign.status_code == 404, "another company's line is as good as none"
    assert (
        await api.post("/capacity/v1/commitments", json=order, headers=_bearer(keys["pilot-a"]))
    ).status_code == 201
    tuesday = {**order, "week": (monday + timedelta(days=1)).isoformat()}
    refused = await api.post(
        "/capacity/v1/commitments", json=tuesday, headers=_bearer(keys["pilot-a"])
    )
    assert refused.status_code == 422
    assert "is no Monday" in refused.text
    assert refused.headers["content-type"] == "application/problem+json"


async def _send_samples(producer: Producer, line: Line) -> None:
    """Eight minutes of one machine, its bearing worn in the last three, ending now; then its last
    second goes on."""
    unit = line.units[1]
    chosen = {s.path.rpartition("/")[2]: s for s in unit.signals()}
    state, vibration = chosen["state"], chosen["vibration"]
    rng = np.random.default_rng(1)
    start = time.time_ns() // 1000 - 480_000_000
    futures = []
    for second in range(480):
        level = 2.0 if second < 300 else 12.0
        samples = _second(
            state,
            vibration,
            level + 0.05 * float(rng.standard_normal()),
            start + second * 1_000_000,
        )
        batch = make_batch(
            samples, owner="pilot-a", gateway="g", boot=1, sequence=second + 1, line=line.path
        )
        futures.append(await producer.post(SAMPLES, line.path, codec.encode(batch)))
    await producer.settle(futures)


def _second(state: Signal, vibration: Signal, level: float, time_us: int) -> list[Sample]:
    return [
        Sample(state, 6, ValueType.INT64, time_us, time_us),
        Sample(vibration, level, ValueType.DOUBLE, time_us, time_us),
    ]


async def _send_line_event(producer: Producer, state: str, since: datetime) -> None:
    data: dict[str, object] = {
        "line": LINE.path,
        "state": state,
        "previous": None,
        "unit": None,
        "reason": "",
        "since": since.isoformat(),
    }
    event = make_event(
        schemas.LINE_STATE_CHANGED,
        source="/test",
        subject=LINE.id,
        owner="pilot-a",
        time=since,
        data=data,
    )
    await producer.send(LINE_EVENTS, LINE.path, encode_event(event).encode())


def _costs_a_week(found: Event) -> bool:
    reasons = found.data["reasons"]
    return isinstance(reasons, list) and any(
        reason["reason"] == "maintenance" for reason in reasons
    )


async def _read(
    kafka: KafkaSettings, topic: Topic, until_found: Callable[[Event], bool]
) -> AsyncIterator[Event]:
    async with asyncio.timeout(30), Consumer(kafka, [topic], client_id="test-reader") as consumer:
        while True:
            for record in await consumer.take():
                event = events.decode_event(record.value or b"")
                yield event
                if until_found(event):
                    return


@contextlib.asynccontextmanager
async def _workers(database_url: str, bootstrap: str) -> AsyncIterator[None]:
    runs: list[Awaitable[None]] = []
    for name, settings, run in (
        ("maintenance", MaintenanceSettings, maintenance.processor.run),
        ("capacity", CapacitySettings, capacity.processor.run),
    ):
        chosen = settings(
            kafka_bootstrap=bootstrap,
            database_url=SecretStr(as_role(database_url, name)),
            **({"case_opens_after_s": 1.0} if name == "maintenance" else {}),
        )
        runs.append(run(chosen, Health(name)))  # type: ignore[arg-type]
    tasks = [asyncio.ensure_future(run) for run in runs]
    try:
        yield
        assert not any(task.done() for task in tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _name_assets(database_url: str) -> None:
    """The historian's part: the APIs look paths up in its table."""
    with psycopg.connect(database_url) as conn:
        for asset in PLANT.assets():
            conn.execute(
                "INSERT INTO historian.asset (id, owner, parent, level, name, path, meaning, "
                "changed_at)"
                " VALUES (%s, %s, %s, %s, %s, %s, '{}', now())",
                (asset.id, asset.owner, asset.parent, asset.level, asset.name, asset.path),
            )


@contextlib.asynccontextmanager
async def _client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with app.router.lifespan_context(app):
        async with httpx.AsyncClient(
            transport=httpx.ASGITransport(app), base_url="http://test"
        ) as client:
            yield client


def _bearer(key: str) -> dict[str, str]:
    return {"authorization": f"Bearer {key}"}
