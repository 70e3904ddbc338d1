"""The connection ladder against a secured server of node-opcua and one without security: each rung
broken on purpose, and the sentence that is said."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from asyncua import Client, ua

from aurelian.edge.certificates import read_certificates
from aurelian.edge.ladder import Rung, Step, Verdict, whole
from aurelian.edge.trust_store import TrustStore
from opcua_gateway.connect.ladder import Bounds, climb
from opcua_gateway.source import OpcuaSource
from tests.integration.opcua_gateway.test_node_opcua import make_source
from tests.peers.certificates import DAY, NOW, make
from tests.peers.node_opcua_server import NAMESPACE, NodeOpcua, node_opcua
from tests.waiting import until

PASSWORD = "kühl & trocken"
NODES = 4
POLICIES = ("Basic256Sha256", "Aes256_Sha256_RsaPss")


@dataclass
class Servers:
    """Those of this module, with the loop that they run in."""

    runner: asyncio.Runner
    folder: Path
    secured: NodeOpcua
    clear: NodeOpcua


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """`secured`: trusts nobody, nobody signs in unnamed. `clear`: nothing but None, its clock 10
    minutes ahead, under a name that nobody knows."""
    folder = tmp_path_factory.mktemp("ladder")
    (folder / "clear").mkdir()
    certificate, key = make().write(folder / "server")
    with asyncio.Runner() as runner:
        secured = node_opcua(
            folder,
            nodes=NODES,
            policies=POLICIES,
            modes=("SignAndEncrypt",),
            anonymous=False,
            password=PASSWORD,
            accepts_all=False,
            accepts_users=False,
            certificate=certificate,
            key=key,
        )
        clear = node_opcua(
            folder / "clear",
            nodes=NODES,
            password=PASSWORD,
            clock_ahead_ms=600_000,
            host="plc-7.invalid",
            subscriptions=1,
            items_per_subscription=7,
        )

        async def begin() -> tuple[NodeOpcua, NodeOpcua]:
            one, other = await asyncio.gather(secured.__aenter__(), clear.__aenter__())
            return one, other

        one, other = runner.run(begin())
        yield Servers(runner, folder, one, other)
        runner.run(secured.__aexit__(None, None, None))
        runner.run(clear.__aexit__(None, None, None))


@pytest.fixture(autouse=True)
def _password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PEER_PASSWORD", PASSWORD)
    monkeypatch.setenv("WRONG_PASSWORD", "1234")


async def steps_of(source: OpcuaSource, store: TrustStore, **more: Any) -> list[Step]:
    bounds = Bounds(**({"seconds": 20, "values_s": 0.6} | more))
    settings = source._settings.model_copy(update={"opcua_timeout_s": 3.0})
    found = [
        step
        async for step in whole(climb(source.model, settings, store, source._tags, bounds))
    ]
    for each in found:
        print(f"\n{each.rung:12}{each.verdict:12}{each.code:6} {each.seconds:.2f} {each.said}\n      -> {each.fix}\n      {dict(each.facts)}")
    return found


def of(servers: Servers, folder: Path, url: str, *, nodes: int = NODES, signals: Any = None, **source: Any) -> OpcuaSource:
    return make_source(folder, url, nodes, source=source, signals=signals)


def test_x(servers: Servers, tmp_path: Path) -> None:
    run = servers.runner.run
    store = TrustStore(tmp_path / "pki")
    user = {"user": "operator", "password_env": "PEER_PASSWORD"}
    url = servers.secured.url
    best: dict[str, Any] = {"security": {"policy": "best"}}
    run(steps_of(of(servers, tmp_path, url, **best, **user), store))
    for each in store.listed("rejected"):
        store.trust(read_certificates(each.path)[0])
    print("=========== ours refused")
    run(steps_of(of(servers, tmp_path, url, **best, **user), store))
    trusted = servers.folder / "node-opcua-pki" / "trusted" / "certs"
    print(list((servers.folder / "node-opcua-pki").rglob("*")))
    shutil.copy(store.folder / "own" / "certificate.der", trusted / "ours.der")
    time.sleep(1.5)
    print("=========== trusted")
    run(steps_of(of(servers, tmp_path, url, **best, **user), store))
    print("=========== anonymous")
    run(steps_of(of(servers, tmp_path, url, **best), store))
    print("=========== wrong")
    run(steps_of(of(servers, tmp_path, url, **best, user="operator", password_env="WRONG_PASSWORD"), store))
    print("=========== clear")
    url = servers.clear.url
    run(steps_of(of(servers, tmp_path, url, **best), store))
    run(steps_of(of(servers, tmp_path, url), store))
    run(steps_of(of(servers, tmp_path, url, **user), store))
