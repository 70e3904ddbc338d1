"""The pages, their parts that are fetched again, the stream and the snapshot. Made by app.py."""

from __future__ import annotations

import json
import re
import time
from collections.abc import AsyncIterator
from datetime import timedelta
from typing import Annotated, Any, Literal

import httpx
from fastapi import APIRouter, Depends, Header, HTTPException, Request, Response
from fastapi.responses import HTMLResponse
from fastapi.sse import EventSourceResponse, ServerSentEvent
from sqlalchemy.exc import DBAPIError
from sqlalchemy.ext.asyncio import AsyncEngine

from aurelian.model.asset import Asset
from aurelian.model.time import from_ms, now_ms, to_iso
from dashboard import formats, machine_alarms, marks, pages, queries, timeline
from dashboard.connection_views import details_of, views_of
from dashboard.forward import FORWARDED_APIS, authorization
from dashboard.freshness import Freshness
from dashboard.gate import CurrentVisitor, NoKey, Visitor, enter_by_link
from dashboard.hub import Client, Hub
from dashboard.records import Shown
from dashboard.renderer import Renderer
from dashboard.settings import DashboardSettings

TIMELINE_HOURS = 8
STOP_HOURS = 24
KEY_CHECK_S = 15.0
"""How often a stream asks whether its key still opens it."""

RETRY_MS = 2000
"""How long browsers wait before they ask for the stream again."""


def make_routes(
    settings: DashboardSettings,
    engine: AsyncEngine,
    client: httpx.AsyncClient,
    render: Renderer,
) -> APIRouter:
    """All routes of the pages: each shows the visitor's company and no other."""
    router = APIRouter(include_in_schema=False, dependencies=[Depends(enter_by_link)])

    def line_or_404(hub: Hub, line: str) -> Asset:
        asset = hub.plant.tree.assets.get(line)
        if asset is None or asset.level != "line":
            raise HTTPException(404, "no such line")
        return asset

    @router.get("/")
    async def plant_page(request: Request, visitor: CurrentVisitor) -> HTMLResponse:
        now, hub = now_ms(), visitor.hub
        sites = pages.sites(hub.plant, now)
        shown = pages.shown_on_plant(hub.plant, sites)
        render.forget_tiles_but(shown.lines)
        return render.page(
            hub,
            "plant.html",
            request,
            now=now,
            shown=shown,
            sites=sites,
            **_alarm_content(hub, None, now),
        )

    @router.get("/lines/{line}")
    async def line_page(request: Request, line: str, visitor: CurrentVisitor) -> HTMLResponse:
        hub, now = visitor.hub, now_ms()
        asset = line_or_404(hub, line)
        return render.page(
            hub,
            "line.html",
            request,
            shown=pages.shown_on_line(hub.plant, asset),
            line=pages.line_view(
                hub.plant, asset, now, standing=hub.plant.standing.by_line().get(asset.id)
            ),
            machines=pages.machine_views(hub.plant, asset, now),
            **await _history_content(hub, engine, asset, now),
            **_alarm_content(hub, asset, now),
            **await _machine_alarm_content(hub, engine, asset, now),
            **_connection_content(hub, asset, now),
        )

    @router.get("/signals/{signal}")
    async def signal_page(request: Request, signal: str, visitor: CurrentVisitor) -> HTMLResponse:
        hub, now = visitor.hub, now_ms()
        found = hub.plant.signals.get(signal)
        if found is None:
            raise HTTPException(404, "no such signal")
        line = hub.plant.tree.line_of(found.asset)
        zone = pages.zone_of(line)
        return render.page(
            hub,
            "signal.html",
            request,
            now=now,
            shown=Shown(signals=(found,)),
            signal=found,
            unit_asset=hub.plant.tree.assets.get(found.asset),
            line=line,
            zone=zone,
            view=pages.value_view(hub.plant, found, now, zone),
            age=marks.age_text(hub.plant, found.asset, now, zone, found.source),
            steps=pages.is_stepped(found),
        )

    @router.get("/system")
    async def system_page(request: Request, visitor: CurrentVisitor) -> HTMLResponse:
        now, hub = now_ms(), visitor.hub
        return render.page(
            hub,
            "system.html",
            request,
            now=now,
            **await _source_content(visitor, engine, now),
            ledger=await _ledger(settings, client, visitor, now),
            clients=hub.clients,
            signals=len(hub.plant.signals),
        )

    @router.get("/connections")
    async def connections_page(request: Request, visitor: CurrentVisitor) -> HTMLResponse:
        now, hub = now_ms(), visitor.hub
        return render.page(
            hub, "connections.html", request, now=now, **_connection_content(hub, None, now)
        )

    @router.get("/parts/sources")
    async def sources_part(visitor: CurrentVisitor) -> HTMLResponse:
        content = await _source_content(visitor, engine, now_ms())
        return HTMLResponse(render.part("_sources.html", **content))

    @router.get("/parts/connections")
    async def all_connections_part(visitor: CurrentVisitor) -> HTMLResponse:
        content = _connection_content(visitor.hub, None, now_ms())
        return HTMLResponse(render.part("_connections.html", **content))

    @router.get("/parts/connections/{line}")
    async def connections_part(line: str, visitor: CurrentVisitor) -> HTMLResponse:
        asset = line_or_404(visitor.hub, line)
        content = _connection_content(visitor.hub, asset, now_ms())
        return HTMLResponse(render.part("_connections.html", **content))

    @router.get("/help")
    async def help_page(request: Request, visitor: CurrentVisitor) -> HTMLResponse:
        return render.page(
            visitor.hub,
            "help.html",
            request,
            apis=FORWARDED_APIS,
            looks=formats.LOOKS.values(),
            live_s=round(settings.live_s),
            late_s=round(settings.late_s),
            offline_s=round(settings.offline_s),
        )

    @router.get("/parts/machine-alarms/{line}")
    async def machine_alarms_part(line: str, visitor: CurrentVisitor) -> HTMLResponse:
        asset = line_or_404(visitor.hub, line)
        content = await _machine_alarm_content(visitor.hub, engine, asset, now_ms())
        return HTMLResponse(render.part("_machine_alarms.html", **content))

    @router.get("/parts/{part}/{line}")
    async def history_part(
        part: Literal["timeline", "stops"], line: str, visitor: CurrentVisitor
    ) -> HTMLResponse:
        hub, now = visitor.hub, now_ms()
        asset = line_or_404(hub, line)
        return HTMLResponse(
            render.part(f"_{part}.html", **await _history_content(hub, engine, asset, now))
        )

    @router.get("/parts/alarms")
    async def alarms_part(visitor: CurrentVisitor, line: str | None = None) -> HTMLResponse:
        hub = visitor.hub
        asset = line_or_404(hub, line) if line is not None else None
        return HTMLResponse(render.part("_alarms.html", **_alarm_content(hub, asset, now_ms())))

    @router.get("/display-tables.js")
    async def display_tables() -> Response:
        text = f"export const TABLES = {json.dumps(formats.display_tables())};\n"
        return Response(text, media_type="text/javascript", headers={"cache-control": "no-cache"})

    @router.get("/snapshot")
    async def snapshot(visitor: CurrentVisitor) -> Response:
        text = visitor.hub.snapshot_text(now_ms())
        return Response(text, media_type="application/json", headers={"cache-control": "no-store"})

    @router.get("/stream", response_class=EventSourceResponse)
    async def stream(
        request: Request, visitor: CurrentVisitor, client: Annotated[Client, Depends(_join)]
    ) -> AsyncIterator[ServerSentEvent]:
        """One browser's stream: what it missed or a snapshot, then whatever happens; it ends with
        its key."""
        hub, gate = visitor.hub, request.app.state.gate
        yield ServerSentEvent(retry=RETRY_MS)
        checked_at = time.monotonic()
        while not hub.closed:
            if time.monotonic() - checked_at > KEY_CHECK_S:
                try:
                    await gate.enter(visitor.key)
                except (NoKey, HTTPException):
                    return
                checked_at = time.monotonic()
            for event in hub.take(client, now_ms()):
                yield event
            await client.wake.wait()

    return router


_EVENT_ID = re.compile(r"[0-9]{1,18}")


async def _join(
    visitor: CurrentVisitor,
    response: Response,
    last: int | None = None,
    owner: str | None = None,
    last_event_id: Annotated[str | None, Header()] = None,
) -> AsyncIterator[Client]:
    """A place on the stream for as long as the request lives."""
    hub = visitor.hub
    if owner is not None and owner != visitor.owner:
        raise HTTPException(403, "this browser has opened the pages of another company")
    response.headers["cache-control"] = "no-transform"
    # What no server of ours has sent is no place to go on from: begin with a snapshot.
    known = last_event_id is not None and _EVENT_ID.fullmatch(last_event_id)
    client = hub.join(int(last_event_id) if known and last_event_id is not None else last)
    try:
        yield client
    finally:
        hub.leave(client)


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
        "units": {unit.id: unit.title for unit in hub.plant.tree.units_of(line)},
    }


async def _machine_alarm_content(
    hub: Hub, engine: AsyncEngine, line: Asset, now: int
) -> dict[str, Any]:
    """Standing alarms that the machines tell; `machine_alarms_away` when the database does not
    answer."""
    found: list[machine_alarms.MachineAlarmView] = []
    has_some = away = False
    try:
        async with engine.connect() as connection:
            found, has_some = await machine_alarms.read_line(connection, hub.plant, line, now)
    except (DBAPIError, OSError):
        away = True
    return {
        "machine_alarms": found,
        "has_machine_alarms": has_some,
        "machine_alarms_away": away,
    }


def _alarm_content(hub: Hub, line: Asset | None, now: int) -> dict[str, Any]:
    tree = hub.plant.tree
    shown = []
    for alarm in pages.alarms_of(hub.plant, line):
        asset, its_line = tree.assets.get(alarm["asset"]), tree.line_of(alarm["asset"])
        since = marks.time_of_day(alarm["raised_at"], now, pages.zone_of(its_line))
        title = asset.title if asset is not None else ""
        shown.append({**alarm, "asset_title": title, "line_asset": its_line, "since": since})
    return {"alarms": shown, "alarms_of": line.id if line is not None else None}


def _connection_content(hub: Hub, line: Asset | None, now: int) -> dict[str, Any]:
    """How the sources are that speak for a line's machines, or all of the company's."""
    plant = hub.plant
    if line is None:
        sources = {str(unit.meaning.get("source", "")) for unit in plant.tree.units()} - {""}
    else:
        sources = set(plant.tree.sources_of(line))
    zone = pages.plant_zone(plant) if line is None else pages.zone_of(line)
    return {"connections": views_of(plant.connections, sources, now, zone)}


async def _source_content(visitor: Visitor, engine: AsyncEngine, now: int) -> dict[str, Any]:
    """A company's sources as the historian knows them, and how they are as their gateways say."""
    sources, away = await _sources(engine, visitor.owner)
    plant = visitor.hub.plant
    ids, zone = [row["id"] for row in sources], pages.plant_zone(plant)
    details = details_of(plant.connections, ids, now, zone)
    return {"sources": sources, "database_away": away, "details": details}


async def _sources(engine: AsyncEngine, owner: str) -> tuple[list[Any], bool]:
    try:
        async with engine.connect() as connection:
            return list(await queries.read_sources(connection, owner)), False
    except (DBAPIError, OSError):
        return [], True


async def _ledger(
    settings: DashboardSettings, client: httpx.AsyncClient, visitor: Visitor, now: int
) -> Any:
    """The last day's ledger as the history API gives it; None when it does not answer."""
    start = from_ms(now) - timedelta(hours=24)
    try:
        answer = await client.get(
            f"{settings.history_url}/history/v1/ledger",
            params={"from": to_iso(start)},
            headers=authorization(visitor),
            timeout=2.0,
        )
        ledger = answer.json() if answer.status_code == 200 else None
    except (httpx.HTTPError, ValueError):
        return None
    return ledger if isinstance(ledger, dict) and isinstance(ledger.get("rows"), list) else None
