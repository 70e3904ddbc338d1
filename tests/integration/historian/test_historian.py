"""The historian against Apache Kafka and a real database: oracle, ledger, bad input, other
logs."""

from __future__ import annotations

import asyncio
import json
import urllib.error
import urllib.request
import uuid
from dataclasses import replace
from pathlib import Path

import psycopg
import pytest

from aurelian.backbone.client import Consumer
from aurelian.backbone.topics import ASSETS, REJECTED, SAMPLES, STORED, create_topics
from aurelian.db.logs import declare_log
from aurelian.local import ports
from aurelian.model import codec
from aurelian.model.record import Partition
from aurelian.model.sample import BAD, Flag, Sample, Signal, ValueType, make_batch
from aurelian.runtime.settings import KafkaSettings
from tests import oracle, servers
from tests.integration.historian.historian_process import (
    await_offsets,
    delete_records,
    running_historian,
    send,
    send_batches,
    send_events,
    wait_until,
)

NOW = oracle.START_US


def test_every_value_of_the_oracle_is_stored_once_and_the_ledger_balances(
    broker: servers.KafkaServer, database_url: str, tmp_path: Path
) -> None:
    samples = oracle.make_samples(seed=7, count=100_000)
    batches = oracle.make_batches(samples)
    declare_log(database_url, "log-1")
    sent = send_batches(broker.bootstrap, batches)
    events = oracle.received_events(samples)
    send_events(broker.bootstrap, events)
    with running_historian(broker.bootstrap, database_url, tmp_path) as historian:
        await_offsets(database_url, sent)
        await_offsets(database_url, len(events), topic="aurelian.source-events.v1")
        expected = oracle.expect(samples)
        assert oracle.differences(expected, oracle.read_store(database_url)) == []
        assert oracle.count_rows(database_url) == len(expected)
        totals = oracle.ledger_totals(database_url)
        assert totals["stored"] == len(expected)
        assert totals["duplicate"] == len(samples) - len(expected)
        assert oracle.imbalance(database_url) == {}
        assert _rollups(database_url) == _recomputed(database_url)

        # All of it once more under a new log: every batch is known, nothing changes, and gateways
        # get the announcement.
        declare_log(database_url, "log-2")
        broker.lose_log()
        asyncio.run(create_topics(broker.bootstrap))
        again = send_batches(broker.bootstrap, batches)
        await_offsets(database_url, again, log_id="log-2")
        assert oracle.ledger_totals(database_url) == totals
        assert oracle.count_rows(database_url) == len(expected)
        heads = {
            f"{oracle.GATEWAY}/{oracle.BOOT}/{batch.line}": batch.sequence for batch in batches
        }
        _await_announced(broker.bootstrap, heads, "log-2")
        assert historian.stop() == 0


def test_rows_of_another_gateway_with_the_same_keys_are_counted_as_duplicates(
    broker: servers.KafkaServer, database_url: str, tmp_path: Path
) -> None:
    samples = oracle.make_samples(seed=8, count=3_000)
    batches = oracle.make_batches(samples)
    declare_log(database_url, "log-1")
    with running_historian(broker.bootstrap, database_url, tmp_path):
        sent = send_batches(broker.bootstrap, batches)
        sent += send_batches(
            broker.bootstrap, [replace(batch, gateway="second") for batch in batches]
        )
        await_offsets(database_url, sent)
        stored = len(oracle.expect(samples))
        totals = oracle.ledger_totals(database_url)
        assert (totals["stored"], totals["duplicate"]) == (stored, 2 * len(samples) - stored)
        assert oracle.differences(oracle.expect(samples), oracle.read_store(database_url)) == []
        assert _rollups(database_url) == _recomputed(database_url)


def test_a_batch_that_never_comes_shows_in_delivery_gap_and_ledger(
    broker: servers.KafkaServer, database_url: str, tmp_path: Path
) -> None:
    samples = oracle.make_samples(seed=9, count=2_000)
    batches = oracle.make_batches(samples)
    lost = next(batch for batch in batches if batch.sequence == 3)
    declare_log(database_url, "log-1")
    with running_historian(broker.bootstrap, database_url, tmp_path, hole_limit_s=0.1):
        sent = send_batches(broker.bootstrap, [batch for batch in batches if batch is not lost])
        send_events(broker.bootstrap, oracle.received_events(samples))
        await_offsets(database_url, sent)
        with psycopg.connect(database_url, autocommit=True) as conn:
            head = "SELECT stored_to, beyond FROM historian.delivery WHERE line = %s"
            last = max(batch.sequence for batch in batches if batch.line == lost.line)
            assert conn.execute(head, (lost.line,)).fetchone() == (2, [4, last])
            gap = "SELECT reason, recovered FROM historian.gap WHERE line = %s"
            wait_until(
                lambda: conn.execute(gap, (lost.line,)).fetchone() is not None, 25, "a gap record"
            )
            assert conn.execute(gap, (lost.line,)).fetchone() == (
                f"batch 3 of {oracle.GATEWAY} (boot {oracle.BOOT}) did not come",
                False,
            )
            assert sum(oracle.imbalance(database_url).values()) == len(lost)

            send_batches(broker.bootstrap, [lost])
            await_offsets(database_url, sent + 1)
            assert conn.execute(head, (lost.line,)).fetchone() == (last, [])
            assert conn.execute(gap, (lost.line,)).fetchone()[1] is True
        assert oracle.imbalance(database_url) == {}
        assert oracle.differences(oracle.expect(samples), oracle.read_store(database_url)) == []


def test_bad_input_is_kept_with_its_bytes_and_its_neighbours_are_stored(
    broker: servers.KafkaServer, database_url: str, tmp_path: Path
) -> None:
    declare_log(database_url, "log-1")
    number = Signal(
        "number", "unit", "oracle/site/area/line-0/unit/number", ValueType.DOUBLE, "", "src"
    )
    text = Signal("text", "unit", "oracle/site/area/line-0/unit/text", ValueType.TEXT, "", "src")
    line = "oracle/site/area/line-0"

    def batch(sequence: int, *samples: Sample, owner: str = "oracle") -> bytes:
        return codec.encode(
            make_batch(samples, owner=owner, gateway="g", boot=1, sequence=sequence, line=line)
        )

    def sample(
        signal: Signal, value: object, time: int, kind: ValueType | None = None, received: int = NOW
    ) -> Sample:
        return Sample(signal, value, kind or signal.type, time, received)  # type: ignore[arg-type]

    day = 86_400_000_000
    records = [
        (SAMPLES, line, b"\xff\xff no protobuf"),
        (SAMPLES, line, b""),
        (
            SAMPLES,
            line,
            batch(1, sample(number, float("nan"), NOW), sample(number, float("-inf"), NOW + 1)),
        ),
        (
            SAMPLES,
            line,
            batch(2, sample(number, "hot", NOW, ValueType.TEXT), sample(number, 2.0, NOW + 2)),
        ),
        (
            SAMPLES,
            line,
            batch(
                3,
                sample(number, 3.0, -11_644_473_600_000_000, received=NOW + 50),
                sample(text, "ok", NOW),
            ),
        ),
        (SAMPLES, line, batch(4, sample(text, "in the future", NOW + day, received=NOW + 60))),
        (SAMPLES, line, batch(5, sample(text, "poison \0 text", NOW + 3))),
        (SAMPLES, line, batch(6, sample(text, "after the poison", NOW + 4))),
        (SAMPLES, line, batch(1, sample(number, 666.0, NOW + 9), owner="intruder")),
        (REJECTED, "src", b"\x01 garbage"),
        (ASSETS, "x", b"[]"),
        (SAMPLES, line, batch(7, sample(number, 7.0, 2**62, received=NOW + 70))),
    ]
    asset = {
        "id": "unit",
        "owner": "oracle",
        "parent": None,
        "level": "unit",
        "name": "unit",
        "path": f"{line}/unit",
        "meaning": {"source": "src", "signals": [{"id": "number", "name": "number", "type": 1}]},
    }
    with running_historian(broker.bootstrap, database_url, tmp_path):
        send(broker.bootstrap, [(ASSETS, "unit", json.dumps(asset).encode())])
        await_offsets(database_url, 1, topic=ASSETS.name)
        send(broker.bootstrap, records)
        await_offsets(database_url, sum(topic is SAMPLES for topic, *_ in records))
        await_offsets(database_url, 2, topic=ASSETS.name)
        await_offsets(database_url, 1, topic=REJECTED.name)
        with psycopg.connect(database_url) as conn:
            rejected = conn.execute(
                "SELECT error_class, payload, samples FROM historian.rejected ORDER BY topic, "
                '"offset"'
            ).fetchall()
        assert [row[0] for row in rejected] == [
            "unreadable",
            "unreadable",
            "unreadable",
            "unreadable",
            "type",
            "encoding",
            "owner",
        ]
        assert rejected[2][1] == records[0][2]
        assert codec.decode(rejected[4][1]).texts == ("hot",)
        assert codec.decode(rejected[5][1]).texts == ("poison \0 text",)
        rows = {
            (row.path.rpartition("/")[2], row.value): row for row in oracle.read_store(database_url)
        }
        none = [row for row in oracle.read_store(database_url) if row.value == "null"]
        assert [(row.status, row.type) for row in none] == [(BAD, ValueType.NULL)] * 2
        ancient = rows["number", "double 0x1.8000000000000p+1"]
        assert (ancient.time, ancient.flags) == (NOW + 50, Flag.TIME_REPLACED)
        assert ancient.source_time == -11_644_473_600_000_000
        ahead = rows["text", "str in the future"]
        assert (ahead.time, ahead.source_time) == (NOW + 60, NOW + day)
        assert ("text", "str after the poison") in rows
        assert ("number", "double 0x1.0000000000000p+1") in rows
        assert ("number", "double 0x1.c000000000000p+2") in rows
        totals = oracle.ledger_totals(database_url)
        assert (totals["stored"], totals["duplicate"], totals["rejected"]) == (8, 0, 3)


def test_another_log_that_nobody_declared_halts_and_a_declared_one_goes_on(
    broker: servers.KafkaServer, database_url: str, tmp_path: Path
) -> None:
    samples = oracle.make_samples(seed=10, count=600, lines=1)
    batches = oracle.make_batches(samples, sizes=(20,))
    declare_log(database_url, "log-1")
    with running_historian(broker.bootstrap, database_url, tmp_path):
        sent = send_batches(broker.bootstrap, batches[:10])
        await_offsets(database_url, sent)
    broker.lose_log()
    asyncio.run(create_topics(broker.bootstrap))
    send_batches(broker.bootstrap, batches[10:])
    port = ports.any_free()
    with running_historian(broker.bootstrap, database_url, tmp_path, ops_port=port):
        with psycopg.connect(database_url, autocommit=True) as conn:
            halted = "SELECT halted FROM historian.kafka_offset WHERE halted IS NOT NULL"
            wait_until(
                lambda: conn.execute(halted).fetchone() is not None, 25, "a halted partition"
            )
            assert "another log" in conn.execute(halted).fetchone()[0]
            gaps = conn.execute("SELECT source, owner, count FROM historian.gap").fetchall()
            assert gaps == [("kafka", "*", 0)]
        wait_until(lambda: "another log" in _waits_for(port), 10, "a reason on /readyz")
        assert oracle.count_rows(database_url) < len(oracle.expect(samples))
        declare_log(database_url, "log-2")
        await_offsets(database_url, len(batches) - 10, log_id="log-2")
        wait_until(lambda: _waits_for(port) == "", 10, "a ready historian")
    assert oracle.differences(oracle.expect(samples), oracle.read_store(database_url)) == []


@pytest.mark.parametrize("emptied", [False, True])
def test_a_trimmed_log_leaves_a_gap_with_the_count_and_goes_on(
    broker: servers.KafkaServer, database_url: str, tmp_path: Path, emptied: bool
) -> None:
    samples = oracle.make_samples(seed=11, count=600, lines=1)
    batches = oracle.make_batches(samples, sizes=(20,))
    declare_log(database_url, "log-1")
    with running_historian(broker.bootstrap, database_url, tmp_path):
        send_batches(broker.bootstrap, batches[:10])
        await_offsets(database_url, 10)
    with psycopg.connect(database_url) as conn:
        offset = (
            "SELECT partition FROM historian.kafka_offset WHERE topic = %s AND next_offset = 10"
        )
        partition = Partition(SAMPLES.name, conn.execute(offset, (SAMPLES.name,)).fetchone()[0])
    kept = [] if emptied else batches[13:]
    send_batches(broker.bootstrap, batches[10:13] + kept)
    delete_records(broker.bootstrap, {partition: 13})
    port = ports.any_free()
    with running_historian(broker.bootstrap, database_url, tmp_path, ops_port=port):
        with psycopg.connect(database_url, autocommit=True) as conn:
            gap = "SELECT source, line, count, reason FROM historian.gap WHERE source = 'kafka'"
            wait_until(lambda: conn.execute(gap).fetchone() is not None, 25, "a gap record")
            if emptied:
                send_batches(broker.bootstrap, batches[13:])
            await_offsets(database_url, len(batches))
            reason = (
                "3 records from offset 10 on were deleted before they were consumed: "
                "the log begins at 13"
            )
            name = f"{partition.topic}/{partition.number}"
            assert conn.execute(gap).fetchall() == [("kafka", name, 3, reason)]
        assert _waits_for(port) == ""
    lost = {id(batch) for batch in batches[10:13]}
    stored = [s for b in batches if id(b) not in lost for s in b.samples()]
    assert oracle.count_rows(database_url) == len(oracle.expect(stored))


def test_events_of_sources_and_assets_reach_their_tables(
    broker: servers.KafkaServer, database_url: str, tmp_path: Path
) -> None:
    declare_log(database_url, "log-1")

    def event(time: int, **kind: object) -> codec.SourceEvent:
        return codec.SourceEvent(
            owner="oracle", gateway="g", boot=1, source="src", time=time, **kind
        )  # type: ignore[arg-type]

    gap = codec.Gap(from_time=NOW, to_time=NOW + 10, count=3, reason="queue overflow")
    events = [
        event(NOW, birth=codec.Birth(detail="connected")),
        event(NOW + 3, heartbeat=codec.Heartbeat(heard_at=NOW + 3)),
        event(NOW + 2, heartbeat=codec.Heartbeat(heard_at=NOW + 2)),
        event(NOW + 4, gap=gap),
        event(NOW + 4, gap=gap),
        event(NOW + 5, received=codec.Received(hour=NOW, received=10, dropped=1)),
        event(NOW + 5, received=codec.Received(hour=NOW, received=7)),
        event(NOW + 6, death=codec.Death(reason="cable")),
        event(NOW + 1, birth=codec.Birth(detail="late and old")),
        # The pages alone need it: it is no sign of life, and nothing of it is kept.
        event(NOW + 9, connection=codec.Connection(state="STATE_LIVE", since=NOW + 8)),
        event(NOW + 9, command_result=codec.CommandResult(id="c1", outcome="OUTCOME_DONE")),
        # Of a gateway that follows no plant file yet.
        codec.SourceEvent(gateway="g", boot=1, command_result=codec.CommandResult(id="c2")),
    ]
    asset = {
        "id": "a1",
        "owner": "oracle",
        "parent": None,
        "level": "unit",
        "name": "saw",
        "path": "oracle/site/area/line-0/saw",
        "meaning": {
            "source": "src",
            "signals": [{"id": "s1", "name": "speed", "type": 1, "role": "other"}],
        },
    }
    renamed = {**asset, "name": "saw-2", "path": "oracle/site/area/line-0/saw-2"}
    with running_historian(broker.bootstrap, database_url, tmp_path):
        send_events(broker.bootstrap, events)
        send(
            broker.bootstrap,
            [(ASSETS, "a1", json.dumps(each).encode()) for each in (asset, renamed)],
        )
        await_offsets(database_url, len(events), topic="aurelian.source-events.v1")
        await_offsets(database_url, 2, topic=ASSETS.name)
    with psycopg.connect(database_url) as conn:
        source = conn.execute(
            "SELECT state, detail, extract(epoch FROM heard_at) * 1000000 FROM historian.source"
        )
        assert source.fetchall() == [("dead", "cable", NOW + 3)]
        assert conn.execute("SELECT * FROM historian.rejected").fetchall() == []
        assert conn.execute("SELECT count, reason FROM historian.gap").fetchall() == [
            (3, "queue overflow")
        ]
        received = conn.execute(
            "SELECT received, dropped FROM historian.ledger_received"
        ).fetchall()
        assert received == [(10, 1)]
        paths = conn.execute(
            "SELECT path, valid_to IS NULL FROM historian.asset_path ORDER BY valid_from, path"
        )
        assert paths.fetchall() == [(asset["path"], False), (renamed["path"], True)]
        signal = conn.execute("SELECT id, path, discovered FROM historian.signal").fetchall()
        assert signal == [("s1", "oracle/site/area/line-0/saw-2/speed", False)]


def _waits_for(port: int) -> str:
    """What `/readyz` says is waited for; empty: ready."""
    try:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/readyz", timeout=5):
            return ""
    except urllib.error.HTTPError as error:
        return str(json.load(error)["waiting_for"])
    except OSError:
        return "no answer"


def _await_announced(bootstrap: str, heads: dict[str, int], log_id: str) -> None:
    """Wait until `aurelian.stored.v1` says `heads` and a heartbeat under `log_id`."""

    async def read() -> None:
        settings = KafkaSettings(kafka_bootstrap=bootstrap)
        found: dict[str, int] = {}
        beats = 0
        async with Consumer(settings, [STORED], client_id=str(uuid.uuid4())) as consumer:
            async with asyncio.timeout(20):
                while not beats or not heads.items() <= found.items():
                    for record in await consumer.take():
                        body = json.loads(record.value or b"{}")
                        if body.get("log_id") == log_id and record.key == b"@heartbeat":
                            beats += 1
                        elif body.get("log_id") == log_id:
                            found[(record.key or b"").decode()] = body["sequence"]

    asyncio.run(read())


def _rollups(url: str) -> list[tuple[object, ...]]:
    columns = "signal, bucket, count, bad, min, max, first, first_time, last, last_time"
    with psycopg.connect(url) as conn:
        return [
            row
            for table in ("rollup_minute", "rollup_hour")
            for row in conn.execute(
                f"SELECT '{table}', {columns} FROM historian.{table} ORDER BY 2, 3"
            )
        ]


def _recomputed(url: str) -> list[tuple[object, ...]]:
    """The rollups as the raw rows give them."""
    good = "value IS NOT NULL AND status < 2147483648"
    query = f"""
        SELECT %s, signal, date_trunc(%s, time, 'UTC') AS bucket, count(*) FILTER (WHERE {good}),
            count(*) FILTER (WHERE NOT ({good})), min(value) FILTER (WHERE {good}), max(value)
              FILTER (WHERE {good}),
            (array_agg(value ORDER BY time, sub) FILTER (WHERE {good}))[1], min(time) FILTER (WHERE
              {good}),
            (array_agg(value ORDER BY time DESC, sub DESC) FILTER (WHERE {good}))[1], max(time)
              FILTER (WHERE {good})
        FROM (
            SELECT signal, time, sub, status, value FROM historian.sample_number UNION ALL
            SELECT signal, time, sub, status, integer::float8 FROM historian.sample_other WHERE
              integer IS NOT NULL
        ) AS raw GROUP BY 2, 3 ORDER BY 2, 3"""
    with psycopg.connect(url) as conn:
        return [
            row
            for table, unit in (("rollup_minute", "minute"), ("rollup_hour", "hour"))
            for row in conn.execute(query, (table, unit))
        ]
