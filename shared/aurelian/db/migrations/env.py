"""Alembic's entry: runs the steps on the connection that `aurelian.db.migrate.upgrade` hands
over."""

from __future__ import annotations

from alembic import context

from aurelian.db.tables import metadata

context.configure(
    connection=context.config.attributes["connection"],
    target_metadata=metadata,
    include_schemas=True,
    version_table="alembic_version",
    version_table_schema="public",
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
