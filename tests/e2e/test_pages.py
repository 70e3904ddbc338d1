"""The pages in a real browser: live without reload, honest when data or server are away, one
origin, small screens."""

import contextlib
import html
import os
import time
from collections.abc import AsyncIterator, Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx
import pytest
from playwright.async_api import Page, async_playwright, expect

from aurelian.events import schemas
from aurelian.model.plant_parts import Role
from aurelian.model.sample import ValueType
from tests import dashboard_stack, servers
from tests.plant_traffic import PlantTraffic, plausible, state_named
from tests.waiting import until

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
    .filter((element) => element.textContent.replaceAll('last Running', '').includes('Running')
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
        context = await chromium.new_context(
            base_url=dashboard_only.dashboard.url, extra_http_headers=dashboard_only.headers
        )
        context.set_default_timeout(10_000)
        yield Watched(await context.new_page())
        await chromium.close()


def tile(page: Page, dashboard_only: dashboard_stack.DashboardStack):  # type: ignore[no-untyped-def]
    return page.locator(f'line-frame[data-line="{dashboard_only.line.id}"]')


async def send_state(
    traffic: PlantTraffic,
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
                        line, [v for unit in line.units for v in plausible(unit, 0)]
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
            "No data last Running"
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


async def test_what_ends_a_state_is_said_at_once_and_as_the_server_says_it(
    dashboard_only: dashboard_stack.DashboardStack,
) -> None:
    """The browser repeats the rules of marks.py: both say the same of a refused state."""
    unit = dashboard_only.line.constraint
    state = next(
        signal
        for signal, model in zip(unit.signals(), unit.model.signals, strict=True)
        if model.role is Role.STATE
    )
    execute = state_named(6) if state.type is ValueType.TEXT else 6
    async with browser(dashboard_only) as watched, dashboard_only.heartbeats() as traffic:
        page = watched.page
        await traffic.send_values(dashboard_only.line, [(state, execute, state.type, 0)])
        await send_state(traffic, dashboard_only, "running")
        await page.goto("/")
        shown = tile(page, dashboard_only).locator(".band .state")
        await expect(shown.locator(".word")).to_have_text("Running")
        await traffic.refuse(dashboard_only.plants[0], unit, state, "'Offline' came as TEXT")
        await expect(shown.locator(".word")).to_have_text("No data", timeout=3000)
        await expect(shown.locator(".since")).to_contain_text(
            ": values refused: 'Offline' came as TEXT"
        )
        live = await shown.text_content()
        async with httpx.AsyncClient(headers=dashboard_only.headers) as client:
            text = (await client.get(dashboard_only.dashboard.url)).text
        drawn = text.partition(f'<line-frame class="tile" data-line="{dashboard_only.line.id}"')[2]
        since = drawn.partition('<span class="since">')[2].partition("</span>")[0]
        assert html.unescape(since) in str(live)
        await traffic.send_values(dashboard_only.line, [(state, execute, state.type, 0)])
        await expect(shown.locator(".word")).to_have_text("Running", timeout=3000)


async def test_tabs_of_one_browser_share_one_stream(
    dashboard_only: dashboard_stack.DashboardStack,
) -> None:
    def streams() -> float:
        metrics = httpx.get(f"{dashboard_only.dashboard.ops_url}/metrics").text
        return float(metrics.partition("\ndashboard_stream_clients ")[2].partition("\n")[0])

    async with browser(dashboard_only) as watched, dashboard_only.heartbeats() as traffic:
        await send_state(traffic, dashboard_only, "running")
        await watched.page.goto("/")
        second = await watched.page.context.new_page()
        await second.goto("/")
        await until(lambda: streams() == 1, what="one stream")
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


SCORE_TOUCHES = """() => [...document.querySelectorAll('.score dl')].flatMap((list) => {
    const boxes = [...list.querySelectorAll('dd')].map((box) => {
        const range = document.createRange();
        range.selectNodeContents(box);
        return range.getBoundingClientRect();
    });
    const edge = list.getBoundingClientRect().right + 1;
    const cut = boxes.filter((box) => box.right > edge).map((box) => [box.right, edge]);
    return cut.concat(boxes.flatMap((a, i) => boxes.slice(i + 1).filter((b) => a.left < b.right + 4
        && b.left < a.right + 4 && a.top < b.bottom - 4 && b.top < a.bottom - 4)
        .map((b) => [a.left, a.right, b.left, b.right])));
})"""


async def test_figures_say_since_when_they_count_and_why_one_is_over_a_hundred(
    dashboard_only: dashboard_stack.DashboardStack,
) -> None:
    start = datetime.now(UTC) - timedelta(hours=5)
    note = "The ideal cycle is too slow: 13000 pieces took 9000 s of production and not 13000 s"
    data: dict[str, object] = {
        "shift": "late",
        "shift_start": start.isoformat(),
        "shift_end": (start + timedelta(hours=8)).isoformat(),
        "planned_busy_s": 12_000.0,
        "production_s": 9_000.0,
        "no_data_s": 0.0,
        "good": 12_990.0,
        "scrap": 10.0,
        "target": 25_340.0,
        "availability": 0.75,
        "effectiveness": 1.444,
        "quality": 0.999,
        "oee": 1.08,
        "computed_at": (datetime.now(UTC) + timedelta(seconds=5)).isoformat(),
        "counts_from": (start + timedelta(hours=2)).isoformat(),
        "bridged": 40.0,
        "note": note,
    }
    line = dashboard_only.line
    async with browser(dashboard_only) as watched, dashboard_only.heartbeats() as traffic:
        page = watched.page
        notes = page.locator(f'score-notes[data-line="{line.id}"]')
        oee = page.locator(f'score-board[data-line="{line.id}"] .oee')
        await page.goto("/")
        await expect(notes).to_be_hidden()
        await expect(oee.locator(".shape")).to_have_count(0)
        await traffic.send_event(line, schemas.LINE_KPI_UPDATED, line.id, data)
        await expect(notes).to_contain_text(note)
        for path in ("/", f"/lines/{line.id}"):
            await page.goto(path)  # as the server draws it, then as the stream does
            answer = await page.request.get(path)
            for text in (html.unescape(await answer.text()), await notes.inner_text()):
                assert note in text, path
                assert "not from the start of the shift" in text, path
                assert ("40 of the pieces" in text) is (path != "/"), path
            await expect(oee).to_contain_text("108")
            await expect(oee.locator(".shape")).to_be_visible()
            for width in (320, 390, 1024, 1280, 1920):
                await page.set_viewport_size({"width": width, "height": 900})
                assert await page.evaluate(OVERFLOW) <= 0, (path, width)
                assert await page.evaluate(SCORE_TOUCHES) == [], (path, width)
                if folder := os.environ.get("AURELIAN_TEST_SCREENSHOTS"):
                    name = f"{'plant' if path == '/' else 'line'}-{width}.png"
                    await page.screenshot(path=Path(folder) / name, full_page=True)
        assert watched.complaints == []
