"""The dashboard on a real store and a real broker, with the pilot plant, for its tests.

What the other services would have written: `dashboard_store.py` and `plant_traffic.py`.
"""

import asyncio
import contextlib
import sys
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from uuid import uuid4

import httpx

from aurelian.access.keys import create_key, make_pepper
from aurelian.backbone.client import Producer
from aurelian.backbone.topics import create_topics
from aurelian.db.engine import as_role
from aurelian.db.logs import declare_log
from aurelian.local import ports
from aurelian.local.processes import Program
from aurelian.model.plant import Line, Plant
from aurelian.model.plant_file import load_plants
from aurelian.runtime.settings import KafkaSettings
from tests import servers
from tests.dashboard_store import write_store
from tests.plant_traffic import PlantTraffic

PLANTS = Path(__file__).parent.parent / "services" / "pilot_factory" / "plants"

LIVE_S, LATE_S, OFFLINE_S, BEAT_S = 1.5, 3.0, 2.5, 0.5
"""Ages by which a test's pages judge: as in production, only sooner."""


@dataclass
class Dashboard(servers.Server):
    """The dashboard as a process of its own, on a store and a broker."""

    port: int = field(kw_only=True)
    ops_port: int = field(kw_only=True)

    @property
    def ops_url(self) -> str:
        """Base URL of its health and metrics."""
        return f"http://{ports.LOOPBACK}:{self.ops_port}"

    @property
    def url(self) -> str:
        """Base URL of its pages."""
        return f"http://{ports.LOOPBACK}:{self.port}"


@dataclass
class DashboardStack:
    """Store, broker and dashboard with the pilot plant's models in the store; nothing is sent
    yet. `keys` by company."""

    database_url: str
    kafka: servers.KafkaServer
    dashboard: Dashboard
    plants: list[Plant]
    keys: dict[str, str]

    @property
    def headers(self) -> dict[str, str]:
        """What a request brings to see the first company's pages."""
        return self.headers_of(self.plants[0].owner)

    def headers_of(self, owner: str) -> dict[str, str]:
        """What a request brings to see a company's pages."""
        return {"authorization": f"Bearer {self.keys[owner]}"}

    @property
    def line(self) -> Line:
        """The line that tests work with."""
        return next(self.plants[0].lines())

    @property
    def source(self) -> str:
        """The source that speaks for it."""
        return self.line.constraint.source

    @contextlib.asynccontextmanager
    async def open_plant(self) -> AsyncIterator[PlantTraffic]:
        """A producer for what gateways and line_health send."""
        settings = KafkaSettings(kafka_bootstrap=self.kafka.bootstrap)
        async with Producer(settings, "plant") as producer:
            yield PlantTraffic(producer)

    @contextlib.asynccontextmanager
    async def heartbeats(self) -> AsyncIterator[PlantTraffic]:
        """The same, with a heartbeat of every source until the block ends."""
        async with self.open_plant() as plant, asyncio.TaskGroup() as group:
            task = group.create_task(self._beat(plant))
            try:
                yield plant
            finally:
                task.cancel()

    async def _beat(self, traffic: PlantTraffic) -> None:
        while True:
            for plant in self.plants:
                for source in plant.sources:
                    await traffic.beat(plant, source.key)
            await asyncio.sleep(0.3)


def load() -> list[Plant]:
    """The pilot plant's models."""
    return load_plants(PLANTS)


@contextlib.contextmanager
def running_dashboard(
    postgres: servers.PostgresServer, template: str, **environment: str
) -> Iterator[DashboardStack]:
    """Set all of it up on a broker of its own (topics have fixed names) and take it down again."""
    plants = load()
    database_url = postgres.create_database(template)
    declare_log(database_url, uuid4())
    write_store(database_url, plants, datetime.now(UTC))
    with servers.kafka_broker() as kafka, servers.server_folder() as folder:
        pepper = make_pepper(folder / "pepper")
        keys = {
            owner: create_key(
                database_url, owner=owner, name="pages", scopes=["history:read"], pepper=pepper
            )
            for owner in (*{plant.owner: None for plant in plants}, "*", "nobody")
        }
        asyncio.run(create_topics(kafka.bootstrap))
        port, ops_port = ports.any_free(), ports.any_free()
        program = Program(
            "dashboard",
            (sys.executable, "-m", "dashboard"),
            folder / "dashboard.log",
            env={
                "AURELIAN_KAFKA_BOOTSTRAP": kafka.bootstrap,
                "AURELIAN_DATABASE_URL": as_role(database_url, "dashboard"),
                "AURELIAN_API_PORT": str(port),
                "AURELIAN_OPS_PORT": str(ops_port),
                "AURELIAN_KEY_PEPPER_FILE": str(folder / "pepper"),
                "AURELIAN_KAFKA_TIMEOUT_S": "1",
                "AURELIAN_LIVE_S": str(LIVE_S),
                "AURELIAN_LATE_S": str(LATE_S),
                "AURELIAN_OFFLINE_S": str(OFFLINE_S),
                "AURELIAN_BEAT_S": str(BEAT_S),
                "AURELIAN_TICK_S": "0.2",
                **environment,
            },
        )
        dashboard = Dashboard(program, lambda: is_ready(ops_port), port=port, ops_port=ops_port)
        dashboard.start()
        try:
            yield DashboardStack(database_url, kafka, dashboard, plants, keys)
        finally:
            dashboard.stop()
    postgres.drop_database(database_url)


def is_ready(port: int) -> bool:
    """True if a dashboard answers there and has its picture."""
    try:
        return httpx.get(f"http://{ports.LOOPBACK}:{port}/readyz", timeout=2).status_code == 200
    except httpx.HTTPError:
        return False
