"""The history API's app: keys, problems, routes. Made by `__main__.py`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError

from aurelian import __version__
from aurelian.access.keys import add_auth
from aurelian.db.engine import make_engine
from aurelian.runtime.health import Health
from aurelian.runtime.problems import add_problem_handlers
from history.routes import router
from history.settings import HistorySettings


def make_app(settings: HistorySettings, health: Health) -> FastAPI:
    """Build the app. It serves from the first moment; a database that is away is a 503 of each
    request."""
    engine = make_engine(
        settings.database_url.get_secret_value(), pool_size=settings.database_pool_size
    )

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        try:
            async with engine.connect() as connection:
                await connection.execute(text("SELECT 1"))
        except SQLAlchemyError:
            pass  # the first request that reaches the database will say so
        health.ready = None
        yield
        await engine.dispose()

    app = FastAPI(
        title="Aurelian history",
        version=__version__,
        lifespan=lifespan,
        openapi_url="/history/v1/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    app.state.engine = engine
    add_auth(app, engine, settings)
    add_problem_handlers(app)
    app.include_router(router)
    return app
