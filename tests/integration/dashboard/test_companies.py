"""Two companies on one dashboard: no page, part, snapshot, stream or forwarded request shows one
what is the other's."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from tempfile import TemporaryDirectory

import httpx
import pytest
from fastapi.routing import APIRoute

from aurelian.access.keys import revoke_key
from aurelian.backbone.topics import ASSETS
from aurelian.model.plant import Plant
from aurelian.model.sample import ValueType
from aurelian.runtime.health import Health
from dashboard.app import make_app
from dashboard.settings import DashboardSettings
from tests import dashboard_stack, servers
from tests.waiting import until

OPEN = {"/display-tables.js", "/enter"}
"""Routes that hold nothing of any company."""


@pytest.fixture(scope="module")
def stack(
    postgres: servers.PostgresServer, migrated_template: str
) -> Iterator[dashboard_stack.DashboardStack]:
    with dashboard_stack.running_dashboard(postgres, migrated_template) as opened:
        yield opened


def marks(plant: Plant) -> set[str]:
    """Words by which a plant's data are known: ids, paths, names."""
    found = {plant.owner, plant.company.name, plant.path}
    for line in plant.lines():
        found |= {line.id, line.path}
        for unit in line.units:
            found |= {unit.id, unit.path, unit.source, *(s.id for s in unit.signals())}
    return found


def paths(plant: Plant) -> list[str]:
    """Every GET route of the pages, filled with what is a plant's."""
    line = next(plant.lines())
    signal = next(line.constraint.signals())
    filled = []
    for path in sorted(_routes()):
        for part in ("timeline", "stops") if "{part}" in path else ("",):
            filled.append(
                path.replace("{part}", part)
                .replace("{line}", line.id)
                .replace("{signal}", signal.id)
            )
    assert len(filled) >= 8
    return [*filled, f"/parts/alarms?line={line.id}"]


def _routes() -> set[str]:
    with TemporaryDirectory() as folder:
        pepper = Path(folder) / "pepper"
        pepper.write_bytes(bytes(32))
        app = make_app(DashboardSettings(key_pepper_file=pepper), Health("test"))
    return {
        route.path
        for route in _all(app.router.routes)
        if "GET" in (route.methods or ())
        and route.path not in OPEN | {"/stream"}
        and "{rest:path}" not in route.path
    }


def _all(routes: list[object]) -> Iterator[APIRoute]:
    for route in routes:
        if isinstance(route, APIRoute):
            yield route
        else:
            yield from _all(getattr(getattr(route, "original_router", None), "routes", []))


async def test_no_page_shows_what_another_company_has(
    stack: dashboard_stack.DashboardStack,
) -> None:
    for mine, other in (stack.plants, reversed(stack.plants)):
        headers = stack.headers_of(mine.owner)
        async with httpx.AsyncClient(base_url=stack.dashboard.url, headers=headers) as client:
            for path in paths(mine):
                answer = await client.get(path)
                assert answer.status_code == 200, path
                shown = {mark for mark in marks(other) if mark in answer.text}
                assert not shown, (path, shown)
            for path in paths(other):
                answer = await client.get(path)
                shown = {mark for mark in marks(other) if mark in answer.text}
                assert not shown, (path, shown)
                if any(mark in path for mark in marks(other)):
                    assert answer.status_code == 404, path


async def test_no_stream_carries_what_another_company_has(
    stack: dashboard_stack.DashboardStack,
) -> None:
    mine, other = stack.plants
    lines = {plant.owner: next(plant.lines()) for plant in stack.plants}
    got: list[str] = []
    async with (
        httpx.AsyncClient(base_url=stack.dashboard.url, timeout=20) as client,
        client.stream("GET", "/stream", headers=stack.headers) as answer,
        stack.open_plant() as traffic,
    ):
        reading = answer.aiter_lines()
        async for line in reading:
            got.append(line)
            if line.startswith("data:"):
                break
        for plant in (other, mine):
            at = lines[plant.owner]
            signal = next(s for s in at.constraint.signals() if s.type is ValueType.DOUBLE)
            await traffic.die(plant, at.constraint.source, "gone", [at.constraint.id])
            await traffic.send_values(at, [(signal, 815.5, ValueType.DOUBLE, 0)])
        async with asyncio.timeout(15):
            async for line in reading:
                got.append(line)
                if "815.5" in line:
                    break
    text = "\n".join(got)
    assert next(iter(lines.values())).constraint.id in text
    assert not {mark for mark in marks(other) if mark in text}


async def test_nobody_renames_what_another_company_has(
    stack: dashboard_stack.DashboardStack,
) -> None:
    mine, other = stack.plants
    line = next(mine.lines())
    asset = next(each for each in mine.assets() if each.id == line.id)
    taken = {"owner": other.owner, "meaning": {**asset.meaning, "title": "Taken over"}}
    claimed = replace(asset, **taken, path=f"{other.owner}/{asset.path.partition('/')[2]}")
    unlikely = replace(asset, **taken)
    async with stack.open_plant() as traffic:
        await traffic.producer.send(ASSETS, claimed.id, claimed.encode())
        await traffic.producer.send(ASSETS, claimed.id, unlikely.encode())
        own = replace(asset, meaning={**asset.meaning, "title": "Renamed by its owner"})
        await traffic.producer.send(ASSETS, own.id, own.encode())
    async with httpx.AsyncClient(base_url=stack.dashboard.url) as client:

        async def renamed() -> bool:
            page = await client.get(f"/lines/{line.id}", headers=stack.headers)
            assert "Taken over" not in page.text
            return "Renamed by its owner" in page.text

        await until(renamed, "the owner's own change")
        page = await client.get("/", headers=stack.headers_of(other.owner))
        assert "Taken over" not in page.text
        metrics = await client.get(f"{stack.dashboard.ops_url}/metrics")
        assert "dashboard_foreign_assets_total 1.0" in metrics.text


@pytest.mark.parametrize("owner", ["*", "unknown"])
async def test_a_key_that_opens_no_company_shows_the_entry_page_everywhere(
    stack: dashboard_stack.DashboardStack, owner: str
) -> None:
    headers = stack.headers_of(owner) if owner in stack.keys else {"authorization": "Bearer x"}
    async with httpx.AsyncClient(base_url=stack.dashboard.url, headers=headers) as client:
        for path in [*paths(stack.plants[0]), "/stream", "/history/v1/rejected"]:
            answer = await client.get(path)
            assert answer.status_code == 401, path
            for plant in stack.plants:
                assert not {mark for mark in marks(plant) if mark in answer.text}


async def test_a_company_without_machines_sees_none(stack: dashboard_stack.DashboardStack) -> None:
    headers = stack.headers_of("nobody")
    async with httpx.AsyncClient(base_url=stack.dashboard.url, headers=headers) as client:
        page = await client.get("/")
        assert page.status_code == 200 and "No machine has reported yet" in page.text
        assert json.loads((await client.get("/snapshot")).text)["units"] == {}


async def test_a_link_with_a_key_opens_the_pages_and_leaves_no_key_in_the_address(
    stack: dashboard_stack.DashboardStack,
) -> None:
    mine, other = stack.plants
    line = next(mine.lines())
    async with httpx.AsyncClient(base_url=stack.dashboard.url) as client:
        assert (await client.get("/")).status_code == 401
        path = f"/lines/{line.id}"
        answer = await client.get(path, params={"key": stack.keys[mine.owner], "theme": "dark"})
        assert (answer.status_code, answer.headers["location"]) == (303, f"{path}?theme=dark")
        cookie = answer.headers["set-cookie"]
        assert "HttpOnly" in cookie and "SameSite=strict" in cookie
        assert line.id in (await client.get(path)).text
        # The entry page changes the company; another site may not.
        body = {"key": stack.keys[other.owner]}
        crossed = await client.post("/enter", data=body, headers={"sec-fetch-site": "cross-site"})
        assert crossed.status_code == 401
        assert (await client.get(path)).status_code == 200
        assert (await client.post("/enter", data=body)).status_code == 303
        assert (await client.get(path)).status_code == 404
        wrong = await client.get("/", params={"key": "ak_0000000000000000." + "x" * 43})
        assert wrong.status_code == 401 and "wrong, expired or revoked" in wrong.text


async def test_a_stream_of_another_company_is_refused_to_an_old_page(
    stack: dashboard_stack.DashboardStack,
) -> None:
    async with httpx.AsyncClient(base_url=stack.dashboard.url, headers=stack.headers) as client:
        answer = await client.get("/stream", params={"owner": stack.plants[1].owner})
        assert answer.status_code == 403


async def test_a_revoked_key_opens_nothing(stack: dashboard_stack.DashboardStack) -> None:
    async with httpx.AsyncClient(base_url=stack.dashboard.url) as client:
        headers = stack.headers_of("nobody")
        assert (await client.get("/", headers=headers)).status_code == 200
        assert await asyncio.to_thread(revoke_key, stack.database_url, stack.keys["nobody"])

        async def refused() -> bool:
            return (await client.get("/", headers=headers)).status_code == 401

        await until(refused, "the end of the key")
