"""The control API of a running MQTT gateway: from the address of a broker that nobody knows, over
its certificate and a password, to a live source."""

from __future__ import annotations

import asyncio
import contextlib
import json
import stat
from pathlib import Path
from typing import Any

import paho.mqtt.client as paho
import pytest

from aurelian.edge.control.client import ControlClient, ControlError
from aurelian.edge.gateway import run_gateway
from aurelian.model.plant_file import load_plant, plant_files
from aurelian.runtime.health import Health
from mqtt_gateway.connect.connector import MqttConnector
from mqtt_gateway.settings import MqttGatewaySettings
from mqtt_gateway.source import make_sources
from tests.peers.certificates import make
from tests.peers.secured_mosquitto import PASSWORD, USER, secured_mosquitto
from tests.waiting import until

pytestmark = pytest.mark.mosquitto


async def lines(client: ControlClient, path: str, body: Any) -> list[dict[str, Any]]:
    return [row async for row in client.lines(path, body)]


async def test_from_an_address_over_a_pinned_certificate_and_a_password_to_a_live_source(
    tmp_path: Path,
) -> None:
    plant = tmp_path / "plant"
    plant.mkdir()
    settings = MqttGatewaySettings(
        kafka_bootstrap="127.0.0.1:1",  # Kafka is away, which is nothing to all of this
        gateway="control",
        plant=plant,
        state=tmp_path / "state",
        outbox_min_free=0.0,
    )
    own = make("itself", uris=(), hosts=("127.0.0.1",))
    listener = (
        "allow_anonymous false",
        "password_file {folder}/passwords",
        "certfile {folder}/itself.pem",
        "keyfile {folder}/itself-key.pem",
    )
    files = {"itself.pem": own.pem, "itself-key.pem": own.write(tmp_path, "itself")[1].read_bytes()}
    health = Health("mqtt_gateway")
    with secured_mosquitto(tmp_path, more={"both": listener}, files=files) as broker:
        gateway = asyncio.create_task(
            run_gateway(settings, health, make_sources, connector=MqttConnector(settings))
        )
        sending = asyncio.create_task(_send(broker.port["plain"]))
        try:
            await until(lambda: bool((health.control or {}).get("url")), "the API", 20)
            key = (settings.state / "control.key").read_text().strip()
            async with ControlClient(str((health.control or {})["url"]), key) as client:
                await _connect(client, broker.port["both"], plant)
            await until(lambda: _is_live(health), "the source is live", 20)
        finally:
            for task in (sending, gateway):
                task.cancel()
                with contextlib.suppress(asyncio.CancelledError):
                    await task
    _check_secrets(settings.state, plant)


def _check_secrets(state: Path, plant: Path) -> None:
    """Certificate and password are in files of the gateway, and the password nowhere else."""
    [source] = load_plant(plant / "works.yaml").sources
    assert source.tls is not None and source.tls.ca_file.startswith(str(state))
    kept = Path(source.password_file)
    assert kept.read_text() == PASSWORD and stat.S_IMODE(kept.stat().st_mode) == 0o600
    has_it = [
        each
        for folder in (state, plant)
        for each in folder.rglob("*")
        if each.is_file() and PASSWORD.encode() in each.read_bytes()
    ]
    assert has_it == [kept]


async def _connect(client: ControlClient, port: int, plant: Path) -> None:
    source: dict[str, Any] = {"id": "broker", "kind": "mqtt", "url": f"mqtts://127.0.0.1:{port}"}
    *_, failed, end = await lines(client, "/ladder", {"source": source})
    assert end == {"end": "failed"} and failed["step"]["code"] == "E1452"
    facts = failed["step"]["facts"]
    sha256 = facts["sha256"].replace(":", "")
    with pytest.raises(ControlError) as alone:
        await client.ask("POST", "/trust", {"sha256": sha256})
    assert alone.value.status == 422 and "ca_file" in alone.value.fix
    pinned = await client.ask("POST", "/trust", {"sha256": sha256, "pem": facts["pem"]})
    assert pinned["trusted"] == "CN=itself"

    source["tls"] = {"ca_file": pinned["file"]}
    *_, failed, end = await lines(client, "/ladder", {"source": source})
    assert end == {"end": "failed"} and failed["step"]["rung"] == "sign_in"
    source |= {"user": USER, "password": PASSWORD}
    look = (
        await lines(client, "/looks", {"source": source, "choose": ["plant/#"], "seconds": 1.5})
    )[-1]
    [found] = look["sources"]
    assert PASSWORD not in json.dumps(look) and found["fields"]["topic"] == "plant/{unit}/state"
    wanted = [each["id"] for each in found["rows"] if each["unit"] == "press"]
    place = {"company": "acme", "site": "works", "time_zone": "UTC"}
    body = {"rows": wanted, **place}
    plan = await client.ask("POST", f"/looks/{look['look']}/plan", body)
    assert plan["keys"] == ["acme/works/broker"] and PASSWORD not in json.dumps(plan)
    dry = await lines(client, "/dry-run", {"look": look["look"], **body, "seconds": 1})
    assert dry[-1]["signals"]["acme/works/hall/line-1/press/force"]["samples"] > 3
    assert not plant_files(plant)
    written = await client.ask(
        "POST", f"/looks/{look['look']}/write", {**body, "before": plan["before"]}
    )
    assert written["written"] and "oven" not in written["after"]


async def _send(port: int) -> None:
    client = paho.Client(paho.CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", port)
    client.loop_start()
    value = 0.0
    try:
        while True:
            value += 0.5
            for name in ("press", "oven"):
                client.publish(f"plant/{name}/state", json.dumps({"force": value}))
            await asyncio.sleep(0.05)
    finally:
        client.disconnect()
        client.loop_stop()


def _is_live(health: Health) -> bool:
    found = health.sources() if health.sources is not None else ()
    return any(
        each["source"] == "acme/works/broker" and each["state"] == "LIVE" and each["data"]
        for each in found
    )
