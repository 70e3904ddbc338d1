"""The pages, their parts that are fetched again, the stream and the snapshot. Made by app.py."""

from __future__ import annotations

import asyncio
import hashlib
import json
import logging
from collections.abc import AsyncIterator
from datetime import timedelta
from pathlib import Path
from typing import Annotated, Any, Literal

import httpx
from fastapi import APIRouter, Header, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, StreamingResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from aurelian.model.asset import Asset
from dashboard import guard, pages, queries, timeline, words
from dashboard.encoding import from_ms
from dashboard.feed import now_ms
from dashboard.forward import authorization
from dashboard.freshness import Freshness
from dashboard.hub import Hub
from dashboard.settings import DashboardSettings

log = logging.getLogger(__name__)

HERE = Path(__file__).parent
STATIC = HERE / "static"
TIMELINE_HOURS = 8
STOP_HOURS = 24
RETRY_MS = 2000
"""How long browsers wait before they ask for the stream again."""

THEMES = ("light", "dark")


def build_hash() -> str:
    """Twelve hex digits that change with any page or script."""
    digest = hashlib.sha256()
    for path in sorted([*STATIC.rglob("*"), *(HERE / "templates").rglob("*")]):
        if path.is_file():
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:12]


class Renderer:
    """Fills templates; every page gets the moment, the build and the limits by which its script
    judges ages."""

    def __init__(self, settings: DashboardSettings, hub: Hub) -> None:
        self._settings, self._hub = settings, hub
        self._templates = Environment(
            loader=FileSystemLoader(HERE / "templates"),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
        )
        self._templates.globals.update(
            words=words, pages=pages, from_ms=from_ms, import_map=guard.IMPORT_MAP
        )

    def part(self, template: str, **content: Any) -> str:
        """A piece of a page."""
        return self._templates.get_template(template).render(**content)

    def page(
        self, template: str, request: Request, code: int = 200, **content: Any
    ) -> HTMLResponse:
        """A whole page."""
        now = content.pop("now", None) or now_ms()
        plant = self._hub.plant
        status = read_status(self._settings.status_file)
        theme = request.query_params.get("theme")
        limits = {
            "live": plant.limits.live_ms,
            "late": plant.limits.late_ms,
            "offline": int(self._settings.offline_s * 1000),
        }
        text = self.part(
            template,
            now=now,
            theme=theme if theme in THEMES else None,
            health=pages.data_health(plant, now),
            status=status,
            problem=self._hub.problem,
            here=template.removesuffix(".html"),
            clock_zone=str(content.get("zone") or pages.plant_zone(plant)),
            code=code,
            boot={"limits": limits, **self._hub.snapshot(now)},
            **content,
        )
        return HTMLResponse(text, code, headers={"cache-control": "no-store"})


def make_routes(
    settings: DashboardSettings,
    hub: Hub,
    engine: AsyncEngine,
    client: httpx.AsyncClient,
    render: Renderer,
    stopping: asyncio.Event,
) -> APIRouter:
    """All routes of the pages. `stopping` ends the streams when the process is told to end."""
    router = APIRouter(include_in_schema=False)

    def line_or_404(line: str) -> Asset:
        asset = hub.plant.assets.get(line)
        if asset is None or asset.level != "line":
            raise HTTPException(404, "no such line")
        return asset

    @router.get("/")
    async def plant_page(request: Request) -> HTMLResponse:
        now = now_ms()
        return render.page(
            "plant.html",
            request,
            now=now,
            sites=pages.sites(hub.plant, now),
            **_alarm_content(hub, None, now),
        )

    @router.get("/lines/{line}")
    async def line_page(request: Request, line: str) -> HTMLResponse:
        asset, now = line_or_404(line), now_ms()
        return render.page(
            "line.html",
            request,
            line=pages.line_view(hub.plant, asset, now, all_signals=True),
            **await _history_content(hub, engine, asset, now),
            **_alarm_content(hub, asset, now),
        )

    @router.get("/signals/{signal}")
    async def signal_page(request: Request, signal: str) -> HTMLResponse:
        found, now = hub.plant.signals.get(signal), now_ms()
        if found is None:
            raise HTTPException(404, "no such signal")
        line = hub.plant.line_of(found.asset)
        zone = pages.zone_of(line)
        return render.page(
            "signal.html",
            request,
            now=now,
            signal=found,
            unit_asset=hub.plant.assets.get(found.asset),
            line=line,
            zone=zone,
            view=pages.value_view(hub.plant, found, now, zone),
            age=pages.age_words(hub.plant, found.asset, now, zone, found.source),
            steps=pages.steps(found),
        )

    @router.get("/system")
    async def system_page(request: Request) -> HTMLResponse:
        now = now_ms()
        sources, away = await _sources(engine)
        return render.page(
            "system.html",
            request,
            now=now,
            sources=sources,
            database_away=away,
            ledger=await _ledger(settings, client, now),
            clients=hub.clients,
            signals=len(hub.plant.signals),
        )

    @router.get("/parts/{part}/{line}")
    async def history_part(part: Literal["timeline", "stops"], line: str) -> HTMLResponse:
        asset, now = line_or_404(line), now_ms()
        return HTMLResponse(
            render.part(f"_{part}.html", **await _history_content(hub, engine, asset, now))
        )

    @router.get("/parts/alarms")
    async def alarms_part(line: str | None = None) -> HTMLResponse:
        asset = line_or_404(line) if line is not None else None
        return HTMLResponse(render.part("_alarms.html", **_alarm_content(hub, asset, now_ms())))

    @router.get("/words.js")
    async def word_tables() -> Response:
        text = f"export const WORDS = {json.dumps(words.for_browser())};\n"
        return Response(text, media_type="text/javascript", headers={"cache-control": "no-cache"})

    @router.get("/snapshot")
    async def snapshot() -> Response:
        return JSONResponse(hub.snapshot(now_ms()), headers={"cache-control": "no-store"})

    @router.get("/stream")
    async def stream(
        last: int | None = None, last_event_id: Annotated[str | None, Header()] = None
    ) -> StreamingResponse:
        named = int(last_event_id) if last_event_id and last_event_id.isdecimal() else last
        return StreamingResponse(
            _events(hub, named, stopping),
            media_type="text/event-stream",
            headers={"cache-control": "no-cache, no-transform", "x-accel-buffering": "no"},
        )

    return router


async def _events(hub: Hub, last_id: int | None, stopping: asyncio.Event) -> AsyncIterator[str]:
    """One browser's stream: what it missed or a snapshot, then whatever happens."""
    client = hub.join(last_id)
    try:
        yield f"retry: {RETRY_MS}\n\n"
        while not stopping.is_set():
            if text := hub.take(client, now_ms()):
                yield text
            await _either(client.wake, stopping)
    finally:
        hub.leave(client)


async def _either(first: asyncio.Event, second: asyncio.Event) -> None:
    """Wait until one of two events is set."""
    waits = [asyncio.ensure_future(event.wait()) for event in (first, second)]
    try:
        await asyncio.wait(waits, return_when=asyncio.FIRST_COMPLETED)
    finally:
        for wait in waits:
            wait.cancel()


async def _history_content(hub: Hub, engine: AsyncEngine, line: Asset, now: int) -> dict[str, Any]:
    """Timeline and stops of a line; `history_away` when the database does not answer."""
    moment, zone = from_ms(now), pages.zone_of(line)
    spans: list[queries.Span] = []
    stops: list[queries.Stop] = []
    away = False
    try:
        async with engine.connect() as connection:
            spans = await queries.read_spans(
                connection, line.id, moment - timedelta(hours=TIMELINE_HOURS)
            )
            stops = await queries.read_stops(
                connection, line.id, moment - timedelta(hours=STOP_HOURS)
            )
    except (DBAPIError, OSError):
        away = True
    if hub.plant.freshness(line.id, now) is Freshness.STALE:
        spans = timeline.until(spans, from_ms(hub.plant.heard_ms(line.id)))
    return {
        "history_away": away,
        "hours": TIMELINE_HOURS,
        "rows": timeline.rows(spans, moment, zone, TIMELINE_HOURS),
        "spans": list(reversed(spans)),
        "stops": stops,
        "zone": zone,
        "now": now,
        "units": {unit.id: unit.title for unit in hub.plant.units_of(line)},
    }


def _alarm_content(hub: Hub, line: Asset | None, now: int) -> dict[str, Any]:
    alarms = [
        {
            **alarm,
            "asset_title": asset.title if (asset := hub.plant.assets.get(alarm["asset"])) else "",
            "line_asset": hub.plant.line_of(alarm["asset"]),
            "since": pages.when(
                alarm["raised_at"], now, pages.zone_of(hub.plant.line_of(alarm["asset"]))
            ),
        }
        for alarm in pages.alarms(hub.plant, line)
    ]
    return {"alarms": alarms, "alarms_of": line.id if line is not None else None}


async def _sources(engine: AsyncEngine) -> tuple[list[Any], bool]:
    try:
        async with engine.connect() as connection:
            return list(await queries.read_sources(connection)), False
    except (DBAPIError, OSError):
        return [], True


async def _ledger(settings: DashboardSettings, client: httpx.AsyncClient, now: int) -> Any:
    """The last day's ledger as the history API gives it; None when it does not answer."""
    start = from_ms(now) - timedelta(hours=24)
    try:
        answer = await client.get(
            f"{settings.history_url}/history/v1/ledger",
            params={"from": start.isoformat().replace("+00:00", "Z")},
            headers=authorization(settings),
            timeout=2.0,
        )
        ledger = answer.json() if answer.status_code == 200 else None
    except (httpx.HTTPError, ValueError):
        return None
    return ledger if isinstance(ledger, dict) and isinstance(ledger.get("rows"), list) else None


def read_status(file: Path | None) -> dict[str, Any] | None:
    """What the launcher says of broker and services; None where there is none."""
    if file is None:
        return None
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
