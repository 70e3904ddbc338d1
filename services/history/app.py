"""The history API's app. Made by `__main__.py`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from fastapi import FastAPI
from sqlalchemy import text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.ext.asyncio import AsyncEngine

from aurelian.access.keys import add_auth
from aurelian.db.engine import disposing, make_engine
from aurelian.runtime import api
from aurelian.runtime.health import Health
from history.routes import router
from history.settings import HistorySettings


def make_app(settings: HistorySettings, health: Health) -> FastAPI:
    """Build the app. A database that is away is a 503 of each request, not of the process."""
    engine = make_engine(
        settings.database_url.get_secret_value(), pool_size=settings.database_pool_size
    )
    app = api.make_app(
        "Aurelian history",
        health,
        prefix="/history/v1",
        routers=[router],
        resources=[disposing(engine), _first_connection(engine)],
    )
    app.state.engine = engine
    add_auth(app, engine, settings)
    return app


@asynccontextmanager
async def _first_connection(engine: AsyncEngine) -> AsyncIterator[None]:
    """Connect before the first request, which need not wait for it then; away: it will say so."""
    with suppress(SQLAlchemyError):
        async with engine.connect() as connection:
            await connection.execute(text("SELECT 1"))
    yield
