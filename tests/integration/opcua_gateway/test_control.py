"""The control API of a running OPC UA gateway against node-opcua: from an address to a live source,
and what nobody gets to see on the way."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import stat
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest

from aurelian.backbone.topics import create_topics
from aurelian.edge.applications import gateway_store
from aurelian.edge.control.client import ControlClient, ControlError
from aurelian.edge.gateway import run_gateway
from aurelian.model.plant_file import load_plant
from aurelian.model.plant_parts import LineState
from aurelian.runtime.health import Health
from opcua_gateway.connect.connector import OpcuaConnector
from opcua_gateway.connect.watching import looked_into
from opcua_gateway.security.endpoints import Endpoints
from opcua_gateway.settings import OpcuaGatewaySettings
from opcua_gateway.sources import make_sources
from tests.peers.node_opcua_server import NAMESPACE, node_opcua
from tests.waiting import until

PASSWORD = "open-sesame-4711"
REQUESTS = (
    ("GET", "/sources"),
    ("POST", "/ladder"),
    ("POST", "/looks"),
    ("POST", "/looks/x/plan"),
    ("POST", "/looks/x/write"),
    ("POST", "/dry-run"),
    ("GET", "/certificates"),
    ("POST", "/trust"),
    ("GET", "/nothing"),
    ("GET", "/openapi.json"),
)


class Client(ControlClient):
    """Keeps all that it was answered."""

    def __init__(self, url: str, key: str) -> None:
        super().__init__(url, key)
        self.url, self.answers = url, []  # type: tuple[str, list[str]]

    async def ask(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        try:
            found = await super().ask(method, path, body)
        except ControlError as error:
            self.answers.append(f"{error} {error.fix}")
            raise
        self.answers.append(json.dumps(found))
        return found

    async def all_lines(self, path: str, body: Any) -> list[dict[str, Any]]:
        """All lines of an answer."""
        found = [row async for row in self.lines(path, body)]
        self.answers.append(json.dumps(found))
        return found

    async def refused(self, method: str, path: str, body: Any) -> tuple[int, str, str]:
        """Status, detail and fix of a problem."""
        with pytest.raises(ControlError) as error:
            await self.ask(method, path, body)
        return error.value.status, str(error.value), error.value.fix


@contextlib.asynccontextmanager
async def gateway(kafka: str, folder: Path) -> AsyncIterator[Client]:
    """A gateway that follows a folder without a plant file, and its API."""
    plant = folder / "plant"
    plant.mkdir()
    settings = OpcuaGatewaySettings(
        kafka_bootstrap=kafka, gateway="control", plant=plant, state=folder / "state",
        outbox_min_free=0.0, control_key_file=folder / "keys" / "control.key",
        secrets=folder / "secrets",
    )  # fmt: skip
    health = Health("opcua_gateway")
    task = asyncio.create_task(
        run_gateway(settings, health, make_sources, connector=OpcuaConnector(settings))
    )
    try:
        await until(lambda: bool((health.control or {}).get("url")), "the API", 20)
        key = (folder / "keys" / "control.key").read_text().strip()
        async with Client(str((health.control or {})["url"]), key) as client:
            yield client
        assert not task.done()
    finally:
        task.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await task


async def sessions(folder: Path) -> int:
    """How many the server of the source that was written has, ours that asks among them."""
    (model,) = load_plant(folder / "plant" / "works.yaml").sources
    settings = OpcuaGatewaySettings(gateway="control", state=folder / "state")
    way = await Endpoints(model, (), gateway_store(settings.state), "control").find_way(5)
    async with looked_into(model, way, settings) as session:
        return int(await session._client.get_node("i=2277").read_value())


def files_with(folder: Path, text: str) -> Iterator[str]:
    """Files that have a text, below a folder."""
    for path in sorted(folder.rglob("*")):
        if path.is_file() and text.encode() in path.read_bytes():
            yield str(path.relative_to(folder))


async def test_from_an_address_to_a_live_source_and_no_secret_on_the_way(
    kafka: str, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    for name in ("aurelian", "opcua_gateway", "uvicorn", "fastapi"):
        caplog.set_level(logging.DEBUG, name)
    await create_topics(kafka)
    async with (
        node_opcua(
            tmp_path, nodes=3, analog=1, policies=["Basic256Sha256"], modes=["SignAndEncrypt"],
            anonymous=False, password=PASSWORD,
        ) as server,
        gateway(kafka, tmp_path) as client,
    ):  # fmt: skip
        source: dict[str, Any] = {"id": "press", "kind": "opcua", "url": server.url}
        source["security"] = {"policy": "best"}

        # Its certificate is not trusted, until somebody has compared it.
        *_, failed, end = await client.all_lines("/ladder", {"source": source})
        assert end == {"end": "failed"} and failed["step"]["code"] == "E1401"
        theirs = failed["step"]["facts"]["server_sha256"]
        status, _, fix = await client.refused("POST", "/trust", {"sha256": "0" * 64})
        assert status == 422 and "ladder" in fix
        short = await client.refused("POST", "/trust", {"sha256": theirs[:16]})
        assert short[0] == 422
        listed = (await client.ask("GET", "/certificates"))["certificates"]
        assert (theirs.lower(), "rejected") in {(each["sha256"], each["list"]) for each in listed}
        trusted = await client.ask("POST", "/trust", {"sha256": theirs})
        assert trusted["trusted"] in {each["subject"] for each in listed}

        # It is of another host name, and wants somebody who signs in.
        *_, failed, end = await client.all_lines("/ladder", {"source": source})
        assert failed["step"]["code"] == "E1404"
        source["security"] = {"policy": "best", "waive": ["host_name"]}
        *_, failed, end = await client.all_lines("/ladder", {"source": source})
        assert end == {"end": "failed"} and failed["step"]["rung"] == "sign_in"
        wrong = {**source, "user": "operator", "password": "wrong-4711"}
        *_, failed, _ = await client.all_lines("/ladder", {"source": wrong})
        assert failed["step"]["code"] == "E1506"
        right = {**source, "user": "operator", "password": PASSWORD}
        *_, end = await client.all_lines("/ladder", {"source": right})
        assert end == {"end": "climbed"}
        assert not list((tmp_path / "state" / "held").glob("*"))

        # What it has.
        *said, look = await client.all_lines("/looks", {"source": right, "seconds": 1})
        assert said and all(set(each) == {"progress"} for each in said)
        (found,) = look["sources"]
        assert "password_file" not in found["fields"] and not found["known_as"]
        rows = {row["name"]: row for row in found["rows"]}
        assert rows["v0"]["id"] == f"nsu={NAMESPACE};s=v0"
        assert (rows["v0"]["value"], rows["v0"]["unit_of_measure"]) == (0, "Cel")

        # What the plant file gets of it, and what would be stored.
        here = f"/looks/{look['look']}"
        plan: dict[str, Any] = {"rows": [rows["v0"]["id"], rows["v1"]["id"]]}
        plan["states"] = {rows["v1"]["id"]: {"0": "running", "1": "down"}}
        status, _, fix = await client.refused("POST", f"{here}/plan", plan)
        assert status == 422 and "company" in fix
        plan |= {"company": "acme", "site": "works", "time_zone": "Europe/Oslo", "line": "l-7"}
        odd = {**plan, "rows": ["s=other"]}
        assert (await client.refused("POST", f"{here}/plan", odd))[0] == 422
        shown = await client.ask("POST", f"{here}/plan", plan)
        file, secret = tmp_path / "plant" / "works.yaml", tmp_path / "secrets" / "acme~works~press"
        assert (shown["file"], shown["before"]) == (str(file), "")
        assert shown["keys"] == ["acme/works/press"] and shown["lines"]
        assert f'password_file: "{secret}"' in shown["after"] and not secret.exists()
        body = {"look": look["look"], **plan, "seconds": 1}
        *_, run = await client.all_lines("/dry-run", body)
        assert run["source"] == "acme/works/press" and len(run["signals"]) == 2
        assert all(each["samples"] == 1 for each in run["signals"].values())
        assert not file.exists()

        # It is written as it was shown, or not at all; the gateway takes it up.
        changed = {**plan, "before": "0" * 64}
        assert (await client.refused("POST", f"{here}/write", changed))[0] == 409
        assert not file.exists() and not secret.exists()
        written = await client.ask("POST", f"{here}/write", {**plan, "before": ""})
        assert written == {**shown, "written": True}
        assert file.read_text() == shown["after"]
        assert stat.S_IMODE(secret.stat().st_mode) == 0o600 and secret.read_text() == PASSWORD
        (unit,) = load_plant(file).units()
        signals = {each.name: each for each in unit.model.signals}
        assert signals["v1"].states == {"0": LineState.RUNNING, "1": LineState.DOWN}
        assert set(signals) == {"v0", "v1"}
        again = {**plan, "before": ""}
        assert (await client.refused("POST", f"{here}/write", again))[0] == 409
        status, said, _ = await client.refused("POST", f"{here}/plan", plan)
        assert status == 422 and "press" in said

        async def is_live() -> bool:
            sources = (await client.ask("GET", "/sources"))["sources"]
            return [(each["state"], bool(each["data"])) for each in sources] == [("LIVE", True)]

        await until(is_live, lambda: f"live: {client.answers[-1]}", 30)

        # One try at a time for an address; who leaves ends it, also at the server.
        trying = client.lines("/dry-run", {"key": "acme/works/press", "seconds": 200})
        counting = asyncio.create_task(server.count(1, 1000, 50))
        assert (await anext(trying))["source"] == "acme/works/press"
        with pytest.raises(ControlError) as busy:
            await client.all_lines("/ladder", {"key": "acme/works/press"})
        assert busy.value.status == 429
        await trying.aclose()  # type: ignore[attr-defined]
        counting.cancel()

        async def is_free() -> bool:
            try:
                lines = await client.all_lines("/ladder", {"key": "acme/works/press"})
            except ControlError:
                return False
            return lines[-1] == {"end": "climbed"}

        await until(is_free, "the address to be free", 10)
        # The gateway's own session is all that is left.
        assert await sessions(tmp_path) == 2
        await client.refused("POST", "/looks", {"source": {**right, "password": 7}})
        await client.refused("POST", "/ladder", {"source": {**right, "url": PASSWORD[:4]}})
        key = client._http.headers["Authorization"].removeprefix("Bearer ")

    logged = caplog.text + "".join(str(vars(each)) for each in caplog.records)
    for secret_text, place in ((PASSWORD, "secrets/acme~works~press"), (key, "keys/control.key")):
        assert list(files_with(tmp_path, secret_text)) == [place]
        assert secret_text not in logged
        assert not [each for each in client.answers if secret_text in each]
    assert "wrong-4711" not in logged and not list(files_with(tmp_path, "wrong-4711"))
    assert "control API" in logged
    assert not (tmp_path / "state" / "held").exists()


async def test_nothing_is_answered_without_the_key(kafka: str, tmp_path: Path) -> None:
    async with gateway(kafka, tmp_path) as client, httpx.AsyncClient() as stranger:
        key = client._http.headers["Authorization"].removeprefix("Bearer ")
        file = tmp_path / "keys" / "control.key"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        given: tuple[dict[str, str], ...] = (
            {},
            {"Authorization": "Bearer"},
            {"Authorization": f"Bearer {key[:-1]}"},
            {"Authorization": f"Bearer {key}x"},
            {"Authorization": f"Basic {key}"},
            {"X-Api-Key": key},
        )
        base = client.url.removesuffix("/control/v1")
        paths = [*((method, f"/control/v1{path}") for method, path in REQUESTS)]
        paths += [("GET", "/"), ("GET", "/openapi.json"), ("GET", "/docs"), ("GET", "/livez")]
        for method, path in paths:
            for headers in given:
                answer = await stranger.request(method, f"{base}{path}", headers=headers)
                assert answer.status_code == 401, (path, headers)
                assert answer.json()["detail"] and answer.json()["fix"]
        known = await client.ask("GET", "/sources")
        assert known["sources"] == [] and known["plant"]["files"] == []
        assert (await client.refused("GET", "/openapi.json", None))[0] == 404
