"""The documentation page of an API: vendored files with their sums and licences, one origin, a
strict policy, right addresses below the API's prefix."""

import hashlib
import json
import re

import httpx
import pytest
from fastapi import APIRouter

from aurelian.runtime.api import make_app
from aurelian.runtime.docs_page import FILES_FOLDER, HEADERS
from aurelian.runtime.health import Health

MANIFEST = json.loads((FILES_FOLDER / "manifest.json").read_text())
OWN_FILES = {"docs.js", "docs.css", "icon.svg"}


def client() -> httpx.AsyncClient:
    router = APIRouter(prefix="/thing/v1")

    @router.get("/readings")
    async def list_readings() -> list[int]:
        return []

    app = make_app("A <thing>", Health("thing"), prefix="/thing/v1", routers=[router])
    return httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://thing")


def test_every_vendored_file_has_the_sum_of_the_manifest_and_its_licences() -> None:
    sums = {entry["file"]: entry["sha256"] for entry in MANIFEST["files"]}
    found = {
        path.name: hashlib.sha256(path.read_bytes()).hexdigest()
        for path in FILES_FOLDER.iterdir()
        if path.suffix in (".js", ".css", ".svg") and path.name not in OWN_FILES
    }
    assert found == sums
    for entry in MANIFEST["files"]:
        assert "Apache License" in (FILES_FOLDER / entry["licence_file"]).read_text()
        assert "SmartBear" in (FILES_FOLDER / entry["notice_file"]).read_text()


async def test_all_that_the_page_loads_is_below_the_apis_prefix_and_is_served() -> None:
    async with client() as asked:
        page = await asked.get("/thing/v1/docs")
        assert page.status_code == 200
        assert "A &lt;thing&gt;" in page.text
        loaded = set(re.findall(r'(?:href|src|data-openapi)="([^"]+)"', page.text))
        assert len(loaded) == 6
        for address in loaded:
            assert address.startswith("/thing/v1/")
            answer = await asked.get(address)
            assert answer.status_code == 200 and answer.content
        assert "/thing/v1/readings" in (await asked.get("/thing/v1/openapi.json")).json()["paths"]


async def test_the_page_may_run_no_inline_script_or_style_and_has_none() -> None:
    async with client() as asked:
        page = await asked.get("/thing/v1/docs")
    for name, value in HEADERS.items():
        assert page.headers[name] == value
    assert "unsafe" not in page.headers["content-security-policy"]
    assert not re.search(r"<style|style=|<script(?![^>]*src=)|\son\w+=", page.text)
    assert "data:" not in (FILES_FOLDER / "swagger-ui.css").read_text()


async def test_docs_lead_to_the_page_and_are_no_operations_themselves() -> None:
    async with client() as asked:
        answer = await asked.get("/docs", follow_redirects=True)
        assert answer.url.path == "/thing/v1/docs" and answer.status_code == 200
        document = (await asked.get("/thing/v1/openapi.json")).json()
    assert list(document["paths"]) == ["/thing/v1/readings"]


@pytest.mark.parametrize("name", ["manifest.json", "licence.txt", "../docs_page.py"])
async def test_no_other_file_is_served(name: str) -> None:
    async with client() as asked:
        assert (await asked.get(f"/thing/v1/docs/{name}")).status_code == 404
