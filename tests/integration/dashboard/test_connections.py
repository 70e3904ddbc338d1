"""Real gateways at real servers, and what the pages say of the connection between them: of a
refused certificate, of a server that is not at work, of a standby and a broker that are away; to
the company of the source and to no other."""

from __future__ import annotations

import asyncio
import contextlib
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from dataclasses import dataclass
from html import unescape
from pathlib import Path
from typing import Any

import httpx
import pytest
import yaml

import mqtt_gateway.settings
import mqtt_gateway.source
import opcua_gateway.settings
import opcua_gateway.sources
from aurelian.edge.certificates import read_certificates, sha256_of
from aurelian.edge.gateway import run_gateway
from aurelian.local import ports
from aurelian.model.plant import Plant
from aurelian.runtime.health import Health
from dashboard.connection_views import SILENT_MS
from tests import dashboard_stack, servers
from tests.dashboard_store import write_machine_alarm
from tests.integration.opcua_gateway.test_security import (
    PASSWORD,
    of_operator,
    secured,
    trust_server,
)
from tests.peers.node_opcua_server import NAMESPACE, node_opcua
from tests.waiting import until

LIMIT_S = 60.0


@pytest.fixture(scope="module")
def stack(
    postgres: servers.PostgresServer, migrated_template: str
) -> Iterator[dashboard_stack.DashboardStack]:
    with dashboard_stack.running_dashboard(postgres, migrated_template) as opened:
        yield opened


@dataclass
class Pages:
    """The pages that two companies see of a source, as text without marks."""

    client: httpx.AsyncClient
    stack: dashboard_stack.DashboardStack
    owner: str
    source: str
    line: str

    async def text(self, path: str, owner: str = "") -> str:
        """A page of a company; of the source's where none is named."""
        headers = self.stack.headers_of(owner or self.owner)
        answer = await self.client.get(path, headers=headers)
        assert answer.status_code == 200, (path, answer.text)
        unbroken = answer.text.replace("<wbr>", "")
        without = re.sub(r"<script.*?</script>|<[^>]+>", " ", unbroken, flags=re.S)
        return " ".join(unescape(without).split())

    async def shown(self, *wanted: str) -> None:
        """Wait until both the page Connections and the line's have all of this."""
        last = ""

        async def has() -> bool:
            nonlocal last
            for path in ("/connections", f"/lines/{self.line}"):
                last = await self.text(path)
                if not all(each in last for each in wanted):
                    return False
            return True

        await until(has, lambda: f"{wanted} in {last}", LIMIT_S)

    async def tile(self, wanted: str, *, gone: bool = False) -> None:
        """Wait until the plant page has this, or has it no longer."""

        async def has() -> bool:
            return (wanted in await self.text("/")) is not gone

        await until(has, f"{wanted!r} {'gone' if gone else 'there'}", LIMIT_S)

    async def nobody_else_sees(self, *what: str) -> None:
        """No other company has the source, nor any of this, on any page or in its snapshot."""
        for owner in self.stack.keys:
            if owner in (self.owner, "*"):
                continue
            for path in ("/connections", "/parts/connections", "/", "/system", "/snapshot"):
                headers = self.stack.headers_of(owner)
                answer = await self.client.get(path, headers=headers)
                assert answer.status_code == 200
                text = answer.text.replace("<wbr>", "")
                assert not [e for e in (self.source, *what) if e in text], (owner, path)
            line = f"/parts/connections/{self.line}"
            answer = await self.client.get(line, headers=self.stack.headers_of(owner))
            assert answer.status_code == 404


@contextlib.asynccontextmanager
async def gateway(
    stack: dashboard_stack.DashboardStack,
    folder: Path,
    name: str,
    source: Mapping[str, Any],
    address: str = "",
) -> AsyncIterator[Pages]:
    """A gateway with one source of the first company, in a site of its own."""
    signal = {"name": "v0", "type": "double"} | ({"address": address} if address else {})
    unit = {"name": "press", "source": name, "signals": [signal]}
    line = {"name": "l", "products": [{"id": "cup", "ideal_cycle_s": 2}], "units": [unit]}
    company = stack.plants[0].company
    plant = {
        "company": {"id": company.id, "name": company.name},
        "site": f"site-{name}",
        "time_zone": "UTC",
        "sources": [{"id": name, **source}],
        "areas": [{"name": "a", "lines": [line]}],
    }
    plants = folder / "plants"
    plants.mkdir()
    (plants / "site.yaml").write_text(yaml.safe_dump(plant))
    common: dict[str, Any] = {
        "gateway": f"gw-{name}",
        "kafka_bootstrap": stack.kafka.bootstrap,
        "kafka_timeout_s": 2,
        "plant": plants,
        "state": folder,
        "outbox_min_free": 0.0,
    }
    if source["kind"] == "opcua":
        opcua = opcua_gateway.settings.OpcuaGatewaySettings(**common)
        work = run_gateway(opcua, Health("opcua_gateway"), opcua_gateway.sources.make_sources)
    else:
        mqtt = mqtt_gateway.settings.MqttGatewaySettings(**common)
        work = run_gateway(mqtt, Health("mqtt_gateway"), mqtt_gateway.source.make_sources)
    made = Plant.model_validate(plant)
    running = asyncio.create_task(work)
    try:
        async with httpx.AsyncClient(base_url=stack.dashboard.url, timeout=20) as client:
            line_id = next(made.lines()).id
            yield Pages(client, stack, made.owner, made.sources[0].key, line_id)
    finally:
        running.cancel()
        await asyncio.wait({running})


def pairs(sha256: str) -> str:
    return ":".join(sha256[at : at + 2] for at in range(0, len(sha256), 2))


def fingerprint(path: Path) -> str:
    return sha256_of(read_certificates(path)[0])


async def test_a_refused_certificate_is_shown_with_what_to_do_and_is_live_once_it_is_trusted(
    stack: dashboard_stack.DashboardStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PEER_PASSWORD", PASSWORD)
    async with secured(tmp_path) as server:
        source = {"kind": "opcua", "url": server.url, **of_operator()}
        address = f"nsu={NAMESPACE};s=v0"
        async with gateway(stack, tmp_path, "cert", source, address) as pages:
            await pages.shown("cert: Certificate refused", "aurelian trust add ")
            (refused,) = (tmp_path / "pki" / "rejected").glob("*.der")
            theirs, ours = (
                fingerprint(refused),
                fingerprint(tmp_path / "pki" / "own" / "certificate.der"),
            )
            await pages.shown(
                f"aurelian trust add {theirs[:16]}", pairs(theirs), pairs(ours), "CERT_REJECTED"
            )
            await pages.tile("cert: certificate refused, needs somebody")
            await pages.nobody_else_sees(pairs(theirs), pairs(ours), "cert: ")
            trust_server(tmp_path)
            await pages.shown("cert: Live", pairs(ours))
            await pages.tile("cert: certificate refused", gone=True)
            assert pairs(theirs) not in await pages.text("/connections")


async def test_a_wrong_password_needs_somebody(
    stack: dashboard_stack.DashboardStack, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PEER_PASSWORD", "wrong")
    async with secured(tmp_path) as server:
        source = {"kind": "opcua", "url": server.url, **of_operator(trust="first_use")}
        async with gateway(stack, tmp_path, "user", source, f"nsu={NAMESPACE};s=v0") as pages:
            await pages.shown("user: Sign-in refused", "Do: Is the password right")
            await pages.tile("user: sign-in refused, needs somebody")
            monkeypatch.setenv("PEER_PASSWORD", PASSWORD)
            await pages.shown("user: Live")


@pytest.mark.long
async def test_a_server_that_is_not_at_work_degrades_its_source_until_it_is_again(
    stack: dashboard_stack.DashboardStack, tmp_path: Path
) -> None:
    async with node_opcua(tmp_path, nodes=1) as server:
        source = {"kind": "opcua", "url": server.url}
        async with gateway(stack, tmp_path, "state", source, f"nsu={NAMESPACE};s=v0") as pages:
            await pages.shown("state: Live", server.url)
            await server.say_state(4)
            await pages.shown("state: Degraded", "in state Shutdown", "Do: Look there")
            await pages.tile("state: degraded")
            await server.say_state(0)
            await pages.shown("state: Live")
            await pages.tile("state: degraded", gone=True)
            server.kill()
            await pages.shown("state: Not connected", "Do: ")


@pytest.mark.long
async def test_a_standby_that_is_away_is_shown_until_it_is_back(
    stack: dashboard_stack.DashboardStack, tmp_path: Path
) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    port = ports.any_free()
    uris = {"a": "urn:aurelian-test:first", "b": "urn:aurelian-test:other"}
    shared = {"nodes": 1, "namespaces": ["urn:aurelian-test:plant"]}
    async with node_opcua(tmp_path / "a", uri=uris["a"], **shared) as first:
        async with node_opcua(tmp_path / "b", uri=uris["b"], port=port, **shared) as other:
            source = {
                "kind": "opcua",
                "url": first.url,
                "redundant": [other.url],
                "redundancy": "hot",
            }
            address = "nsu=urn:aurelian-test:plant;s=v0"
            made = gateway(stack, tmp_path, "pair", source, address)
            pages = await made.__aenter__()
            try:
                await pages.shown("pair: Live", first.url)
                other.kill()
                away = "A standby server is away since"
                await pages.shown("pair: Live", away, other.url, "does the OPC UA server run")
                await pages.tile("pair: a standby server is away")
                async with node_opcua(tmp_path / "b", uri=uris["b"], port=port, **shared):
                    await pages.tile("pair: a standby server is away", gone=True)
                    assert away not in await pages.text("/connections")
            finally:
                await made.__aexit__(None, None, None)


async def test_a_broker_that_is_away_is_said_with_the_reason_of_the_latest_attempt(
    stack: dashboard_stack.DashboardStack, tmp_path: Path
) -> None:
    with servers.any_mqtt_broker() as broker:
        source = {"kind": "mqtt_json", "url": broker.url, "topic": "w/{unit}/state"}
        async with gateway(stack, tmp_path, "json", source) as pages:
            await pages.shown("json: Live")
            broker.stop()
            await pages.shown("json: Not connected", "Do: ", "does the broker run")
            assert "the connection ended" not in await pages.text("/connections")
            broker.start()
            await pages.shown("json: Live")


@pytest.mark.long
async def test_a_gateway_that_ended_is_called_live_for_some_seconds_at_most(
    stack: dashboard_stack.DashboardStack, tmp_path: Path
) -> None:
    with servers.any_mqtt_broker() as broker:
        source = {"kind": "mqtt_json", "url": broker.url, "topic": "w/{unit}/state"}
        async with gateway(stack, tmp_path, "gone", source) as pages:
            await pages.shown("gone: Live")
            # Nothing comes from this machine: the gateway's own signs of life keep it so.
            await asyncio.sleep(SILENT_MS / 1000 + 5)
            await pages.shown("gone: Live")
    async with httpx.AsyncClient(base_url=stack.dashboard.url, timeout=20) as client:
        pages.client = client
        async with asyncio.timeout(SILENT_MS / 1000 + 5):
            await pages.shown("gone: Not known", "said nothing since", "aurelian doctor")
        assert "gone: Live" not in await pages.text("/connections")
        for path in ("/system", "/parts/sources"):
            assert "Source" in await pages.text(path)


async def test_alarms_of_machines_are_counted_on_the_tile_also_after_a_restart_of_the_pages(
    stack: dashboard_stack.DashboardStack, tmp_path: Path
) -> None:
    async with node_opcua(tmp_path, nodes=1, alarms=2) as server:
        source = {"kind": "opcua", "url": server.url, "alarms": True}
        async with gateway(stack, tmp_path, "bell", source, f"nsu={NAMESPACE};s=v0") as pages:
            await pages.shown("bell: Live")
            for number in (0, 1):
                await server.alarm(number, active=True, message="hot", severity=700, retain=True)
            await pages.tile("2 machine alarms")
            await server.alarm(0, active=False, message="cold", severity=700, retain=False)
            await pages.tile("1 machine alarm ")
            # What the store has counts too: it is there after a restart, as is how sources are.
            unit = stack.line.constraint
            for message in ("door", "oil", "dust"):
                write_machine_alarm(stack.database_url, unit, message)
            write_machine_alarm(stack.database_url, unit, "over", retain=False)
            await asyncio.to_thread(stack.dashboard.stop)
            await asyncio.to_thread(stack.dashboard.start)
            await pages.tile("3 machine alarms")
            await pages.shown("bell: Live")
