"""Samples whose time lies in chunks that the database would have to decompress: TimescaleDB's limit
(53400) is played by a trigger, as there is no such server here."""

from __future__ import annotations

import time
from pathlib import Path

import psycopg

from aurelian.backbone.topics import SAMPLES
from aurelian.db.logs import declare_log
from aurelian.local import ports
from aurelian.model.sample import Sample, Signal, ValueType
from tests import oracle, servers
from tests.integration.historian.historian_process import (
    await_offsets,
    metrics_of,
    running_historian,
    send,
    wait_until,
)
from tests.integration.historian.stored_in_memory import encoded

LINE = "oracle/site/area/line"
DAY_US = 86_400_000_000
LIMITED = """
CREATE FUNCTION public.limited() RETURNS trigger LANGUAGE plpgsql AS $$
BEGIN
    IF NEW.value = 666 THEN
        RAISE EXCEPTION 'out of range' USING ERRCODE = '22003';
    END IF;
    IF NEW.time < now() - interval '14 days' AND coalesce(current_setting(
        'timescaledb.max_tuples_decompressed_per_dml_transaction', true), '') <> '0' THEN
        RAISE EXCEPTION 'tuple decompression limit exceeded by operation' USING ERRCODE = '53400';
    END IF;
    RETURN NEW;
END $$;
CREATE TRIGGER limited BEFORE INSERT ON historian.sample_number
    FOR EACH ROW EXECUTE FUNCTION limited()
"""

UNREADABLE = """
INSERT INTO historian.late_inbox
    (owner, samples, payload, reason, log_id, partition, "offset", kafka_time, recorded_at)
VALUES ('oracle', 1, 'no batch', 'why', 'log-1', 0, 0, 0, now())
"""


def test_late_samples_wait_for_no_live_ones_and_come_to_their_own_time(
    broker: servers.KafkaServer, database_url: str, tmp_path: Path
) -> None:
    """Killed at any moment, beside another historian; one that no store can hold is rejected."""
    declare_log(database_url, "log-1")
    with psycopg.connect(database_url) as conn:
        conn.execute(LIMITED)
    now = time.time_ns() // 1000
    records, values = [], set()
    for n in range(1, 61):
        live = _sample(now + n, 1000 + n)
        late = [_sample(now - 20 * DAY_US + 60_000_000 * n + k, 1000 * n + k) for k in range(20)]
        if n == 7:
            late[3] = _sample(late[3].source_time, 666)
        elif n == 8:
            live = _sample(live.source_time, 666)
        mixed = [live, *late] if n % 3 else [live]
        records.append((SAMPLES, LINE, encoded(*mixed, sequence=n)))
        values |= {(each.source_time, each.value) for each in mixed if each.value != 666}
    with (
        running_historian(broker.bootstrap, database_url, tmp_path, commit_samples=50) as one,
        running_historian(broker.bootstrap, database_url, tmp_path, commit_samples=50) as two,
    ):
        send(broker.bootstrap, records[:30])
        await_offsets(database_url, 15)
        one.kill()
        with running_historian(broker.bootstrap, database_url, tmp_path) as again:
            send(broker.bootstrap, records[30:])
            await_offsets(database_url, 60, timeout_s=60)
            wait_until(lambda: _waiting(database_url) == 0, 60, "an empty inbox")
            said = "".join(each.log.read_text() for each in (one, two, again))
    assert "late samples stored" in said
    rows = oracle.read_store(database_url)
    found = [(row.time, float.fromhex(row.value.split()[1])) for row in rows]
    assert len(found) == len(set(found)) == len(values)
    assert set(found) == values
    totals = oracle.ledger_totals(database_url)
    assert (totals["stored"], totals["duplicate"], totals["rejected"]) == (len(values), 0, 2)
    with psycopg.connect(database_url) as conn:
        counted = conn.execute("SELECT sum(count) FROM historian.rollup_minute").fetchone()
    assert counted == (len(values),)


def test_a_signal_that_is_refused_again_and_again_goes_another_way_and_loses_no_good_value(
    broker: servers.KafkaServer, database_url: str, tmp_path: Path
) -> None:
    """Beside a batch of the inbox that nobody can read: it stays, and holds up no other."""
    declare_log(database_url, "log-1")
    port = ports.any_free()
    with psycopg.connect(database_url) as conn:
        conn.execute(LIMITED)
        conn.execute(UNREADABLE)
    now = time.time_ns() // 1000
    good: set[tuple[str, int]] = set()

    def send_some(first: int) -> None:
        records = []
        for n in range(first, first + 10):
            at = now + 1000 * n
            samples = [_sample(at, 666), _sample(at + 1, n), _sample(at, n, "y")]
            records.append((SAMPLES, LINE, encoded(*samples, sequence=n)))
            good.update({(f"{LINE}/unit/x", at + 1), (f"{LINE}/unit/y", at)})
        send(broker.bootstrap, records)

    with running_historian(broker.bootstrap, database_url, tmp_path, ops_port=port):
        send_some(1)
        await_offsets(database_url, 10)
        assert metrics_of(port)["historian_breakers_open"] == 1
        send_some(11)
        await_offsets(database_url, 20)
        wait_until(lambda: _waiting(database_url) == 1, 60, "all but one")
    rows = oracle.read_store(database_url)
    assert len(rows) == len(good) and {(row.path, row.time) for row in rows} == good
    totals = oracle.ledger_totals(database_url)
    assert (totals["stored"], totals["duplicate"], totals["rejected"]) == (40, 0, 20)


def _sample(at: int, value: float, name: str = "x") -> Sample:
    path = f"{LINE}/unit/{name}"
    signal = Signal(f"id-{name}", "id-unit", path, ValueType.DOUBLE, "", "src")
    return Sample(signal, float(value), ValueType.DOUBLE, at, time.time_ns() // 1000)


def _waiting(url: str) -> int:
    with psycopg.connect(url) as conn:
        row = conn.execute("SELECT count(*) FROM historian.late_inbox").fetchone()
    assert row is not None
    return int(row[0])
