"""Which servers of a redundant server's own list are taken."""

from __future__ import annotations

import asyncio
from typing import cast

import pytest

from opcua_gateway import takeover
from opcua_gateway.dialling import Dialler
from opcua_gateway.redundancy import Server, Servers
from opcua_gateway.session import Session
from tests.unit.opcua_gateway.test_deliveries import make_plant


class Secured:
    """As far as `takeover` asks: a dialler whose channels are secured."""

    def __init__(self) -> None:
        (self.model,) = make_plant(("force",)).sources
        self.settings = self
        self.opcua_timeout_s = 1.0

    def is_secured(self, server: Server) -> bool:
        return True

    def application_uri(self, server: Server) -> str:
        return {"opc.tcp://a:4840": "urn:a"}.get(server.url, server.uri)


def test_a_server_that_lists_itself_is_no_second_one(monkeypatch: pytest.MonkeyPatch) -> None:
    """Its ServerArray does not say which one it is, and it has another address there."""
    asked: list[list[str]] = []

    async def redundancy(_: Session) -> tuple[str, list[str]]:
        return "hot", ["urn:a", "urn:b"]

    async def addresses(url: str, uris: list[str], timeout_s: float) -> list[tuple[str, str]]:
        asked.append(uris)
        return [(f"opc.tcp://{uri[-1]}.site:4840", uri) for uri in uris]

    monkeypatch.setattr(takeover, "read_redundancy", redundancy)
    monkeypatch.setattr(takeover, "find_addresses", addresses)
    servers = Servers("opc.tcp://a:4840", [], None)
    for _ in range(2):
        found = takeover._find(
            cast(Session, None), servers, cast(Dialler, Secured()), lambda _: None
        )
        asyncio.run(found)
    assert [each.url for each in servers.all] == ["opc.tcp://a:4840", "opc.tcp://b.site:4840"]
    assert asked[0] == ["urn:b"]
