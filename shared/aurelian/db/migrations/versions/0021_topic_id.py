"""Kafka's id of a topic beside each offset: one that was deleted and made again is another log."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

from aurelian.db.services import SCHEMA_OWNERS

revision = "0021"
down_revision = "0020"
branch_labels = None
depends_on = None


def upgrade() -> None:
    """Add the column; it is filled when a partition is claimed the next time."""
    for service in SCHEMA_OWNERS:
        op.add_column("kafka_offset", sa.Column("topic_id", sa.Text), schema=service)
