"""The page Help and the documentation page of each API in a real browser that reaches no other
host."""

import contextlib
import os
from collections.abc import AsyncIterator
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Page, async_playwright, expect

from tests import servers
from tests.e2e.whole import Stack

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
