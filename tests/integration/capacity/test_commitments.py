"""Commitments through the API on a real database: recorded once, listed, changed, withdrawn, within
bounds, and what is left of the running week against SQL of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import httpx
import psycopg
import pytest
from pydantic import SecretStr

from aurelian.access.keys import create_key, make_pepper
from aurelian.db.engine import as_role
from aurelian.model.calendar import start_of_week
from aurelian.runtime.health import Health
from capacity.api.app import make_app
from capacity.settings import CapacityApiSettings
from tests.unit.capacity.test_lines import LINE

PATH = "/capacity/v1/commitments"
MONDAY = start_of_week(datetime.now(UTC), ZoneInfo("Europe/Oslo"))
ORDER = {
    "line": LINE["path"],
    "week": (MONDAY + timedelta(weeks=1)).isoformat(),
    "quantity": 100,
    "reference": "order 1",
}


@contextlib.asynccontextmanager
async def _apis(database_url: str, folder: Path) -> AsyncIterator[list[httpx.AsyncClient]]:
    """Clients of the owner of the line, and of another company."""
    pepper_file = folder / "pepper"
    pepper = make_pepper(pepper_file)
    with psycopg.connect(database_url) as conn:
        conn.execute(
            "INSERT INTO historian.asset"
            " (id, owner, parent, level, name, path, meaning, changed_at)"
            " VALUES ('line-1', 'c', NULL, 'line', 'line-1', %s, %s, now())",
            (LINE["path"], json.dumps(LINE["meaning"])),
        )
    app = make_app(
        CapacityApiSettings(
            database_url=SecretStr(as_role(database_url, "capacity")), key_pepper_file=pepper_file
        ),
        Health("capacity"),
    )
    scopes = ["capacity:read", "admin"]
    async with app.router.lifespan_context(app), contextlib.AsyncExitStack() as stack:
        clients = []
        for owner in ("c", "other"):
            key = create_key(database_url, owner=owner, name="t", scopes=scopes, pepper=pepper)
            client = httpx.AsyncClient(
                transport=httpx.ASGITransport(app),
                base_url="http://test",
                headers={"authorization": f"Bearer {key}"},
            )
            clients.append(await stack.enter_async_context(client))
        yield clients


async def test_a_retry_is_committed_once(database_url: str, tmp_path: Path) -> None:
    async with _apis(database_url, tmp_path) as (api, _):
        key = {"Idempotency-Key": "k1"}
        both = await asyncio.gather(*(api.post(PATH, json=ORDER, headers=key) for _ in range(5)))
        assert sorted(each.status_code for each in both) == [200] * 4 + [201]
        assert len({each.json()["id"] for each in both}) == 1
        # without a key, and with a new one: the reference says that it is the same
        plain = await asyncio.gather(*(api.post(PATH, json=ORDER) for _ in range(5)))
        new_key = await api.post(PATH, json=ORDER, headers={"Idempotency-Key": "k2"})
        assert {each.status_code for each in [*plain, new_key]} == {200}
        assert len((await api.get(PATH)).json()) == 1
        reused = await api.post(PATH, json={**ORDER, "quantity": 7}, headers=key)
        assert reused.status_code == 422
        assert "used for another request" in reused.json()["detail"]
        taken = await api.post(PATH, json={**ORDER, "quantity": 7})
        assert taken.status_code == 409
        assert taken.json()["commitment"] == both[0].json()["id"]


@pytest.mark.parametrize(
    ("change", "word"),
    [
        ({"week": "2020-01-06"}, "is over"),
        ({"week": (MONDAY - timedelta(weeks=1)).isoformat()}, "is over"),
        ({"week": "2031-01-06"}, "beyond the 8 weeks"),
        ({"week": (MONDAY + timedelta(weeks=8)).isoformat()}, "beyond the 8 weeks"),
        ({"week": (MONDAY + timedelta(days=1)).isoformat()}, "is no Monday"),
        ({"quantity": 0}, "greater than 0"),
        ({"quantity": -5}, "greater than 0"),
        ({"quantity": "NaN"}, "finite"),
        ({"quantity": 60_841}, "more than the line can make"),
        ({"reference": ""}, "at least 1"),
        ({"reference": "a\u0000b"}, "reference"),
        ({"reference": "x" * 201}, "at most 200"),
        ({"pieces": 4}, "not permitted"),
    ],
)
async def test_what_is_out_of_bounds_is_refused_with_its_field(
    database_url: str, tmp_path: Path, change: dict[str, object], word: str
) -> None:
    async with _apis(database_url, tmp_path) as (api, _):
        answer = await api.post(PATH, json={**ORDER, **change})
        assert answer.status_code == 422
        assert answer.headers["content-type"] == "application/problem+json"
        assert word in answer.json()["detail"]
        assert answer.json()["errors"][0]["field"].rpartition(".")[2] == next(iter(change))


async def test_a_commitment_is_listed_changed_and_withdrawn_by_its_owner_alone(
    database_url: str, tmp_path: Path
) -> None:
    async with _apis(database_url, tmp_path) as (api, other):
        first_and_last = [MONDAY, MONDAY + timedelta(weeks=7)]
        for number, week in enumerate(first_and_last):
            order = {**ORDER, "week": week.isoformat(), "reference": f"r{number}"}
            assert (await api.post(PATH, json=order)).status_code == 201
        listed = (await api.get(PATH, params={"line": str(LINE["path"])})).json()
        assert [each["reference"] for each in listed] == ["r0", "r1"]
        later = {"from": (MONDAY + timedelta(weeks=1)).isoformat()}
        assert [e["reference"] for e in (await api.get(PATH, params=later)).json()] == ["r1"]
        one = f"{PATH}/{listed[1]['id']}"
        assert (await other.get(PATH)).json() == []
        assert (await other.patch(one, json={"quantity": 5})).status_code == 404
        assert (await other.delete(one)).status_code == 404
        changed = await api.patch(one, json={"quantity": 5})
        assert changed.json()["quantity"] == 5
        assert changed.json()["changed_at"]
        assert (await api.patch(one, json={"week": "2031-01-06"})).status_code == 422
        for _ in range(2):
            assert (await api.delete(one)).json()["withdrawn_at"]
        assert (await api.patch(one, json={"quantity": 6})).status_code == 409
        assert [each["reference"] for each in (await api.get(PATH)).json()] == ["r0"]
        assert len((await api.get(PATH, params={"withdrawn": True})).json()) == 2
        again = await api.post(PATH, json={**ORDER, "reference": "r1"})
        assert again.status_code == 201, "the reference of a withdrawn one is free"
        with psycopg.connect(database_url) as conn:
            conn.execute("UPDATE capacity.commitment SET week = '2026-01-05'")
        assert (await api.delete(f"{PATH}/{listed[0]['id']}")).status_code == 409


async def test_what_the_database_cannot_hold_is_refused_and_no_fault_of_the_server(
    database_url: str, tmp_path: Path
) -> None:
    async with _apis(database_url, tmp_path) as (api, _):
        estimates = "/capacity/v1/operations-capabilities"
        for answer in (
            await api.get(PATH, params={"line": "a\0b"}),
            await api.get(PATH, params={"reference": "\0"}),
            await api.get(estimates, params={"line": "\0"}),
            await api.post(PATH, json={**ORDER, "line": "a\0b"}),
        ):
            assert answer.status_code == 422, answer.text
            assert answer.headers["content-type"] == "application/problem+json"
        assert (await api.get(estimates, params={"from": "9999-12-31"})).json() == []
