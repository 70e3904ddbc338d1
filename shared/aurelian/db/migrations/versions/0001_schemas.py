"""One schema for each service that writes, and one for the platform."""

from __future__ import annotations

from alembic import op

revision = "0001"
down_revision = None
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Make the schemas."""
    for schema in (
        "platform",
        "historian",
        "line_health",
        "maintenance",
        "capacity",
        "partner_events",
    ):
        op.execute(f"CREATE SCHEMA {schema}")
