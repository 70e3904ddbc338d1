"""SQL of the ledger: what a transaction adds to it, and its balance (D8): received = stored +
duplicate + rejected + dropped + skipped + in flight. Called by writer.py and processor.py."""

from __future__ import annotations

import psycopg
from psycopg.rows import TupleRow

from historian import metrics
from historian.ledger_entries import LedgerEntries

Connection = psycopg.AsyncConnection[TupleRow]

# Hours that ended more than ten minutes ago: what is still in flight there is late or lost, and
# what arrived beyond the gateway's own count was not counted there.
_BALANCE = """
SELECT coalesce(sum(greatest(r.received - coalesce(s.stored + s.duplicate + s.rejected, 0), 0)),
    0)::bigint, coalesce(sum(r.surplus), 0)::bigint
FROM (
    SELECT owner, source, hour, sum(received - dropped - skipped) AS received,
        sum(greatest(arrived + dropped + skipped - reported, 0)) FILTER (WHERE reported > 0)
            AS surplus
    FROM historian.ledger_received
    WHERE hour BETWEEN now() - interval '2 days' AND now() - interval '70 minutes'
    GROUP BY owner, source, hour
) AS r
LEFT JOIN historian.ledger_stored AS s USING (owner, source, hour)
"""


async def add_to_ledger(conn: Connection, entries: LedgerEntries) -> None:
    """Add to `ledger_stored`, and as many samples to `ledger_received`: what is accounted for was
    received, also where the gateway's own count is still on its way."""
    async with conn.cursor() as cursor:
        await cursor.executemany(
            "INSERT INTO historian.ledger_stored AS l (source, owner, hour, stored, duplicate, "
            "rejected) "
            "VALUES (%s, %s, to_timestamp(%s), %s, %s, %s) ON CONFLICT (owner, source, hour) DO "
            "UPDATE "
            "SET stored = l.stored + excluded.stored, duplicate = l.duplicate + "
            "excluded.duplicate, "
            "rejected = l.rejected + excluded.rejected",
            [
                (source, owner, hour // 1_000_000, *counts)
                for (source, owner, hour), counts in sorted(entries.counts.items())
            ],
        )
        await cursor.executemany(
            "INSERT INTO historian.ledger_received AS l (owner, gateway, boot, source, hour, "
            "received, dropped, skipped, rejected, reported, arrived) "
            "VALUES (%s, %s, %s, %s, to_timestamp(%s), %s, 0, 0, 0, 0, %s) "
            "ON CONFLICT (owner, gateway, boot, source, hour) DO UPDATE SET "
            "arrived = l.arrived + excluded.arrived, received = greatest(l.received, "
            "l.arrived + excluded.arrived + l.dropped + l.skipped)",
            [
                (owner, gateway, boot, source, hour // 1_000_000, count, count)
                for (owner, gateway, boot, source, hour), count in sorted(entries.arrivals.items())
            ],
        )


async def measure_ledger(conn: Connection) -> None:
    """Set the metrics of the ledger over the closed hours of two days."""
    cursor = await conn.execute(_BALANCE)
    row = await cursor.fetchone()
    assert row is not None
    metrics.IN_FLIGHT.set(row[0])
    metrics.UNBALANCED.set(row[1])
