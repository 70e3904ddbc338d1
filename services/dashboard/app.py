"""The dashboard's app: pages, stream, forwarded APIs, and the feed that keeps the live picture.
Called by `__main__.py`."""

from __future__ import annotations

import logging
from functools import partial

from fastapi import FastAPI, Request, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from aurelian.db.engine import disposing, make_engine
from aurelian.model.time import now_us
from aurelian.runtime import api
from aurelian.runtime.health import Health
from dashboard.feed import close_streams, run_clock, run_feed
from dashboard.forward import forward_routes, make_client
from dashboard.freshness import Limits
from dashboard.guard import Guard
from dashboard.hub import Hub
from dashboard.live import LivePlant
from dashboard.renderer import STATIC, Renderer, build_hash
from dashboard.routes import make_routes
from dashboard.settings import DashboardSettings

log = logging.getLogger(__name__)

NOT_FOUND = "There is no page here, or what it showed has been renamed or removed."


def make_app(settings: DashboardSettings, health: Health) -> FastAPI:
    """Build the app; the feed and the clock run as long as its lifespan."""
    limits = Limits(int(settings.live_s * 1000), int(settings.late_s * 1000))
    hub = Hub(
        LivePlant(limits),
        build=build_hash(),
        first_id=now_us(),  # beyond every number of an earlier run
        ring=settings.ring,
        queue=settings.client_queue,
    )
    engine = make_engine(settings.database_url.get_secret_value(), pool_size=4)
    client = make_client()
    render = Renderer(settings, hub)
    health.stall_limit_s = 30.0

    app = api.make_app(
        "Aurelian dashboard",
        health,
        prefix=None,
        routers=[
            make_routes(settings, hub, engine, client, render),
            forward_routes(settings, client),
        ],
        resources=[disposing(engine), client],
        tasks=[
            ("feed", partial(run_feed, settings, hub, engine, health)),
            ("clock", partial(run_clock, settings, hub, health)),
            ("close streams", partial(close_streams, hub, health)),
        ],
    )
    app.state.hub = hub
    app.add_middleware(Guard, names=settings.host_names)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")

    async def show_problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        reason = NOT_FOUND if error.status_code == 404 else str(error.detail)
        return render.page("error.html", request, error.status_code, reason=reason)

    app.add_exception_handler(HTTPException, show_problem)
    return app
