"""Database roles and what they may do (D17): every service reads all schemas and writes its own.
Called by migrate.py."""

from __future__ import annotations

from sqlalchemy import Connection, text

from aurelian.db.services import SCHEMA_OWNERS, SERVICES

SCHEMAS = ("platform", *SCHEMA_OWNERS)

SECRETS: dict[tuple[str, str], tuple[str, ...]] = {
    ("partner_events.endpoint", "secret"): ("partner_events",),
    ("platform.api_key", "secret_hash"): ("history", "maintenance", "capacity", "partner_events"),
}
"""Columns that not everybody reads, by table, with the services that do: who signs, and who checks
keys."""


def role(service: str) -> str:
    """Name of a service's database role."""
    return f"aurelian_{service}"


def create_roles(connection: Connection) -> None:
    """Make the roles that are missing: they may log in and have no password, so the server's rules
    decide who may.

    Roles belong to the whole server: another database's migration may make the same one at this
    moment.
    """
    for service in SERVICES:
        connection.execute(
            text(
                "DO $$ BEGIN IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = "
                f"'{role(service)}') "
                f"THEN CREATE ROLE {role(service)} LOGIN; END IF; "
                "EXCEPTION WHEN duplicate_object OR unique_violation THEN NULL; END $$"
            )
        )


def grant_schemas(connection: Connection) -> None:
    """Let every service read everything but secrets and write its own schema, tables of later steps
    included. Idempotent."""
    everyone = ", ".join(role(service) for service in SERVICES)
    for schema in SCHEMAS:
        connection.execute(text(f"GRANT USAGE ON SCHEMA {schema} TO {everyone}"))
        connection.execute(text(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {everyone}"))
    for service in SCHEMA_OWNERS:
        own = role(service)
        connection.execute(
            text(f"GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {service} TO {own}")
        )
        connection.execute(text(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {service} TO {own}"))
    for (table, column), readers in SECRETS.items():
        _hide(connection, table, column, [each for each in SERVICES if each not in readers])
    # The one table of the platform that has an API: a company's grants, given and revoked through
    # partner_events.
    connection.execute(
        text(f'GRANT INSERT, UPDATE ON platform."grant" TO {role("partner_events")}')
    )


def _hide(connection: Connection, table: str, column: str, services: list[str]) -> None:
    """Let services read all other columns of a table."""
    schema, _, name = table.partition(".")
    found = connection.execute(
        text(
            "SELECT quote_ident(column_name) FROM information_schema.columns "
            "WHERE table_schema = :schema AND table_name = :name AND column_name <> :column"
        ),
        {"schema": schema, "name": name, "column": column},
    )
    others = ", ".join(row[0] for row in found)
    roles = ", ".join(role(service) for service in services)
    connection.execute(text(f"REVOKE SELECT ON {table} FROM {roles}"))
    connection.execute(text(f"GRANT SELECT ({others}) ON {table} TO {roles}"))
