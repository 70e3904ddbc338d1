"""Pages over a whole stack in a real browser that reaches no other host: Help, the documentation
page of each API, and Connect over the control API of a running gateway, at a server that shares no
line with ours; and that no key connects anything beyond its company."""

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Page, async_playwright, expect

from aurelian.access.keys import create_key
from aurelian.local.services import pepper_file
from tests import servers
from tests.e2e.test_pages import SMALL_TARGETS
from tests.e2e.whole import Stack
from tests.peers.node_opcua_server import node_opcua
from tests.waiting import until

pytestmark = pytest.mark.chromium

CHROMIUM = Path("/usr/bin/chromium")
FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-background-networking",
    "--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
]
APIS = {
    "/history/v1": "/history/v1/samples",
    "/maintenance/v1": "/maintenance/v1/cases",
    "/capacity/v1": "/capacity/v1/operations-capabilities",
    "/events/v1": "/events/v1/stream",
}
"""An operation of each API."""

SIZES = ((320, 640), (1024, 768), (1920, 1080))
SHOTS = os.environ.get("AURELIAN_TEST_SCREENSHOTS")
"""A folder to leave pictures of the pages in; none: no pictures."""

OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"


@contextlib.asynccontextmanager
async def offline_page(stack: Stack) -> AsyncIterator[tuple[Page, list[str], list[str]]]:
    """A page, what it asked for, and what it complained about."""
    asked: list[str] = []
    complaints: list[str] = []
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = await chromium.new_page(
            base_url=stack.url, extra_http_headers=stack.headers_of("pilot-a")
        )
        page.on("request", lambda request: asked.append(request.url))
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on(
            "console",
            lambda message: (
                complaints.append(message.text) if message.type in ("error", "warning") else None
            ),
        )
        yield page, asked, complaints
        await chromium.close()


@pytest.fixture(autouse=True)
def chromium() -> None:
    """Skip where no browser is."""
    if not CHROMIUM.exists():
        servers.cannot_run("no Chromium: apt-get install chromium", installable=True)


async def look(page: Page, name: str) -> None:
    """Nothing is cut off at any size; leaves a picture where one is wanted."""
    for width, height in SIZES:
        await page.set_viewport_size({"width": width, "height": height})
        if SHOTS:
            await page.screenshot(path=Path(SHOTS) / f"{name}-{width}.png")
        assert await page.evaluate(OVERFLOW) <= 0, (name, width)


async def test_help_lists_every_api_and_each_documentation_page_renders_without_another_host(
    stack: Stack,
) -> None:
    async with offline_page(stack) as (page, asked, complaints):
        await page.goto("/")
        await page.get_by_role("link", name="Help").click()
        await expect(page.locator("h1")).to_have_text("Help")
        await look(page, "help")
        listed = [
            str(await link.get_attribute("href")) for link in await page.locator(".apis a").all()
        ]
        assert [path for path in listed if path.endswith("/docs")] == [
            f"{prefix}/docs" for prefix in APIS
        ]
        for prefix, operation in APIS.items():
            await page.goto(f"{prefix}/docs")
            shown = page.locator(f'.opblock-summary-path[data-path="{operation}"]')
            await expect(shown).to_be_visible(timeout=15_000)
            await look(page, prefix.strip("/").replace("/", "-"))
            await shown.click()
            await expect(page.locator(".opblock.is-open .opblock-body")).to_be_visible()
            await look(page, prefix.strip("/").replace("/", "-") + "-open")
        assert complaints == []
        assert {url for url in asked if not url.startswith(stack.url + "/")} == set()
    async with httpx.AsyncClient(base_url=stack.url, headers=stack.headers_of("pilot-a")) as client:
        for path in listed:
            assert (await client.get(path)).status_code == 200, path


async def test_an_operation_can_be_tried_on_the_documentation_page(stack: Stack) -> None:
    async with offline_page(stack) as (page, _, complaints):
        await page.goto("/maintenance/v1/docs")
        await page.locator('.opblock-summary-path[data-path="/maintenance/v1/cases"]').click()
        await page.get_by_role("button", name="Try it out").click()
        await page.get_by_role("button", name="Execute").click()
        await expect(page.locator(".live-responses-table tbody .response-col_status")).to_have_text(
            "200", timeout=10_000
        )
        assert complaints == []


SITE, SOURCE = "page-site", "pilot-a/page-site/page-plc"


def needs_chromium() -> None:
    if not CHROMIUM.exists():
        servers.cannot_run("no Chromium: apt-get install chromium", installable=True)


async def test_from_an_address_to_a_live_machine_and_back(stack: Stack, tmp_path: Path) -> None:
    needs_chromium()
    async with node_opcua(tmp_path, nodes=2) as server, async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=CHROMIUM, args=FLAGS)
        page = await (await chromium.new_context()).new_page()
        page.set_default_timeout(20_000)
        wrong: list[str] = []
        page.on("pageerror", lambda error: wrong.append(str(error)))
        await page.goto(stack.link_of("pilot-a", "/connect"))
        # Nobody listens there: it says so, and what to do.
        await page.get_by_label("Address").fill("127.0.0.1:9")
        await page.get_by_role("button", name="Connect", exact=True).click()
        failed = page.locator('.ladder li[data-verdict="failed"]')
        await expect(failed).to_contain_text("nothing listens at port 9")
        await expect(failed).to_contain_text("Do:")
        await page.get_by_label("Address").fill(server.url)
        await page.get_by_text("Name, user", exact=True).click()
        await page.get_by_label("Name of the source").fill("page-plc")
        await page.get_by_role("button", name="Connect", exact=True).click()
        await expect(page.locator("connect-machine tbody tr")).to_have_count(2, timeout=40_000)
        await page.get_by_label("Site", exact=True).fill(SITE)
        await page.get_by_role("button", name="Show what changes").click()
        await expect(page.locator(".change")).to_contain_text(SOURCE)
        await fits_every_screen(page)
        looked = asyncio.get_running_loop().create_future()
        page.on("request", lambda r: r.url.endswith("/write") and looked.set_result(r.url))
        await page.get_by_role("button", name="Write it and go live").click()
        await expect(page.get_by_text("See it on the plant page")).to_be_visible(timeout=90_000)
        file = Path(str(stack.status["own_plant"])) / f"{SITE}.yaml"
        assert "page-plc" in file.read_text()
        try:
            await nothing_counts_there(page, stack)
            await a_mistake_in_the_file_is_told(page, stack, file)
            assert not wrong
            await chromium.close()
            await no_key_reaches_further(stack, (await looked).rsplit("/", 2)[1])
        finally:
            file.unlink()
        await until(lambda: sources_of(stack, "pilot-a", SOURCE) == [], "nothing of it", 30)


async def fits_every_screen(page: Page) -> None:
    for width, height in SIZES:
        await page.set_viewport_size({"width": width, "height": height})
        assert await page.evaluate(OVERFLOW) <= 0, width
        assert await page.evaluate(SMALL_TARGETS) == [], width
        if SHOTS:
            await page.screenshot(path=f"{SHOTS}/connect-{width}.png", full_page=True)


async def nothing_counts_there(page: Page, stack: Stack) -> None:
    """Nobody said what counts good pieces: dashes, as the server draws them and as the stream
    does."""
    await page.goto(stack.link_of("pilot-a", "/"))
    tile = page.locator("line-frame", has_text="no count of good pieces").first
    await expect(tile.locator("score-board dd").nth(1)).to_have_text("–")
    await expect(tile.locator("score-board .oee dd")).to_have_text("–")


async def a_mistake_in_the_file_is_told(page: Page, stack: Stack, file: Path) -> None:
    text = await asyncio.to_thread(file.read_text)
    await asyncio.to_thread(file.write_text, text + "rolle: x\n")
    try:
        await page.goto(stack.link_of("pilot-a", "/connections"))
        told = page.locator(".connections li", has_text="page-plc").first
        await expect(told).to_contain_text(
            "Changes of the plant files are not taken up", timeout=30_000
        )
        await expect(told).to_contain_text(f"{SITE}.yaml:")
        for width, height in SIZES:
            await page.set_viewport_size({"width": width, "height": height})
            assert await page.evaluate(OVERFLOW) <= 0, width
            if SHOTS:
                await page.screenshot(path=f"{SHOTS}/refused-{width}.png")
        of_others = "One that is not of your machines cannot be used"
        await until(lambda: of_others in connections_of(stack, "pilot-b"), "theirs", 30)
        assert SITE not in connections_of(stack, "pilot-b")
    finally:
        await asyncio.to_thread(file.write_text, text)
    await expect(told).not_to_contain_text(
        "Changes of the plant files are not taken up", timeout=30_000
    )


def connections_of(stack: Stack, company: str) -> str:
    return httpx.get(f"{stack.url}/connections", headers=stack.headers_of(company)).text


def sources_of(stack: Stack, company: str, source: str) -> list[str]:
    answer = httpx.get(f"{stack.url}/connect/sources", headers=stack.headers_of(company)).json()
    return [each["source"] for each in answer["sources"] if each["source"] == source]


def reading_key(stack: Stack) -> str:
    pepper = pepper_file(stack.home).read_bytes()
    return create_key(
        stack.database_url, owner="pilot-a", name="reads", scopes=["history:read"], pepper=pepper
    )


async def no_key_reaches_further(stack: Stack, look: str) -> None:
    assert sources_of(stack, "pilot-a", SOURCE) == [SOURCE]
    assert sources_of(stack, "pilot-b", SOURCE) == []
    other, own = stack.headers_of("pilot-b"), stack.headers_of("pilot-a")
    place = {"site": SITE, "area": "hall", "line": "line-1", "time_zone": "UTC"}
    thief = {"kind": "mqtt", "url": "mqtt://127.0.0.1:9", "tls": {"ca_file": "/etc/passwd"}}
    control_key = next(stack.home.rglob("control.key")).read_text().strip()
    async with httpx.AsyncClient(base_url=stack.url) as client:

        async def post(path: str, body: object, headers: dict[str, str]) -> tuple[int, str]:
            answer = await client.post(f"/connect{path}", json=body, headers=headers)
            assert control_key not in answer.text
            return answer.status_code, answer.text

        assert (await post(f"/looks/{look}/plan", place, other))[0] == 404
        assert (await post("/ladder", {"key": SOURCE}, other))[0] == 404
        status, said = await post("/ladder", {"key": SOURCE}, own)
        assert status == 200 and json.loads(said.splitlines()[-1]) == {"end": "climbed"}
        assert (await post("/ladder", {"source": thief}, own))[0] == 422
        secret = {"kind": "opcua", "url": "opc.tcp://127.0.0.1:9", "password_file": "/etc/passwd"}
        assert "/etc/passwd" not in (await post("/ladder", {"source": secret}, own))[1]
        crossed = {**own, "sec-fetch-site": "cross-site"}
        assert (await post("/ladder", {"key": SOURCE}, crossed))[0] == 403
        reads = {"authorization": f"Bearer {await asyncio.to_thread(reading_key, stack)}"}
        assert (await post("/ladder", {"key": SOURCE}, reads))[0] == 403
        assert (await post("/ladder", {"key": SOURCE}, {}))[0] in (401, 403)
