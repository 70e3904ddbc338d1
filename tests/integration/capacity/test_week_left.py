"""What is left of the running week: the worker's figure against SQL of its own over the same states
and counts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import psycopg
import pytest
from psycopg.types.json import Jsonb

from tests.unit.capacity.test_lines import running_week

_LEFT = """
WITH p AS (SELECT %(now)s::timestamptz AS now, 172800.0 AS prior, 28 * 86400.0 AS half),
shifts AS (
    SELECT (d::date + time '06:00') AT TIME ZONE 'Europe/Oslo' AS a,
           (d::date + time '14:00') AT TIME ZONE 'Europe/Oslo' AS b
    FROM generate_series(date '2026-11-23', date '2026-11-27', interval '1 day') d
),
left_s AS (
    SELECT sum(greatest(0, extract(epoch FROM b - greatest(a, now)))) AS s FROM shifts, p
),
states AS (
    SELECT * FROM jsonb_to_recordset(%(states)s::jsonb)
        AS t(state text, a timestamptz, b timestamptz)
),
weighed AS (
    SELECT state, sum(extract(epoch FROM b - a)
        * power(0.5, extract(epoch FROM now - b) / half)) AS s
    FROM states, p GROUP BY state
),
r AS (
    SELECT coalesce((SELECT s FROM weighed WHERE state = 'running'), 0) AS up,
           coalesce((SELECT s FROM weighed WHERE state = 'down'), 0) AS down
)
SELECT left_s.s / 10.0 AS total,
       left_s.s / 10.0 * (0.95 * prior + up) / (prior + up + down) * 0.95 * 0.99
       - greatest(0, %(promised)s - %(made)s) AS available
FROM left_s, r, p
"""


@pytest.mark.parametrize(
    "now",
    [
        datetime(2026, 11, 23, 3, 0, tzinfo=UTC),
        datetime(2026, 11, 26, 1, 25, tzinfo=UTC),
        datetime(2026, 11, 26, 9, 35, tzinfo=UTC),
        datetime(2026, 11, 27, 12, 55, tzinfo=UTC),
        datetime(2026, 11, 27, 13, 30, tzinfo=UTC),
        datetime(2026, 11, 29, 22, 55, tzinfo=UTC),
    ],
)
@pytest.mark.parametrize("promised", [0.0, 50.0])
def test_what_is_left_equals_an_independent_recomputation(
    database_url: str, now: datetime, promised: float
) -> None:
    start = now - timedelta(hours=30)
    marks = [start, start + timedelta(hours=9), start + timedelta(hours=10), now]
    states = [
        {"state": state, "a": a.isoformat(), "b": b.isoformat()}
        for state, a, b in zip(["running", "down", "running"], marks, marks[1:], strict=False)
    ]
    row = running_week(now, states, promised)
    with psycopg.connect(database_url) as conn:
        wanted = {
            "now": now,
            "states": Jsonb(states),
            "promised": promised,
            "made": 0,
        }
        total, available = conn.execute(_LEFT, wanted).fetchone() or (None, None)
    assert row["total"] == pytest.approx(float(total), abs=0.1)
    assert row["available"] == pytest.approx(max(0.0, float(available)), abs=0.1)
