"""What the ledger says of an import: how much of it is stored, and how much was there already.
Called by command.py."""

from __future__ import annotations

from dataclasses import dataclass

_LEDGER = """
SELECT coalesce(sum(stored), 0), coalesce(sum(duplicate), 0), coalesce(sum(rejected), 0)
FROM historian.ledger_stored WHERE source = %s AND owner = %s
"""


@dataclass(frozen=True, slots=True)
class LedgerSums:
    """Values of one file, all of its imports together."""

    stored: int
    duplicate: int
    rejected: int


def read_ledger(url: str, source: str, owner: str) -> LedgerSums | None:
    """Sum up a source's rows of the ledger; None: the database cannot be asked. Blocks."""
    import psycopg  # only where somebody asks: it is 20 MB

    try:
        with psycopg.connect(url, connect_timeout=5) as connection:
            row = connection.execute(_LEDGER, (source, owner)).fetchone()
    except psycopg.Error:
        return None
    return None if row is None else LedgerSums(*map(int, row))
