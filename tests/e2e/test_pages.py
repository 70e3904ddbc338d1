"""The pages in a real browser: live without reload, honest when data or server are away, one
origin, small screens."""

import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Page, async_playwright, expect

from aurelian.events import schemas
from aurelian.model.sample import ValueType
from tests import dashboard_stack, servers

pytestmark = pytest.mark.chromium

CHROMIUM = Path("/usr/bin/chromium")
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]

SHOWS_RUNNING = """() => [...document.querySelectorAll('*')]
    .filter((element) => element.textContent.includes('Running')
        || element.title?.includes?.('Running'))
    .map((element) => element.localName)"""

OVERFLOW = "document.documentElement.scrollWidth - document.documentElement.clientWidth"

SMALL_TARGETS = """() => [...document.querySelectorAll(
    'nav a, button, summary, .signals dt a, a.band, .brand')]
    .filter((target) => target.checkVisibility() && target.getBoundingClientRect().height < 46)
    .map((target) => target.outerHTML)"""


@pytest.fixture(scope="module")
def dashboard_only(
    postgres: servers.PostgresServer, migrated_template: str
) -> Iterator[dashboard_stack.DashboardStack]:
    if not CHROMIUM.exists():
        servers.cannot_run("no Chromium: apt-get install chromium", installable=True)
    with dashboard_stack.running_dashboard(postgres, migrated_template) as opened:
        yield opened


class Watched:
    """A page with everything that it asked for and complained about."""

    def __init__(self, page: Page) -> None:
        self.page = page
        self.asked: list[str] = []
        self.complaints: list[str] = []
        page.on("request", lambda request: self.asked.append(request.url))
        page.on("pageerror", lambda error: self.complaints.append(str(error)))
        page.on(
            "console",
            lambda said: (
                self.complaints.append(said.text) if said.type in ("error", "warning") else None
            ),
        )


@contextlib.asynccontextmanager
async def browser(dashboard_only: dashboard_stack.DashboardStack) -> AsyncIterator[Watched]:
    async with async_playwright() as playwright:
        chromium = await playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        context = await chromium.new_context(base_url=dashboard_only.dashboard.url)
        context.set_default_timeout(10_000)
        yield Watched(await context.new_page())
        await chromium.close()


def tile(page: Page, dashboard_only: dashboard_stack.DashboardStack):  # type: ignore[no-untyped-def]
    return page.locator(f'line-frame[data-line="{dashboard_only.line.id}"]')


async def send_state(
    traffic: dashboard_stack.PlantTraffic,
    dashboard_only: dashboard_stack.DashboardStack,
    state: str,
) -> None:
    since = datetime.now(UTC).isoformat()
    data = {
        "state": state,
        "previous": "slow",
        "unit": None,
        "reason": "because of a test",
        "since": since,
    }
    await traffic.send_event(
        dashboard_only.line, schemas.LINE_STATE_CHANGED, dashboard_only.line.id, data
    )


async def test_tiles_turn_stale_without_a_word_of_running_and_live_again_without_reload(
    dashboard_only: dashboard_stack.DashboardStack,
) -> None:
    async with browser(dashboard_only) as watched:
        page = watched.page
        async with dashboard_only.heartbeats() as traffic:
            for plant in dashboard_only.plants:
                for line in plant.lines():
                    await traffic.send_values(
                        line, [v for unit in line.units for v in dashboard_stack.plausible(unit, 0)]
                    )
            await send_state(traffic, dashboard_only, "running")
            await page.goto("/")
            await page.evaluate("window.sameDocument = true")
            await expect(tile(page, dashboard_only)).to_have_attribute("data-freshness", "live")
            await expect(tile(page, dashboard_only).locator(".band .word")).to_have_text("Running")
        await expect(
            page.locator('[data-testid="line-tile"]:not([data-freshness="stale"])')
        ).to_have_count(0)
        await expect(
            page.locator('[data-freshness="live"], [data-freshness="late"]')
        ).to_have_count(0)
        await expect(tile(page, dashboard_only).locator(".band .state")).to_contain_text(
            "No data since"
        )
        assert await page.evaluate(SHOWS_RUNNING) == []
        await page.goto(f"/lines/{dashboard_only.line.id}")
        await page.evaluate("window.sameDocument = true")
        await expect(page.locator('[data-testid]:not([data-freshness="stale"])')).to_have_count(0)
        assert await page.evaluate(SHOWS_RUNNING) == []
        async with dashboard_only.heartbeats():
            await expect(tile(page, dashboard_only).first).to_have_attribute(
                "data-freshness", "live", timeout=5000
            )
            await expect(tile(page, dashboard_only).first.locator(".band .word")).to_have_text(
                "Running"
            )
        assert await page.evaluate("window.sameDocument")
        assert watched.complaints == []


async def test_a_stop_and_a_value_appear_within_two_seconds(
    dashboard_only: dashboard_stack.DashboardStack,
) -> None:
    unit = dashboard_only.line.constraint
    signal = next(signal for signal in unit.signals() if signal.type is ValueType.DOUBLE)
    async with browser(dashboard_only) as watched, dashboard_only.heartbeats() as traffic:
        page = watched.page
        await send_state(traffic, dashboard_only, "running")
        await page.goto(f"/lines/{dashboard_only.line.id}")
        await expect(tile(page, dashboard_only).first.locator(".band .word")).to_have_text(
            "Running"
        )
        await send_state(traffic, dashboard_only, "down")
        await expect(tile(page, dashboard_only).first.locator(".band .word")).to_have_text(
            "Down", timeout=2000
        )
        await expect(page.locator("#announce-polite")).to_contain_text("Down")
        await page.goto(f"/signals/{signal.id}")
        await traffic.send_values(dashboard_only.line, [(signal, 2718.25, ValueType.DOUBLE, 0)])
        await expect(page.locator(".big .number")).to_have_text("2,718.3", timeout=2000)
        await expect(page.locator(".chart")).to_be_visible()
        await expect(page.locator(".note")).to_contain_text("History is not there")


async def test_a_server_that_goes_away_is_said_so_on_every_tile_and_comes_back_by_itself(
    dashboard_only: dashboard_stack.DashboardStack,
) -> None:
    async with browser(dashboard_only) as watched, dashboard_only.heartbeats() as traffic:
        page = watched.page
        await send_state(traffic, dashboard_only, "running")
        await page.goto("/")
        await expect(tile(page, dashboard_only).locator(".band .word")).to_have_text("Running")
        dashboard_only.dashboard.kill()
        await expect(page.locator("stream-banner")).to_contain_text(
            "No connection to the server since", timeout=12_000
        )
        await expect(
            page.locator('[data-testid="line-tile"]:not([data-freshness="offline"])')
        ).to_have_count(0)
        assert await page.evaluate(SHOWS_RUNNING) == []
        # While it is away: once it is back the page may be quicker than a click.
        await page.get_by_role("button", name="Retry now").click()
        began = time.monotonic()
        dashboard_only.dashboard.start()
        await expect(tile(page, dashboard_only)).to_have_attribute(
            "data-freshness", "live", timeout=35_000
        )
        assert time.monotonic() - began < 35
        await expect(page.locator("stream-banner")).to_be_hidden()


async def test_every_page_asks_one_origin_only_and_complains_of_nothing(
    dashboard_only: dashboard_stack.DashboardStack,
) -> None:
    signal = next(dashboard_only.line.constraint.signals())
    async with browser(dashboard_only) as watched, dashboard_only.heartbeats():
        for path in ("/", f"/lines/{dashboard_only.line.id}", "/system", "/help"):
            await watched.page.goto(path)
            await expect(watched.page.locator("data-health")).to_contain_text("live")
        assert watched.complaints == []
        await watched.page.goto(f"/signals/{signal.id}")
        await expect(watched.page.locator(".note")).to_be_visible()
        assert all("502" in said for said in watched.complaints)  # no history service here
        assert {
            url for url in watched.asked if not url.startswith(dashboard_only.dashboard.url + "/")
        } == set()


async def test_tabs_of_one_browser_share_one_stream(
    dashboard_only: dashboard_stack.DashboardStack,
) -> None:
    def streams() -> float:
        metrics = httpx.get(f"{dashboard_only.dashboard.url}/metrics").text
        return float(metrics.partition("\ndashboard_stream_clients ")[2].partition("\n")[0])

    async with browser(dashboard_only) as watched, dashboard_only.heartbeats() as traffic:
        await send_state(traffic, dashboard_only, "running")
        await watched.page.goto("/")
        second = await watched.page.context.new_page()
        await second.goto("/")
        await dashboard_stack.until(lambda: streams() == 1, what="one stream")
        await send_state(traffic, dashboard_only, "down")
        for page in (watched.page, second):
            await expect(tile(page, dashboard_only).locator(".band .word")).to_have_text("Down")
        assert streams() == 1
        await watched.page.close()
        await send_state(traffic, dashboard_only, "planned")
        await expect(tile(second, dashboard_only).locator(".band .word")).to_have_text("Planned")


async def test_nothing_is_cut_off_or_too_small_to_touch_on_any_screen(
    dashboard_only: dashboard_stack.DashboardStack,
) -> None:
    signal = next(dashboard_only.line.constraint.signals())
    async with browser(dashboard_only) as watched, dashboard_only.heartbeats():
        page = watched.page
        for path in (
            "/",
            f"/lines/{dashboard_only.line.id}",
            f"/signals/{signal.id}",
            "/system",
            "/help",
        ):
            await page.goto(path)
            await expect(page.locator("data-health")).to_contain_text("live")
            for width, height in ((320, 640), (1024, 768), (1920, 1080)):
                await page.set_viewport_size({"width": width, "height": height})
                assert await page.evaluate(OVERFLOW) <= 0, (path, width)
                assert await page.evaluate(SMALL_TARGETS) == [], (path, width)
