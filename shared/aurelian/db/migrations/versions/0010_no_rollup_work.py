"""Drops `historian.rollup_work`: nothing ever wrote it, rollups are merged with the rows."""

from __future__ import annotations

from alembic import op

revision = "0010"
down_revision = "0008"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Drop the table."""
    op.drop_table("rollup_work", schema="historian")
