"""What the page Connect may ask a gateway for: nothing that names a file of its machine, and no
look of another company."""

from __future__ import annotations

import json
from pathlib import Path

import httpx
import pytest
from fastapi import FastAPI, HTTPException
from fastapi.responses import JSONResponse

from dashboard.connect import Connect, connect_routes
from dashboard.gate import Visitor, _visitor, enter_by_link
from dashboard.settings import DashboardSettings

URLS = "opcua=http://127.0.0.1:9, mqtt=http://127.0.0.1:10/"


@pytest.fixture
def connect(tmp_path: Path) -> Connect:
    return Connect(settings(tmp_path, control_urls=URLS), httpx.AsyncClient())


def settings(folder: Path, **more: str) -> DashboardSettings:
    key = folder / "control.key"
    key.write_bytes(bytes(32))
    return DashboardSettings(control_key_file=key, key_pepper_file=key, **more)  # type: ignore[arg-type]


def visitor(owner: str) -> Visitor:
    return Visitor("ak_x", owner, None, frozenset({"plant:write"}))  # type: ignore[arg-type]


def test_addresses_of_control_apis_are_read(tmp_path: Path) -> None:
    assert settings(tmp_path, control_urls=URLS).control_apis == {
        "opcua": "http://127.0.0.1:9",
        "mqtt": "http://127.0.0.1:10",
    }
    assert settings(tmp_path).control_apis == {}


def test_what_names_a_file_of_the_gateways_machine_is_left_out(connect: Connect) -> None:
    source = {
        "kind": "mqtt",
        "url": "mqtt://stranger",
        "user": "u",
        "password_file": "/etc/shadow",
        "password_env": "AURELIAN_DATABASE_URL",
        "user_certificate": "/etc/c.pem",
        "user_key": "/etc/k.pem",
        "topics": [{"topic": "a/#", "payload": {"kind": "protobuf", "file": "/etc/passwd"}}, 7],
        "tls": {"key": "/etc/k.pem", "certificate": "/etc/c.pem", "waive": ["host_name"]},
        "security": {"policy": "best", "key": "/etc/k.pem"},
    }
    gateway, fields = connect.checked(visitor("acme"), source)
    assert gateway == "mqtt"
    assert "/etc" not in json.dumps(fields) and "DATABASE" not in json.dumps(fields)
    assert fields["topics"] == [{"topic": "a/#"}]
    assert fields["tls"] == {"waive": ["host_name"]}


@pytest.mark.parametrize("source", [None, [], "x", {}, {"kind": "replay"}, {"kind": 3}])
def test_what_is_no_source_is_refused(connect: Connect, source: object) -> None:
    with pytest.raises(HTTPException) as refused:
        connect.checked(visitor("acme"), source)
    assert refused.value.status_code == 422


def test_only_a_file_that_this_company_pinned_may_be_named(connect: Connect) -> None:
    source = {"kind": "mqtt", "url": "mqtts://b", "tls": {"ca_file": "/secrets/b.pem"}}
    with pytest.raises(HTTPException):
        connect.checked(visitor("acme"), source)
    connect.note_pinned(visitor("acme"), JSONResponse({"trusted": "b", "file": "/secrets/b.pem"}))
    assert connect.checked(visitor("acme"), source)[1]["tls"] == source["tls"]
    with pytest.raises(HTTPException):
        connect.checked(visitor("other"), source)


def test_a_look_is_its_companys_alone(connect: Connect) -> None:
    connect._note_look(visitor("acme"), "opcua", json.dumps({"look": "L1", "sources": []}))
    for odd in ("", "[]", "no json", json.dumps({"look": 7})):
        connect._note_look(visitor("acme"), "opcua", odd)
    assert connect.gateway_of_look(visitor("acme"), "L1") == "opcua"
    for owner, look in (("other", "L1"), ("acme", "L2")):
        with pytest.raises(HTTPException) as refused:
            connect.gateway_of_look(visitor(owner), look)
        assert refused.value.status_code == 404


@pytest.mark.parametrize("file", [[], {}, 7, "", True, ["/secrets/b.pem"]])
def test_a_file_that_is_no_name_is_refused_like_one_that_nobody_pinned(
    connect: Connect, file: object
) -> None:
    connect.note_pinned(visitor("acme"), JSONResponse({"trusted": "b", "file": "/secrets/b.pem"}))
    with pytest.raises(HTTPException) as refused:
        connect.checked(visitor("acme"), {"kind": "mqtt", "url": "b", "tls": {"ca_file": file}})
    assert refused.value.status_code == 422


async def test_a_look_asks_for_what_its_company_may_hear(tmp_path: Path) -> None:
    asked: list[dict[str, object]] = []

    def gateway(request: httpx.Request) -> httpx.Response:
        asked.append(json.loads(request.content))
        return httpx.Response(200, text="")

    client = httpx.AsyncClient(transport=httpx.MockTransport(gateway))
    app = FastAPI()
    connect = Connect(settings(tmp_path, control_urls=URLS), client)
    app.include_router(connect_routes(connect, None))  # type: ignore[arg-type]
    app.dependency_overrides[enter_by_link] = lambda: None
    app.dependency_overrides[_visitor] = lambda: visitor("acme")
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app), base_url="http://pages"
    ) as pages:
        body = {"source": {"kind": "opcua", "url": "s:1"}, "company": "rival", "seconds": 1}
        assert (await pages.post("/connect/looks", json=body)).status_code == 200
    assert asked == [{"source": body["source"], "company": "acme", "seconds": 1}]
