"""What all tables share: one metadata, columns of time. Used by the tables of each schema."""

from __future__ import annotations

from sqlalchemy import Column, DateTime, MetaData

metadata = MetaData()


def time_column(name: str, *, nullable: bool = False, primary_key: bool = False) -> Column[object]:
    """Make a `timestamptz` column."""
    return Column(name, DateTime(timezone=True), nullable=nullable, primary_key=primary_key)
