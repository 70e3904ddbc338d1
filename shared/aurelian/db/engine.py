"""Connections to the store: an engine for APIs, a plain connection for workers with hot COPY.
Called by every service."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING

import psycopg
from psycopg.rows import TupleRow

if (
    TYPE_CHECKING
):  # SQLAlchemy takes half a second to import, which workers without an API need not spend
    from sqlalchemy import URL
    from sqlalchemy.ext.asyncio import AsyncEngine

STATEMENT_TIMEOUT_S = 15
"""An API's statement may take this long; a page that needs longer asks for too much."""

LOCK_TIMEOUT_S = 5
"""A worker waits this long for another transaction, then rolls back and tries again."""

IDLE_IN_TRANSACTION_TIMEOUT_S = 10
"""A worker that is paused inside a transaction longer than this loses its session, and with it its
locks (D7)."""

_CONNECT = {
    "connect_timeout": 5,
    "tcp_user_timeout": 10_000,
    "keepalives_idle": 10,
    "keepalives_interval": 5,
    "keepalives_count": 3,
}


def make_engine(url: str, *, pool_size: int = 5) -> AsyncEngine:
    """Make a pool of at most `pool_size` connections for an API; nothing connects before the first
    use.

    Sessions speak UTC and give up a statement after 15 s. Dispose of it with `await
    engine.dispose()`.
    """
    from sqlalchemy.ext.asyncio import create_async_engine

    return create_async_engine(
        _driver(url),
        pool_size=pool_size,
        max_overflow=0,
        pool_timeout=5,
        pool_pre_ping=True,
        connect_args={
            **_CONNECT,
            "application_name": "aurelian",
            "options": f"-c timezone=UTC -c statement_timeout={STATEMENT_TIMEOUT_S}s -c "
            f"lock_timeout={LOCK_TIMEOUT_S}s",
        },
    )


@asynccontextmanager
async def disposing(engine: AsyncEngine) -> AsyncIterator[AsyncEngine]:
    """Close the engine's connections at the end: a resource of `runtime.api.make_app`."""
    try:
        yield engine
    finally:
        await engine.dispose()


async def connect(
    url: str, *, autocommit: bool = False, name: str = "aurelian"
) -> psycopg.AsyncConnection[TupleRow]:
    """Open one connection for a worker: UTC, bounded waits for locks, and an end to paused
    transactions.

    Raises:
        psycopg.OperationalError: the database does not answer or refuses.
    """
    return await psycopg.AsyncConnection.connect(
        url,
        autocommit=autocommit,
        application_name=name,
        options=(
            f"-c timezone=UTC -c lock_timeout={LOCK_TIMEOUT_S}s "
            f"-c idle_in_transaction_session_timeout={IDLE_IN_TRANSACTION_TIMEOUT_S}s"
        ),
        **_CONNECT,  # type: ignore[arg-type]
    )


def as_role(url: str, service: str) -> str:
    """The same database for the role of `service`: `aurelian_<service>`, without a password."""
    from sqlalchemy import URL, make_url

    parsed = make_url(url)
    plain = URL.create(
        parsed.drivername,
        f"aurelian_{service}",
        None,
        parsed.host,
        parsed.port,
        parsed.database,
        parsed.query,
    )
    return plain.render_as_string(hide_password=False)


def _driver(url: str) -> URL:
    from sqlalchemy import make_url

    return make_url(url).set(drivername="postgresql+psycopg")
