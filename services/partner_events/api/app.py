"""Makes the API's app: engine, keys, the watch over the log's end, routes. Called by `__main__.py`
and the tests."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator

from fastapi import FastAPI

from aurelian import __version__
from aurelian.access.keys import add_auth
from aurelian.db.engine import make_engine
from aurelian.runtime.health import Health
from aurelian.runtime.problems import add_problem_handlers
from partner_events.api import endpoints, grants, routes
from partner_events.api.context import Context
from partner_events.api.tail import Tail
from partner_events.delivery import make_client
from partner_events.settings import PartnerEventsApiSettings


def make_app(settings: PartnerEventsApiSettings, health: Health) -> FastAPI:
    """Make the app. It is ready when the database answers."""
    health.ready = "the database has not answered yet"
    url = settings.database_url.get_secret_value()
    engine = make_engine(url, pool_size=10)
    tail = Tail(url, settings.poll_interval_s)
    client = make_client(settings.allowed)

    def end_process(task: asyncio.Task[None]) -> None:
        # A task group would cancel the lifespan, which the server does not notice.
        if not task.cancelled() and (error := task.exception()) is not None:
            health.crash(error)

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        tasks = [
            asyncio.create_task(tail.watch(health), name="watch the log"),
            asyncio.create_task(tail.close_at(health.stopping), name="close streams"),
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
        title="Aurelian partner events",
        version=__version__,
        description="Business events of lines, machines and capacity: polling, SSE, webhooks. CloudEvents 1.0.",
        openapi_url="/events/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
        lifespan=lifespan,
    )
    add_problem_handlers(app)
    keys = add_auth(app, engine, settings)
    app.state.context = Context(engine, tail, keys, client, settings)
    app.include_router(routes.router)
    app.include_router(endpoints.router)
    app.include_router(grants.router)
    return app
