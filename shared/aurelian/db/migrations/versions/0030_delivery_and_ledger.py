"""Ledger and sources by owner, what arrived beside what gateways say, and holes that are closed."""

from __future__ import annotations

import sqlalchemy as sa
from alembic import op

revision = "0030"
down_revision = "0021"
branch_labels = None
depends_on = None

KEYS = {
    "ledger_received": (["gateway", "boot", "source", "hour"], "owner"),
    "ledger_stored": (["source", "hour"], "owner"),
    "source": (["id"], "owner"),
}


def upgrade() -> None:
    """Two companies may name a source alike: the owner becomes part of each key."""
    for table, (key, owner) in KEYS.items():
        op.drop_constraint(f"{table}_pkey", table, schema="historian", type_="primary")
        op.create_primary_key(f"{table}_pkey", table, [owner, *key], schema="historian")
    for name in ("reported", "arrived"):
        op.add_column(
            "ledger_received",
            sa.Column(name, sa.BigInteger(), nullable=False, server_default="0"),
            schema="historian",
        )
    op.execute("UPDATE historian.ledger_received SET reported = received")
    op.add_column(
        "delivery",
        sa.Column("given_up", sa.ARRAY(sa.BigInteger()), nullable=False, server_default="{}"),
        schema="historian",
    )
    op.add_column(
        "delivery", sa.Column("gap_after", sa.BigInteger(), nullable=True), schema="historian"
    )
    op.add_column(
        "delivery",
        sa.Column("ended_at", sa.DateTime(timezone=True), nullable=True),
        schema="historian",
    )


def downgrade() -> None:
    """Take the columns away and the owner out of the keys.

    Raises:
        sqlalchemy.exc.IntegrityError: two owners have a source of one name.
    """
    for name in ("ended_at", "gap_after", "given_up"):
        op.drop_column("delivery", name, schema="historian")
    for name in ("arrived", "reported"):
        op.drop_column("ledger_received", name, schema="historian")
    for table, (key, _) in KEYS.items():
        op.drop_constraint(f"{table}_pkey", table, schema="historian", type_="primary")
        op.create_primary_key(f"{table}_pkey", table, key, schema="historian")
