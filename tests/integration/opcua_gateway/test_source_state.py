"""The state of a source as it is exported, beside foreign servers (X3)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import httpx
import pytest
from prometheus_client import REGISTRY

from aurelian.edge.source_state import SourceState, SourceStates
from aurelian.runtime.health import Health, make_ops_app
from tests.integration.opcua_gateway.test_node_opcua import make_source
from tests.integration.opcua_gateway.test_security import of_operator, secured, trust_server
from tests.peers.node_opcua_server import node_opcua
from tests.source_alone import taking
from tests.waiting import until


def exported(source: Any) -> list[str]:
    """The states whose metric is 1."""
    return [
        state.value
        for state in SourceState
        if REGISTRY.get_sample_value(
            "gateway_source_state", {"source": source.model.key, "state": state.value}
        )
    ]


def sample(name: str, source: Any, **labels: str) -> float:
    found = REGISTRY.get_sample_value(name, {"source": source.model.key, **labels})
    assert found is not None, name
    return found


def is_state(states: SourceStates, source: Any, wanted: SourceState) -> bool:
    states.look()
    return exported(source) == [wanted.value]


async def asked(health: Health) -> httpx.Response:
    transport = httpx.ASGITransport(make_ops_app(health))
    async with httpx.AsyncClient(transport=transport, base_url="http://ops") as client:
        return await client.get("/sources")


async def test_a_source_is_connecting_live_degraded_and_live_again(tmp_path: Path) -> None:
    async with node_opcua(tmp_path, nodes=2) as server:
        source = make_source(tmp_path, server.url, 2)
        states = SourceStates([source])
        assert is_state(states, source, SourceState.CONNECTING)
        async with taking(source) as taken:
            await until(lambda: is_state(states, source, SourceState.LIVE), "live")
            await until(lambda: bool(taken) and source.condition().data_at > 0, "values")
            states.look()
            heard = sample("gateway_source_heard_timestamp_seconds", source)
            assert heard >= sample("gateway_source_data_timestamp_seconds", source) > 0
            assert sample("gateway_source_keep_alive_seconds", source) > 0
            assert sample("opcua_gateway_revised_limit", source, limit="subscriptions") == 1
            await server.say_state(4)
            await until(lambda: is_state(states, source, SourceState.DEGRADED), "degraded")
            assert "in state Shutdown: look there" in source.condition().reason
            await server.say_state(0)
            await until(lambda: is_state(states, source, SourceState.LIVE), "live again")


async def test_a_silent_server_is_stale_before_it_is_lost(tmp_path: Path) -> None:
    async with node_opcua(tmp_path, nodes=2) as server:
        source = make_source(tmp_path, server.url, 2)
        states = SourceStates([source])
        async with taking(source):
            await until(lambda: is_state(states, source, SourceState.LIVE), "live")
            server._process.send_signal(19)  # SIGSTOP: the connection is up and nothing comes
            try:
                await until(lambda: is_state(states, source, SourceState.STALE), "stale", 20)
                assert "no Publish response" in source.condition().reason
                await until(
                    lambda: is_state(states, source, SourceState.CONNECTING), "connecting", 20
                )
            finally:
                server._process.send_signal(18)
            await until(lambda: is_state(states, source, SourceState.LIVE), "live again", 30)


async def test_a_refused_certificate_and_a_refused_user_have_states_and_next_steps(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PEER_PASSWORD", "wrong")
    async with secured(tmp_path) as server:
        source = make_source(tmp_path, server.url, 3, of_operator())
        states = SourceStates([source])
        async with taking(source):
            await until(
                lambda: is_state(states, source, SourceState.CERT_REJECTED), "certificate", 20
            )
            assert "aurelian trust add" in source.condition().reason
            health = Health("opcua_gateway")
            health.sources = states.shown
            shown = (await asked(health)).json()["sources"]
            assert [(each["source"], each["state"]) for each in shown] == [
                (source.model.key, "CERT_REJECTED")
            ]
            assert shown[0]["reason"] == source.condition().reason
            trust_server(tmp_path)
            await until(lambda: is_state(states, source, SourceState.AUTH_FAILED), "user", 20)
            origin = "it is from the environment variable PEER_PASSWORD"
            assert f"is the password right ({origin})" in source.condition().reason


async def test_no_other_service_has_sources() -> None:
    assert (await asked(Health("historian"))).status_code == 404
