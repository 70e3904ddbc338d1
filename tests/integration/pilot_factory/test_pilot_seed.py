"""The seeded history: consistent with itself, with what the historian adds, and written once."""

import time
from pathlib import Path

import psycopg

import pilot_factory
from aurelian.model.plant_file import load_plants
from aurelian.model.sample import Flag
from pilot_factory.seed import LEAD_US, seed_history

PLANTS = Path(pilot_factory.__file__).parent / "plants"
HOUR = 3_600_000_000

SAME_ROLLUPS = """
    SELECT count(*) FROM (
        SELECT signal, date_trunc('{unit}', time) AS bucket, count(*) AS n, sum(value) AS total,
            min(value) AS low, max(value) AS high, min(time) AS early, max(time) AS late
        FROM historian.sample_number GROUP BY 1, 2
    ) s FULL JOIN historian.rollup_{unit} r USING (signal, bucket)
    WHERE r.count IS DISTINCT FROM s.n OR abs(r.sum - s.total) > 1e-6 * (1 + abs(s.total))
        OR r.min IS DISTINCT FROM s.low OR r.max IS DISTINCT FROM s.high
        OR r.first_time IS DISTINCT FROM s.early OR r.last_time IS DISTINCT FROM s.late OR r.bad <>
          0
"""


def test_seeded_history_balances_the_ledger_fits_its_rollups_and_is_written_once(
    database_url: str,
) -> None:
    plants = load_plants(PLANTS)
    # An hour and a half into a UTC hour, so that whole hours and a running one are both there.
    now = (time.time_ns() // 1000) // HOUR * HOUR - HOUR // 2
    with psycopg.connect(database_url, autocommit=True) as conn:

        def ask(query: str) -> object:
            row = conn.execute(query).fetchone()  # type: ignore[arg-type]
            return row[0] if row else None

        # The historian was here first: a live value in the running minute.
        conn.execute("SELECT historian.maintain_samples(400)")
        samples = seed_history(database_url, plants, now=now, hours=2)
        assert samples > 20_000
        assert ask("SELECT sum(stored) FROM historian.ledger_stored") == samples
        assert ask("SELECT sum(received) FROM historian.ledger_received") == samples
        stored = (
            "SELECT (SELECT count(*) FROM historian.sample_number) + (SELECT count(*) FROM "
            "historian.sample_text)"
        )
        assert ask(stored) == samples
        assert ask(SAME_ROLLUPS.format(unit="minute")) == 0
        assert ask(SAME_ROLLUPS.format(unit="hour")) == 0
        assert (
            ask(
                "SELECT count(*) FROM historian.sample_number WHERE flags & "
                f"{int(Flag.HISTORICAL)} = 0"
            )
            == 0
        )
        newest = ask(
            "SELECT (extract(epoch FROM max(time)) * 1e6)::bigint FROM historian.sample_number"
        )
        assert isinstance(newest, int) and now - LEAD_US - 20_000_000 <= newest < now - LEAD_US

        lines = ask("SELECT count(DISTINCT line) FROM line_health.line_state")
        assert lines == 3
        overlaps = """
            SELECT count(*) FROM (
                SELECT ended_at, lead(started_at) OVER (PARTITION BY line ORDER BY started_at) AS
                  following
                FROM line_health.line_state
            ) s WHERE ended_at <> following
        """
        assert ask(overlaps) == 0

        # The rules of live lines: short for two minutes, then down; down with its reason.
        short = "state = 'short_stop'"
        seconds = "extract(epoch FROM ended_at - started_at)"
        for table in ("line_state", "stop"):
            wrong = f"SELECT count(*) FROM line_health.{table} WHERE ({short} AND {seconds} >= 120)"
            assert ask(f"{wrong} OR (state = 'down' AND {seconds} < 120)") == 0
        assert ask(f"SELECT count(*) FROM line_health.stop WHERE {short}") != 0
        assert ask("SELECT count(*) FROM line_health.stop WHERE reason = ''") == 0

        assert seed_history(database_url, plants, now=now, hours=2) == 0
        assert ask(stored) == samples


def test_rollups_that_the_historian_made_meanwhile_are_merged_not_lost(database_url: str) -> None:
    plants = load_plants(PLANTS)
    now = (time.time_ns() // 1000) // HOUR * HOUR - HOUR // 2
    signal = next(s for u in plants[0].units() for s in u.signals() if s.path.endswith("vibration"))
    with psycopg.connect(database_url, autocommit=True) as conn:
        key = conn.execute(
            "INSERT INTO historian.signal (id, owner, asset, path, name, type, unit, role, "
            "source, discovered, limits, "
            "changed_at) VALUES (%s, 'pilot-a', %s, %s, 'vibration', 1, '', 'other', 's', false, "
            "'{}', now()) "
            "RETURNING key",
            (signal.id, signal.asset, signal.path),
        ).fetchone()
        assert key is not None
        live = "to_timestamp(%(now)s / 1e6)"
        conn.execute(
            "INSERT INTO historian.rollup_hour (signal, bucket, count, bad, sum, min, max, "
            "first, first_time, first_sub, "
            f"last, last_time, last_sub) VALUES (%(key)s, date_trunc('hour', {live}, 'UTC'), 1, "
            "0, 900, 900, 900, 900, "
            f"{live}, 0, 900, {live}, 0)",
            {"key": key[0], "now": now},
        )
        seed_history(database_url, plants[:1], now=now, hours=1)
        row = conn.execute(
            "SELECT count, max, last, first FROM historian.rollup_hour WHERE signal = %s ORDER BY "
            "bucket DESC LIMIT 1",
            (key[0],),
        ).fetchone()
        assert row is not None
        assert row[0] > 100 and row[1] == 900 and row[2] == 900 and row[3] < 900
