"""line_health with a real broker and a real database: from a batch on Kafka to its rows and its
events on Kafka."""

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from typing import Any

import psycopg
import pytest
from psycopg.rows import dict_row
from pydantic import SecretStr

from aurelian.backbone.client import Consumer, Producer
from aurelian.backbone.topics import (
    ASSETS,
    FIGURES,
    LINE_EVENTS,
    SAMPLES,
    SOURCE_EVENTS,
    create_topics,
)
from aurelian.db.engine import as_role
from aurelian.db.logs import declare_log
from aurelian.events.cloudevent import decode_event
from aurelian.model import codec
from aurelian.model.plant import Plant
from aurelian.model.sample import Sample, Signal, Value, ValueType, make_batch
from aurelian.runtime.health import Health
from line_health.line_status import LineStatus
from line_health.settings import LineHealthSettings
from line_health.writer import run
from tests.linerig import LINE, SOURCE, make_plant
from tests.servers import kafka_broker
from tests.waiting import until


class Stage:
    """A broker and a database of the test's own, a plant, and a gateway that is this test."""

    def __init__(self, url: str, bootstrap: str) -> None:
        self.url, self.bootstrap = url, bootstrap
        week = ["mon", "tue", "wed", "thu", "fri", "sat", "sun"]
        always = [{"name": "all", "start": "00:00", "end": "00:00", "days": week}]
        self.plant: Plant = make_plant(
            always, {"high": 80, "deadband": 2, "priority": "high", "action": "Look."}, "UTC"
        )
        self.signals: dict[str, Signal] = {
            s.path.removeprefix(LINE + "/"): s
            for unit in self.plant.units()
            for s in unit.signals()
        }
        self.settings = LineHealthSettings(
            kafka_bootstrap=bootstrap,
            database_url=SecretStr(as_role(url, "line_health")),
            commit_interval_s=0.05,
            fold_exclusive=True,
        )
        self.sequence = 0
        self.producer = Producer(self.settings, "test")

    async def send_assets(self) -> None:
        for asset in self.plant.assets():
            await self.producer.send(ASSETS, asset.id, asset.encode())

    async def send(self, **values: Value) -> datetime:
        """Send values of now, in one batch; return their time. `mill__state=6` is the signal
        mill/state."""
        self.sequence += 1
        now = time.time_ns() // 1000
        kinds = {int: ValueType.INT64, float: ValueType.DOUBLE}
        samples = [
            Sample(self.signals[name.replace("__", "/")], value, kinds[type(value)], now, now)  # type: ignore[index]
            for name, value in values.items()
        ]
        batch = make_batch(
            samples, owner="pilot-a", gateway="opcua-1", boot=1, sequence=self.sequence, line=LINE
        )
        await self.producer.send(SAMPLES, LINE, codec.encode(batch))
        return datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=now)

    async def send_source(self, **kind: Any) -> None:
        event = codec.SourceEvent(
            owner="pilot-a",
            gateway="opcua-1",
            boot=1,
            source=SOURCE,
            time=time.time_ns() // 1000,
            **kind,
        )
        await self.producer.send(SOURCE_EVENTS, SOURCE, codec.encode_event(event))

    def rows(self, table: str, order: str) -> list[dict[str, Any]]:
        with psycopg.connect(self.url, row_factory=dict_row) as conn:
            return conn.execute(f"SELECT * FROM line_health.{table} ORDER BY {order}").fetchall()  # type: ignore[arg-type]

    def states(self) -> list[str]:
        return [row["state"] for row in self.rows("line_state", "started_at")]

    def good(self) -> float:
        """Good pieces of the shift as the snapshot has them: the KPI row follows every ten
        seconds."""
        parts = {
            row["part"]: json.loads(row["content"])
            for row in self.rows("fold_part", "key")
            if row["key"] == LINE
        }
        status, _ = LineStatus.restore(parts)
        return 0.0 if status.shift is None else status.shift.good

    async def events(self, wanted: set[str]) -> list[dict[str, Any]]:
        """All events and readings on Kafka, once each, when `wanted` are last parts of types."""
        found: dict[str, Any] = {}
        topics = [LINE_EVENTS, FIGURES]
        async with Consumer(self.settings, topics, client_id="test") as consumer:

            async def arrived() -> bool:
                for record in await consumer.take(timeout_s=0.1):
                    event = decode_event(record.value or b"")
                    found[event.id] = event
                return wanted <= {event.type.rsplit(".", 2)[1] for event in found.values()}

            await until(arrived, f"events {wanted}")
        return [
            {"type": e.type.rsplit(".", 2)[1], "owner": e.owner, **e.data} for e in found.values()
        ]

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Health]:
        health = Health("line_health")
        task = asyncio.create_task(run(self.settings, health))
        try:
            yield health
            assert not task.done(), task
        finally:
            task.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await task


@pytest.fixture
async def stage(database_url: str) -> AsyncIterator[Stage]:
    with kafka_broker() as broker:
        await create_topics(broker.bootstrap)
        declare_log(database_url, "log-1")
        stage = Stage(database_url, broker.bootstrap)
        async with stage.producer:
            yield stage


@pytest.mark.usefixtures("quick_fold")
async def test_a_stop_becomes_rows_and_events_and_a_restart_goes_on_where_it_was(
    stage: Stage,
) -> None:
    await stage.send_assets()
    await stage.send(mill__state=6, wash__good=100, wash__scrap=0)
    async with stage.running():
        await until(lambda: stage.states() == ["running"], "running")
        stopped = await stage.send(
            mill__state=9, mill__reason=30, mill__temperature=95.0, wash__good=103
        )
        await until(lambda: stage.states() == ["running", "short_stop"], "the stop")
        events = await stage.events(
            {"state-changed", "stop-started", "alarm-raised", "kpi-updated"}
        )
    stop = next(e for e in events if e["type"] == "stop-started")
    assert (stop["reason"], stop["reason_code"], stop["owner"]) == (
        "Bearing failure",
        30,
        "pilot-a",
    )
    assert datetime.fromisoformat(stop["started_at"]) == stopped
    alarm = next(e for e in events if e["type"] == "alarm-raised")
    assert (alarm["path"], alarm["priority"], alarm["value"]) == (
        f"{LINE}/mill/temperature",
        "high",
        95.0,
    )
    (row,) = stage.rows("alarm", "raised_at")
    assert (str(row["id"]), row["cleared_at"]) == (alarm["alarm"], None)

    resumed = await stage.send(mill__state=6, wash__good=110)
    async with stage.running():
        await until(lambda: stage.states() == ["running", "short_stop", "running"], "running again")
        await stage.events({"stop-ended"})
        await until(lambda: stage.good() == 10, "the count")
    (row,) = stage.rows("stop", "started_at")
    assert (row["started_at"], row["ended_at"], row["state"]) == (stopped, resumed, "short_stop")
    states = stage.rows("line_state", "started_at")
    assert [a["ended_at"] for a in states[:-1]] == [b["started_at"] for b in states[1:]]


async def test_a_source_that_dies_makes_no_data_at_once_and_a_heartbeat_ends_it(
    stage: Stage,
) -> None:
    await stage.send_assets()
    await stage.send(mill__state=6)
    async with stage.running() as health:
        await until(lambda: stage.states() == ["running"] and health.ready is None, "running")
        await stage.send_source(death=codec.Death(reason="cable"))
        began = time.monotonic()
        await until(lambda: stage.states()[-1] == "no_data", "no_data")
        assert time.monotonic() - began < 4
        await stage.send_source(heartbeat=codec.Heartbeat(heard_at=time.time_ns() // 1000))
        await until(lambda: stage.states()[-1] == "running", "running again")
    assert stage.states() == ["running", "no_data", "running"]


@pytest.mark.usefixtures("quick_fold")
async def test_a_new_log_with_the_same_batches_changes_nothing(stage: Stage) -> None:
    await stage.send_assets()
    await stage.send(mill__state=6, wash__good=100)
    await stage.send(mill__state=9, wash__good=105)
    async with stage.running():
        await until(lambda: stage.states() == ["running", "short_stop"], "the stop")
        before = stage.rows("line_state", "started_at")
        declare_log(stage.url, "log-2")
        await stage.send(wash__good=107)
        await until(
            lambda: any(
                row["log_id"] == "log-2" and row["next_offset"] == 3
                for row in stage.rows("kafka_offset", "log_id")
            ),
            "the new log to be read",
            20,
        )
        await until(lambda: stage.good() == 7, "the count")
    assert stage.rows("line_state", "started_at")[:2] == before
    assert len(stage.rows("stop", "started_at")) == 1


@pytest.mark.usefixtures("quick_fold")
async def test_unreadable_batches_do_not_stop_the_watching(stage: Stage) -> None:
    await stage.send_assets()
    await stage.producer.send(SAMPLES, "unknown/line", b"not a batch")
    await stage.producer.send(SAMPLES, LINE, b"not a batch")
    await stage.send(mill__state=6)
    async with stage.running():
        await until(lambda: stage.states() == ["running"], "running")
