"""Makes the API's app: engine, keys, the watch over the log's end, routes.

Called by `__main__.py` and the tests.
"""

from __future__ import annotations

from functools import partial

from fastapi import FastAPI

from aurelian.access.keys import add_auth
from aurelian.db.engine import disposing, make_engine
from aurelian.runtime import api
from aurelian.runtime.health import Health
from partner_events.api import endpoints, grants, routes
from partner_events.api.context import Context
from partner_events.api.tail import Tail
from partner_events.settings import PartnerEventsApiSettings
from partner_events.webhook import make_client


def make_app(settings: PartnerEventsApiSettings, health: Health) -> FastAPI:
    """Make the app. It is ready when the database answers."""
    health.ready = "the database has not answered yet"
    url = settings.database_url.get_secret_value()
    engine = make_engine(url, pool_size=10)
    tail = Tail(url, settings.poll_interval_s)
    client = make_client(settings.allowed)
    app = api.make_app(
        "Aurelian partner events",
        health,
        prefix="/events/v1",
        description="Business events of lines, machines and capacity: polling, SSE, webhooks. "
        "CloudEvents 1.0.",
        routers=[routes.router, endpoints.router, grants.router],
        resources=[disposing(engine), client],
        tasks=[
            ("watch the log", partial(tail.watch, health)),
            ("close streams", partial(tail.close_at, health.stopping)),
        ],
    )
    keys = add_auth(app, engine, settings)
    app.state.context = Context(engine, tail, keys, client, settings)
    return app
