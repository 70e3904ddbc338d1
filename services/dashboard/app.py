"""The dashboard's app: pages, stream, forwarded APIs, and the feed that keeps the live picture.
Called by `__main__.py`."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI, Request, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from aurelian import __version__
from aurelian.db.engine import make_engine
from aurelian.runtime.health import Health
from dashboard.feed import run_clock, run_feed
from dashboard.forward import forward_routes, make_client
from dashboard.freshness import Limits
from dashboard.guard import Guard
from dashboard.hub import Hub
from dashboard.live import LivePlant
from dashboard.routes import STATIC, Renderer, build_hash, make_routes
from dashboard.settings import DashboardSettings

log = logging.getLogger(__name__)

NOT_FOUND = "There is no page here, or what it showed has been renamed or removed."


def make_app(settings: DashboardSettings, health: Health) -> FastAPI:
    """Build the app; the feed and the clock run as long as its lifespan."""
    limits = Limits(int(settings.live_s * 1000), int(settings.late_s * 1000))
    hub = Hub(
        LivePlant(limits),
        build=build_hash(),
        first_id=time.time_ns() // 1000,  # microseconds: beyond every number of an earlier run
        ring=settings.ring,
        queue=settings.client_queue,
    )
    engine = make_engine(settings.database_url.get_secret_value(), pool_size=4)
    client = make_client()
    render = Renderer(settings, hub)
    health.stall_limit_s = 30.0

    def end_process(task: asyncio.Task[None]) -> None:
        # A task group would cancel the lifespan, which the server does not notice.
        if not task.cancelled() and (error := task.exception()) is not None:
            health.crash(error)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        tasks = [
            asyncio.create_task(run_feed(settings, hub, engine, health), name="feed"),
            asyncio.create_task(run_clock(settings, hub, health), name="clock"),
        ]
        for task in tasks:
            task.add_done_callback(end_process)
        async with client:
            yield
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
        await engine.dispose()

    app = FastAPI(
        title="Aurelian dashboard", version=__version__, openapi_url=None, lifespan=lifespan
    )
    app.state.hub = hub
    app.add_middleware(Guard, names=settings.host_names)
    app.include_router(make_routes(settings, hub, engine, client, render, health.stopping))
    app.include_router(forward_routes(settings, client))
    app.mount("/static", StaticFiles(directory=STATIC), name="static")

    async def show_problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        said = NOT_FOUND if error.status_code == 404 else str(error.detail)
        return render.page("error.html", request, error.status_code, said=said)

    app.add_exception_handler(HTTPException, show_problem)
    return app
