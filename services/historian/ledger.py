"""The ledger's balance: received = stored + duplicate + rejected + dropped + skipped + in flight
(D8). Called by processor.py."""

from __future__ import annotations

import psycopg
from psycopg.rows import TupleRow

from historian import metrics

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


async def measure_ledger(conn: psycopg.AsyncConnection[TupleRow]) -> None:
    """Set the metrics of the ledger over the closed hours of two days."""
    cursor = await conn.execute(_BALANCE)
    row = await cursor.fetchone()
    assert row is not None
    metrics.IN_FLIGHT.set(row[0])
    metrics.UNBALANCED.set(row[1])
