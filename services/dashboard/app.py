"""The dashboard's app: pages, stream, forwarded APIs, and the feed that keeps the live picture.
Called by `__main__.py`."""

from __future__ import annotations

import logging
from functools import partial

from fastapi import FastAPI, Request, Response
from fastapi.staticfiles import StaticFiles
from starlette.exceptions import HTTPException

from aurelian.access.keys import add_auth
from aurelian.db.engine import disposing, make_engine
from aurelian.model.time import now_us
from aurelian.runtime import api
from aurelian.runtime.health import Health
from dashboard.companies import Companies
from dashboard.connect import Connect, connect_routes, problem
from dashboard.feed import close_streams, make_pictures, run_clock, run_feed
from dashboard.forward import forward_routes, make_client, no_key, upstreams
from dashboard.gate import Gate, LetIn, NoKey, entry_routes
from dashboard.guard import Guard
from dashboard.hub import Hub
from dashboard.live import LivePlant
from dashboard.renderer import STATIC, Renderer, build_hash, entry_page
from dashboard.routes import make_routes
from dashboard.settings import DashboardSettings

log = logging.getLogger(__name__)

NOT_FOUND = "There is no page here, or what it showed has been renamed or removed."


def make_app(settings: DashboardSettings, health: Health) -> FastAPI:
    """Build the app; the feed and the clock run as long as its lifespan."""
    build = build_hash()

    def make_hub(owner: str, plant: LivePlant) -> Hub:
        return Hub(
            plant,
            build=build,
            owner=owner,
            first_id=now_us(),  # beyond every number of an earlier run
            ring=settings.ring,
            queue=settings.client_queue,
        )

    companies = Companies(make_hub, make_pictures(settings))
    nobody = make_hub("", LivePlant())
    engine = make_engine(settings.database_url.get_secret_value(), pool_size=4)
    client = make_client()
    render = Renderer(settings)
    health.stall_limit_s = 30.0

    app = api.make_app(
        "Aurelian dashboard",
        health,
        prefix=None,
        routers=[
            entry_routes(),
            make_routes(settings, engine, client, render),
            forward_routes(settings, client),
            connect_routes(Connect(settings, client), render),
        ],
        resources=[disposing(engine), client],
        tasks=[
            ("feed", partial(run_feed, settings, companies, engine, health)),
            ("clock", partial(run_clock, settings, companies, health)),
            ("close streams", partial(close_streams, companies, health)),
        ],
    )
    app.state.companies = companies
    app.state.gate = Gate(add_auth(app, engine, settings), companies)
    app.add_middleware(Guard, names=settings.host_names)
    app.mount("/static", StaticFiles(directory=STATIC), name="static")

    async def show_problem(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        visitor = getattr(request.state, "visitor", None)
        if request.url.path.startswith("/connect/"):
            return problem(error.status_code, str(error.detail))
        reason = NOT_FOUND if error.status_code == 404 else str(error.detail)
        hub = nobody if visitor is None else visitor.hub
        return render.page(hub, "error.html", request, error.status_code, reason=reason)

    async def ask_for_key(request: Request, error: Exception) -> Response:
        if request.url.path.split("/")[1] in upstreams(settings):
            return no_key(str(error))
        return entry_page(render, str(error))

    async def let_in(_: Request, entered: Exception) -> Response:
        assert isinstance(entered, LetIn)
        return entered.answer

    app.add_exception_handler(HTTPException, show_problem)
    app.add_exception_handler(NoKey, ask_for_key)
    app.add_exception_handler(LetIn, let_in)
    return app
