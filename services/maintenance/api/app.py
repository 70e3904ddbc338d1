"""The maintenance API's app. Made by `__main__.py`."""

from __future__ import annotations

from fastapi import FastAPI

from aurelian.access.keys import add_auth
from aurelian.db.engine import disposing, make_engine
from aurelian.runtime import api
from aurelian.runtime.health import Health
from maintenance.api.routes import router
from maintenance.settings import MaintenanceApiSettings


def make_app(settings: MaintenanceApiSettings, health: Health) -> FastAPI:
    """Build the app. A database that is away is a 503 of each request, not of the process."""
    engine = make_engine(settings.database_url.get_secret_value())
    app = api.make_app(
        "Aurelian maintenance",
        health,
        prefix="/maintenance/v1",
        routers=[router],
        resources=[disposing(engine)],
    )
    app.state.engine = engine
    add_auth(app, engine, settings)
    return app
