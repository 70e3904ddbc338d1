"""Events and alarms that machines themselves tell."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0062"
down_revision = "0040"
branch_labels = None
depends_on = None

TEXTS = (
    "gateway",
    "asset",
    "line",
    "code",
    "message",
    "comment",
    "event_type",
    "source_node",
    "source_name",
    "fields",
    "reason",
)
FLAGS = ("enabled", "acked", "confirmed", "suppressed", "out_of_service", "shelved")


def _common() -> list[sa.Column[Any]]:
    """What an event and the state of a condition both have."""
    return [
        *(sa.Column(name, sa.Text(), nullable=False) for name in TEXTS),
        *(sa.Column(name, sa.Boolean(), nullable=True) for name in FLAGS),
        sa.Column("event_id", sa.LargeBinary(), nullable=False),
        sa.Column("severity", sa.Integer(), nullable=False),
        sa.Column("active", sa.Boolean(), nullable=False),
        sa.Column("retain", sa.Boolean(), nullable=False),
        sa.Column("quality", sa.BigInteger(), nullable=True),
        sa.Column("time", sa.DateTime(timezone=True), nullable=False),
        sa.Column("received_at", sa.DateTime(timezone=True), nullable=False),
    ]


def upgrade() -> None:
    """Make the events and the newest state of each condition."""
    op.create_table(
        "machine_alarm_event",
        sa.Column("id", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("condition", sa.Text(), nullable=False),
        sa.Column("branch", sa.Text(), nullable=False),
        *_common(),
        sa.PrimaryKeyConstraint("id"),
        schema="historian",
    )
    op.create_index(
        "machine_alarm_event_owner_time",
        "machine_alarm_event",
        ["owner", "received_at", "id"],
        schema="historian",
    )
    op.create_index(
        "machine_alarm_event_asset_time",
        "machine_alarm_event",
        ["asset", "received_at"],
        schema="historian",
    )
    op.create_table(
        "machine_alarm",
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("source", sa.Text(), nullable=False),
        sa.Column("condition", sa.Text(), nullable=False),
        sa.Column("branch", sa.Text(), nullable=False),
        *_common(),
        sa.Column("active_since", sa.DateTime(timezone=True), nullable=True),
        sa.PrimaryKeyConstraint("owner", "source", "condition", "branch"),
        schema="historian",
    )
    op.create_index(
        "machine_alarm_standing",
        "machine_alarm",
        ["owner", "line"],
        schema="historian",
        postgresql_where=sa.text("retain"),
    )


def downgrade() -> None:
    """Drop both."""
    op.drop_table("machine_alarm", schema="historian")
    op.drop_table("machine_alarm_event", schema="historian")
