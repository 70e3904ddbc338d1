"""Commitments are changed and withdrawn, known by their reference, and asked for once; a case says
why it is open."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0060"
down_revision = "0050"
branch_labels = None
depends_on = None

_TELL_APART = """
    UPDATE capacity.commitment c
    SET reference = left(c.reference, 150) || ' (recorded again, ' || c.id || ')'
    FROM (
        SELECT id, row_number() OVER (PARTITION BY owner, reference ORDER BY recorded_at, id) AS n
        FROM capacity.commitment
    ) numbered
    WHERE numbered.id = c.id AND numbered.n > 1
"""
"""What was posted twice stays, with a reference of its own: a person decides which counts."""


def upgrade() -> None:
    """Add the columns, the table of requests and the unique reference."""
    for name in ("changed_at", "withdrawn_at"):
        op.add_column(
            "commitment",
            sa.Column(name, sa.DateTime(timezone=True), nullable=True),
            schema="capacity",
        )
    op.execute(_TELL_APART)
    op.create_index(
        "commitment_reference",
        "commitment",
        ["owner", "reference"],
        unique=True,
        schema="capacity",
        postgresql_where=sa.text("withdrawn_at IS NULL"),
    )
    op.create_table(
        "commitment_request",
        sa.Column("owner", sa.Text(), nullable=False),
        sa.Column("key", sa.Text(), nullable=False),
        sa.Column("request", sa.Text(), nullable=False),
        sa.Column("commitment", sa.UUID(as_uuid=False), nullable=False),
        sa.Column("recorded_at", sa.DateTime(timezone=True), nullable=False),
        sa.PrimaryKeyConstraint("owner", "key"),
        schema="capacity",
    )
    op.add_column(
        "case",
        sa.Column("reason", sa.Text(), nullable=False, server_default=""),
        schema="maintenance",
    )


def downgrade() -> None:
    """Drop them."""
    op.drop_column("case", "reason", schema="maintenance")
    op.drop_table("commitment_request", schema="capacity")
    op.drop_index("commitment_reference", "commitment", schema="capacity")
    for name in ("withdrawn_at", "changed_at"):
        op.drop_column("commitment", name, schema="capacity")
