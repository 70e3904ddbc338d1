"""Database roles and what they may do (D17): every service reads the schemas that it needs and
writes its own. Called by migrate.py."""

from __future__ import annotations

from sqlalchemy import Connection, text

from aurelian.db.services import SCHEMA_OWNERS, SERVICES

SCHEMAS = ("platform", *SCHEMA_OWNERS)

READS: dict[str, tuple[str, ...]] = {
    "historian": ("platform", "historian"),
    "history": ("platform", "historian"),
    "line_health": ("platform", "historian", "line_health"),
    "maintenance": ("platform", "historian", "maintenance"),
    "capacity": ("platform", "historian", "capacity"),
    "partner_events": ("platform", "partner_events"),
    "dashboard": ("platform", "historian", "line_health", "maintenance", "capacity"),
}
"""Schemas that a service's role reads; tests/contract/db/test_migrations.py compares."""

SECRETS: dict[tuple[str, str], tuple[str, ...]] = {
    ("partner_events.endpoint", "secret"): ("partner_events",),
    ("platform.api_key", "secret_hash"): (
        "history",
        "maintenance",
        "capacity",
        "partner_events",
        "dashboard",
    ),
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
    """Let every service read its `READS` but for secrets and write its own schema, tables of later
    steps included; take back what an earlier version gave. Idempotent."""
    for schema in SCHEMAS:
        readers = ", ".join(role(each) for each in SERVICES if schema in READS[each])
        others = ", ".join(role(each) for each in SERVICES if schema not in READS[each])
        connection.execute(text(f"GRANT USAGE ON SCHEMA {schema} TO {readers}"))
        connection.execute(text(f"GRANT SELECT ON ALL TABLES IN SCHEMA {schema} TO {readers}"))
        if others:
            connection.execute(text(f"REVOKE ALL ON ALL TABLES IN SCHEMA {schema} FROM {others}"))
            connection.execute(text(f"REVOKE ALL ON SCHEMA {schema} FROM {others}"))
    for service in SCHEMA_OWNERS:
        own = role(service)
        connection.execute(
            text(f"GRANT INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA {service} TO {own}")
        )
        connection.execute(text(f"GRANT USAGE ON ALL SEQUENCES IN SCHEMA {service} TO {own}"))
    for (table, column), knowing in SECRETS.items():
        place = table.partition(".")[0]
        blind = [each for each in SERVICES if place in READS[each] and each not in knowing]
        _hide(connection, table, column, blind)
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
    if not services:
        return
    others = ", ".join(row[0] for row in found)
    roles = ", ".join(role(service) for service in services)
    connection.execute(text(f"REVOKE SELECT ON {table} FROM {roles}"))
    connection.execute(text(f"GRANT SELECT ({others}) ON {table} TO {roles}"))
