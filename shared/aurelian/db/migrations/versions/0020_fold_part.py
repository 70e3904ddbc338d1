"""States of folds by part: a commit writes the parts that changed, not the whole state of a key."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0020"
down_revision = "0010"
branch_labels = None
depends_on = None

SERVICES = ("line_health", "maintenance", "capacity", "partner_events")


def upgrade() -> None:
    """Make the tables. What `fold_state` has goes over when its partition is next claimed: not
    here, because a process of the version before may still write there (fold/store.py)."""
    for schema in SERVICES:
        op.create_table(
            "fold_part",
            sa.Column("consumer", sa.Text(), nullable=False),
            sa.Column("key", sa.Text(), nullable=False),
            sa.Column("part", sa.Text(), nullable=False),
            sa.Column("partition", sa.Integer(), nullable=True),
            sa.Column("content", sa.Text(), nullable=False),
            sa.Column("changed_at", sa.DateTime(timezone=True), nullable=False),
            sa.PrimaryKeyConstraint("consumer", "key", "part"),
            schema=schema,
            # Rows are rewritten all the time: with room in its page an update touches no index.
            postgresql_with={"fillfactor": "60"},
        )


def downgrade() -> None:
    """Drop the tables; states begin empty."""
    for schema in SERVICES:
        op.drop_table("fold_part", schema=schema)
