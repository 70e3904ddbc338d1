"""The maintenance API's app: keys, problems, routes. Made by `__main__.py`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI

from aurelian import __version__
from aurelian.access.keys import add_auth
from aurelian.db.engine import make_engine
from aurelian.runtime.health import Health
from aurelian.runtime.problems import add_problem_handlers
from maintenance.api.routes import router
from maintenance.settings import MaintenanceApiSettings


def make_app(settings: MaintenanceApiSettings, health: Health) -> FastAPI:
    """Build the app. It is ready as soon as it listens: a request tells whether the database
    answers."""
    engine = make_engine(settings.database_url.get_secret_value())

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        health.ready = None
        yield
        await engine.dispose()

    app = FastAPI(
        title="Aurelian maintenance",
        version=__version__,
        lifespan=lifespan,
        openapi_url="/maintenance/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    app.state.engine = engine
    add_auth(app, engine, settings)
    add_problem_handlers(app)
    app.include_router(router)
    return app
