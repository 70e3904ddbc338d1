"""Bring a database's schema up to date: roles, schemas, tables, partitions or hypertables, grants.
A one-shot.

Called by `aurelian db upgrade`, the embedded stack and the tests. Steps are expand, then contract:
a step never takes away what the version before still uses.
"""

from __future__ import annotations

from pathlib import Path

from alembic import command
from alembic.config import Config
from sqlalchemy import create_engine, make_url, text
from sqlalchemy.pool import NullPool

from aurelian.db.roles import create_roles, grant_schemas

LOCK = 0x6175_7265_6C69_616E % 2**63
"""Advisory lock that lets one migration run at a time in a database."""


def upgrade(url: str, revision: str = "head") -> None:
    """Run every migration that the database has not had, in one transaction each. Idempotent;
    blocking.

    `url` is the administrator's: it makes roles. A second caller waits for the first.

    Raises:
        sqlalchemy.exc.OperationalError: the database does not answer.
        sqlalchemy.exc.ProgrammingError: the role may not make what is missing.
    """
    engine = create_engine(
        make_url(url).set(drivername="postgresql+psycopg"),
        poolclass=NullPool,
        connect_args={"connect_timeout": 10},
    )
    with engine.connect() as connection:
        connection.execute(text("SELECT pg_advisory_lock(:lock)"), {"lock": LOCK})
        connection.commit()
        try:
            create_roles(connection)
            connection.commit()
            config = make_config()
            config.attributes["connection"] = connection
            command.upgrade(config, revision)
            grant_schemas(connection)
            connection.commit()
        finally:
            connection.rollback()
            connection.execute(text("SELECT pg_advisory_unlock(:lock)"), {"lock": LOCK})
            connection.commit()
    engine.dispose()


def make_config() -> Config:
    """Alembic's configuration, for `upgrade` and for writing a new step."""
    config = Config()
    config.set_main_option("script_location", str(Path(__file__).parent / "migrations"))
    return config
