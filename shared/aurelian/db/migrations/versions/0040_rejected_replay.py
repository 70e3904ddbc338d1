"""Who replayed a rejected record."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0040"
down_revision = "0060"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column."""
    op.add_column(
        "rejected", sa.Column("replayed_by", sa.Text(), nullable=True), schema="historian"
    )
