"""Figures of a shift say since when they count, what was bridged, and what cannot be."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0050"
down_revision = "0030"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the columns; what was written before does not say since when it counts."""
    op.add_column(
        "kpi",
        sa.Column("counts_from", sa.DateTime(timezone=True), nullable=True),
        schema="line_health",
    )
    for name, type_, default in (("bridged", sa.Double(), "0"), ("note", sa.Text(), "")):
        op.add_column(
            "kpi",
            sa.Column(name, type_, nullable=False, server_default=default),
            schema="line_health",
        )


def downgrade() -> None:
    """Drop the columns."""
    for name in ("note", "bridged", "counts_from"):
        op.drop_column("kpi", name, schema="line_health")
