"""How sources are, in a real browser: a tile says without reload what needs somebody, and the page
Connections fits every screen."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import httpx
import pytest
from playwright.async_api import expect

from aurelian.model import codec
from tests import dashboard_stack, servers
from tests.e2e.test_pages import CHROMIUM, OVERFLOW, SMALL_TARGETS, browser, tile
from tests.plant_traffic import micros, plausible

pytestmark = pytest.mark.chromium

SHOTS = os.environ.get("AURELIAN_TEST_SCREENSHOTS")
"""A folder to leave pictures of the pages in; none: no pictures."""
SIZES = ((320, 640), (1024, 768), (1920, 1080))


@pytest.fixture(scope="module")
def stack(
    postgres: servers.PostgresServer, migrated_template: str
) -> Iterator[dashboard_stack.DashboardStack]:
    if not CHROMIUM.exists():
        servers.cannot_run("no Chromium: apt-get install chromium", installable=True)
    with dashboard_stack.running_dashboard(postgres, migrated_template) as opened:
        yield opened


async def as_drawn(stack: dashboard_stack.DashboardStack, element: str) -> str:
    """The words of an element of the line's tile as the server draws it."""
    async with httpx.AsyncClient(headers=stack.headers) as client:
        text = (await client.get(stack.dashboard.url)).text
    drawn = text.partition(f'<line-frame class="tile" data-line="{stack.line.id}"')[2]
    inner = drawn.partition(f"<{element} ")[2].partition(f"</{element}>")[0]
    return inner.rpartition("</svg>")[2].partition("</")[0].strip()


async def test_a_tile_says_what_needs_somebody_and_how_many_alarms_stand_without_reload(
    stack: dashboard_stack.DashboardStack,
) -> None:
    plant, unit = stack.plants[0], stack.line.constraint
    name = stack.source.rpartition("/")[2]
    async with browser(stack) as watched, stack.heartbeats() as traffic:
        page = watched.page
        await page.goto("/")
        await page.evaluate("window.sameDocument = true")
        trouble = tile(page, stack).locator("source-trouble")
        alarms = tile(page, stack).locator("machine-alarms")
        await traffic.say_connection(plant, stack.source, "CERT_REJECTED", "it is not trusted")
        wanted = f"{name}: certificate refused, needs somebody"
        await expect(trouble).to_have_text(wanted, timeout=3000)
        assert await as_drawn(stack, "source-trouble") == wanted
        await traffic.say_alarm(plant, unit, "over-temperature", severity=800)
        await traffic.say_alarm(plant, unit, "door-open")
        await expect(alarms).to_have_text("2 machine alarms", timeout=3000)
        assert await as_drawn(stack, "machine-alarms") == "2 machine alarms"
        await traffic.say_connection(plant, stack.source, "LIVE")
        await traffic.say_alarm(plant, unit, "door-open", retain=False)
        await expect(trouble).to_be_hidden(timeout=3000)
        await expect(alarms).to_have_text("1 machine alarm", timeout=3000)
        await page.goto("/connections")
        await page.evaluate("window.sameDocument = true")
        shown = page.locator(".connections > li").filter(has_text=f"{name}: ")
        await expect(shown).to_contain_text(f"{name}: Live")
        await traffic.say_connection(
            plant,
            stack.source,
            "DEGRADED",
            "the server refuses 2 nodes",
            "compare with `aurelian browse`",
        )
        await expect(shown).to_contain_text(f"{name}: Degraded", timeout=3000)
        await expect(shown.locator("code").first).to_have_text("aurelian browse")
        assert await page.evaluate("window.sameDocument")
        assert watched.complaints == []


async def test_the_pages_fit_every_screen_with_all_that_can_be_said(
    stack: dashboard_stack.DashboardStack,
) -> None:
    plant, unit = stack.plants[0], stack.line.constraint
    sha = "3FA9C02D1122334455667788" + "99AABBCCDD" * 4
    refused = codec.Certificate(sha256=sha, subject="CN=Press PLC,O=Works,C=NO", ends=2**50)
    own = codec.Certificate(sha256=sha[::-1], ends=micros() + 10 * 86_400_000_000)
    away = codec.ServerAway(
        address="opc.tcp://plc-b.hall-2.works.example:4840/UA/Server",
        reason="cannot connect to opc.tcp://plc-b: [Errno 111] Connection refused",
        next_step="nothing listens at that port: does the OPC UA server run?",
        since=micros() - 3_600_000_000,
    )
    step = f"If it is the right server, accept it: aurelian trust add {sha[:16]}"
    others = [each.key for each in plant.sources if each.key != stack.source]
    async with browser(stack) as watched, stack.heartbeats() as traffic:
        await traffic.say_connection(
            plant, stack.source, "CERT_REJECTED",
            f"the server's certificate {sha[:16]} is refused: it is not trusted", step,
            address="opc.tcp://plc-a.hall-2.works.example:4840/UA/Server",
            own=own, refused=refused, away=[away],
        )  # fmt: skip
        for source in others:
            await traffic.say_connection(
                plant, source, "CONNECTING", "no answer", address="mqtt://b"
            )
        for unit in stack.line.units:
            await traffic.say_alarm(plant, unit, "over-temperature", severity=800)
        for line in plant.lines():
            for unit in line.units:
                values = plausible(unit, 0)
                await traffic.send_values(line, values)
        for path, name in (
            ("/", "plant"),
            (f"/lines/{stack.line.id}", "line"),
            ("/connections", "connections"),
            ("/system", "system"),
        ):
            await watched.page.goto(path)
            await expect(watched.page.locator("data-health")).to_contain_text("live")
            if path == "/connections":
                await watched.page.locator("summary").first.click()
            for width, height in SIZES:
                await watched.page.set_viewport_size({"width": width, "height": height})
                assert await watched.page.evaluate(OVERFLOW) <= 0, (path, width)
                assert await watched.page.evaluate(SMALL_TARGETS) == [], (path, width)
                if SHOTS:
                    file = Path(SHOTS) / f"{name}-{width}.png"
                    await watched.page.screenshot(path=file, full_page=True)
        assert watched.complaints == []
