"""Fixtures of the partner_events tests."""

import random
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import psycopg
import pytest
from pydantic import SecretStr

from aurelian.access.keys import make_pepper
from aurelian.db.engine import as_role, make_engine
from aurelian.runtime.health import Health
from partner_events.api.app import make_app
from partner_events.sender import Sender
from partner_events.settings import PartnerEventsApiSettings
from partner_events.ssrf import parse_allowed
from partner_events.webhook import make_client
from tests.builders import ManualClock
from tests.integration.partner_events.partner import (
    LOOPBACK,
    Api,
    Post,
    Receiver,
    receiving,
    serving,
)
from tests.servers import PostgresServer


@pytest.fixture(scope="module")
def module_database(postgres: PostgresServer, migrated_template: str) -> Iterator[str]:
    """One database for this file; `database_url` empties it before each test, which is faster than
    a fresh one."""
    url = postgres.create_database(migrated_template)
    yield url
    postgres.drop_database(url)


@pytest.fixture
def database_url(module_database: str) -> str:
    """An empty store, as its owner."""
    with psycopg.connect(module_database) as conn:
        rooms = (
            "schemaname = 'partner_events' OR (schemaname, tablename) IN (('platform', "
            "'grant'), ('platform', 'api_key'))"
        )
        tables = conn.execute(
            f"SELECT format('%I.%I', schemaname, tablename) FROM pg_tables WHERE {rooms}"
        ).fetchall()
        conn.execute("TRUNCATE " + ", ".join(name for (name,) in tables))
    return module_database


@pytest.fixture
async def api(database_url: str, tmp_path: Path) -> AsyncIterator[Api]:
    pepper_file = tmp_path / "pepper"
    pepper = make_pepper(pepper_file)
    settings = PartnerEventsApiSettings(
        database_url=SecretStr(as_role(database_url, "partner_events")),
        key_pepper_file=pepper_file,
        webhook_allow=LOOPBACK,
        poll_interval_s=0.2,
        max_streams=3,
    )
    async with serving(make_app(settings, Health("partner_events.api"))) as url:
        yield Api(url, database_url, pepper)


@pytest.fixture
async def receiver() -> AsyncIterator[Receiver]:
    async with receiving() as made:
        yield made


@pytest.fixture
async def post(database_url: str) -> AsyncIterator[Post]:
    engine, clock = (
        make_engine(as_role(database_url, "partner_events")),
        ManualClock(datetime.now(UTC)),
    )
    async with make_client(parse_allowed(LOOPBACK)) as client:
        yield Post(Sender(engine, client, now=clock.now, rng=random.Random(7)), clock)
    await engine.dispose()
