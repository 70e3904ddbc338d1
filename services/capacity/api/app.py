"""The capacity API's app. Made by `__main__.py`."""

from __future__ import annotations

from fastapi import FastAPI

from aurelian.access.keys import add_auth
from aurelian.db.engine import disposing, make_engine
from aurelian.runtime import api
from aurelian.runtime.health import Health
from capacity.api.routes import router
from capacity.settings import CapacityApiSettings


def make_app(settings: CapacityApiSettings, health: Health) -> FastAPI:
    """Build the app. A database that is away is a 503 of each request, not of the process."""
    engine = make_engine(settings.database_url.get_secret_value())
    app = api.make_app(
        "Aurelian capacity",
        health,
        prefix="/capacity/v1",
        routers=[router],
        resources=[disposing(engine)],
    )
    app.state.engine, app.state.weeks = engine, settings.weeks
    add_auth(app, engine, settings)
    return app
