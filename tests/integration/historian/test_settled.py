"""Refused counts as settled, holes close, streams end (3, 12): what gateways read on
`aurelian.stored.v1`."""

from __future__ import annotations

import json

import psycopg
import pytest

from aurelian.backbone.topics import REJECTED, SAMPLES, SOURCE_EVENTS, Topic
from aurelian.model import codec
from aurelian.pb import telemetry_pb2 as pb
from historian import metrics
from historian.announce import Announcer
from historian.delivery import Settled
from historian.settings import HistorianSettings
from tests import oracle
from tests.integration.historian.stored_in_memory import (
    ALL,
    LINE,
    NOW,
    batch,
    encoded,
    open_store,
    record,
    sample,
    signal,
)

STREAM = f"g/1/{LINE}"


def numbered(sequence: int, stream: str | None = LINE) -> dict[str, object]:
    headers: dict[str, object] = {"gateway": "g", "boot": 1, "sequence": sequence}
    return headers if stream is None else {**headers, "stream": stream}


def newer(value: bytes) -> bytes:
    """The batch as a later version would say it: its number, and a field that nobody knows."""
    message = pb.SampleBatch.FromString(value)
    message.schema_version = 2
    return message.SerializeToString() + b"\x82\x7d\x03new"  # field 2000


UNREADABLE = {
    "garbage": b"\xff\xff no protobuf",
    "nothing": b"",
    "cut": encoded(sample("x", 1.0), sequence=2)[:-3],
    "a column too long": encoded(sample("x", 1.0), sequence=2) + b"\x82\x01\x08" + bytes(8),
}


@pytest.mark.parametrize("name", UNREADABLE)
@pytest.mark.parametrize("stream", [LINE, None])
async def test_bytes_that_cannot_be_read_are_kept_and_settled(
    database_url: str, name: str, stream: str | None
) -> None:
    async with open_store(database_url, ALL) as store:
        await store.put(
            record(SAMPLES, encoded(sample("x", 1.0), sequence=1)),
            record(SAMPLES, UNREADABLE[name], headers=numbered(2, stream)),
            record(SAMPLES, encoded(sample("x", 3.0, 2), sequence=3)),
        )
        assert store.announced == {STREAM: Settled(3)}
        kept = store.ask("SELECT error_class, payload FROM historian.rejected")
        assert kept == [("unreadable", UNREADABLE[name])]
        assert [row[2] for row in store.values("x")] == [1, 3]
        # It comes again, as a gateway sends it that has not heard of it: nothing new.
        await store.put(record(SAMPLES, UNREADABLE[name], headers=numbered(2, stream)))
        assert len(store.rejected()) == 1


async def test_an_unreadable_first_batch_does_not_take_the_stream_from_its_owner(
    database_url: str,
) -> None:
    async with open_store(database_url, ALL) as store:
        await store.put(record(SAMPLES, b"\xff", headers=numbered(1)))
        await store.put(record(SAMPLES, encoded(sample("x", 2.0), sequence=2)))
    async with open_store(database_url, ALL) as store:
        await store.put(record(SAMPLES, encoded(sample("x", 3.0, 1), sequence=3)))
        assert [row[2] for row in store.values("x")] == [2, 3]
        assert store.ask("SELECT owner, stored_to FROM historian.delivery") == [("oracle", 3)]


async def test_a_gateway_one_version_ahead_loses_nothing(database_url: str) -> None:
    text = "x" * 700_000  # beyond what is kept of other records
    sent = newer(
        encoded(sample("x", 1.0), sample(signal("t"), text), sample("x", 2.0, 1), sequence=1)
    )
    event = pb.SourceEvent(schema_version=2, owner="oracle", gateway="g", boot=1, source="src")
    rejected = pb.Rejected(schema_version=3, owner="oracle", gateway="g", boot=1)
    others = [(SOURCE_EVENTS, event, "@events"), (REJECTED, rejected, "@rejected")]
    async with open_store(database_url, ALL) as store:
        await store.put(
            record(SAMPLES, sent, headers=numbered(1)),
            *(
                record(topic, message.SerializeToString(), headers=numbered(1, stream))
                for topic, message, stream in others
            ),
            record(SAMPLES, encoded(sample("x", 3.0, 2), sequence=2)),
        )
        assert store.announced == {
            STREAM: Settled(2),
            "g/1/@events": Settled(1),
            "g/1/@rejected": Settled(1),
        }
        kept = store.ask(
            "SELECT error_class, payload, samples FROM historian.rejected ORDER BY samples DESC"
        )
        assert kept[0] == ("schema", sent, 3)
        assert [row[0] for row in kept] == ["schema"] * 3
        assert codec.decode(sent, any_version=True).texts == (text,)
        # The ledger knows of them: nothing is missing.
        assert oracle.ledger_totals(database_url)["rejected"] == 3
        assert oracle.imbalance(database_url) == {}


async def test_a_newer_batch_without_headers_is_settled_by_its_own_number(
    database_url: str,
) -> None:
    async with open_store(database_url, ALL) as store:
        await store.put(record(SAMPLES, newer(encoded(sample("x", 1.0), sequence=1))))
        assert store.announced == {STREAM: Settled(1)}


async def test_an_event_of_an_unknown_kind_is_settled_and_kept_where_it_is_numbered(
    database_url: str,
) -> None:
    unknown = pb.SourceEvent(schema_version=1, owner="oracle", gateway="g", boot=1, source="src")
    value = unknown.SerializeToString() + b"\xe2\x7d\x02\x08\x01"  # kind 2012
    async with open_store(database_url, ALL) as store:
        await store.put(
            record(SOURCE_EVENTS, value),
            record(SOURCE_EVENTS, value, headers=numbered(1, "@events")),
        )
        assert store.rejected() == [("schema", 0)]
        assert store.announced == {"g/1/@events": Settled(1)}


async def test_a_refused_owner_is_settled(database_url: str) -> None:
    async with open_store(database_url, ALL) as store:
        await store.put(record(SAMPLES, encoded(sample("x", 1.0), owner="first", boot=7)))
        await store.put(
            record(SAMPLES, encoded(sample("x", 2.0), sequence=1)),
            record(SAMPLES, encoded(sample("y", 3.0), sequence=2)),
        )
        assert store.rejected() == [("owner", 1)]
        assert store.announced == {STREAM: Settled(2)}
        assert [row[2] for row in store.values("y")] == [3]


async def test_another_owners_batch_under_our_number_does_not_take_the_number(
    database_url: str,
) -> None:
    async with open_store(database_url, ALL) as store:
        await store.put(record(SAMPLES, encoded(sample("x", 1.0), sequence=1)))
        await store.put(record(SAMPLES, encoded(sample("z", 6.0), sequence=2, owner="intruder")))
        await store.put(record(SAMPLES, encoded(sample("x", 2.0, 1), sequence=2)))
        assert [row[2] for row in store.values("x")] == [1, 2]
        assert store.announced == {STREAM: Settled(2)}


@pytest.mark.parametrize("topic", [SOURCE_EVENTS, REJECTED])
async def test_unreadable_events_and_rejections_are_settled_under_their_topics_stream(
    database_url: str, topic: Topic
) -> None:
    async with open_store(database_url, ALL) as store:
        await store.put(record(topic, b"\xff\xff", headers=numbered(1, None)))
        stream = "@events" if topic is SOURCE_EVENTS else "@rejected"
        assert store.announced == {f"g/1/{stream}": Settled(1)}


async def test_what_is_beyond_a_hole_is_announced_as_ranges(database_url: str) -> None:
    async with open_store(database_url, ALL) as store:
        for n in (1, 3, 4, 7):
            await store.put(record(SAMPLES, encoded(sample("x", float(n), n), sequence=n)))
        assert store.announced == {STREAM: Settled(1, (3, 4, 7, 7))}
    config = HistorianSettings(database_url=database_url, kafka_bootstrap="x:1")  # type: ignore[arg-type]
    body = json.loads(Announcer(config, "log", dict)._encode(Settled(1, (3, 4, 7, 7))))  # type: ignore[arg-type]
    assert body == {"log_id": "log", "sequence": 1, "beyond": [3, 4, 7, 7]}


async def test_a_hole_becomes_one_gap_closes_and_takes_what_still_comes(database_url: str) -> None:
    settings = {"hole_limit_s": 0.01, "hole_close_s": 0.02}
    async with open_store(database_url, ALL, **settings) as store:
        for n in (1, 2, 5, 6):
            await store.put(record(SAMPLES, encoded(sample("x", float(n), n), sequence=n)))
        while store.announced[STREAM] != Settled(6):
            await store.historian._keep_streams()
        reason = "batches 3 to 4 of g (boot 1) did not come"
        assert store.ask("SELECT reason, recovered FROM historian.gap") == [(reason, False)]
        await store.put(record(SAMPLES, encoded(sample("x", 3.0, 3), sequence=3)))
    async with open_store(database_url, ALL, **settings) as store:  # after a restart
        for n in (2, 4, 4, 7):
            await store.put(record(SAMPLES, encoded(sample("x", float(n), n), sequence=n)))
        assert [row[2] for row in store.values("x")] == [1, 2, 3, 4, 5, 6, 7]
        assert store.announced[STREAM] == Settled(7)
        assert oracle.ledger_totals(database_url)["duplicate"] == 0
        assert store.ask("SELECT given_up, hole_since FROM historian.delivery") == [([], None)]
        assert store.ask("SELECT recovered FROM historian.gap") == [(True,)]


async def test_an_open_hole_costs_no_write_once_it_has_its_gap(database_url: str) -> None:
    async with open_store(database_url, ALL, hole_limit_s=0.01) as store:
        for n in (1, 3):
            await store.put(record(SAMPLES, encoded(sample("x", float(n), n), sequence=n)))
        while not store.ask("SELECT 1 FROM historian.gap"):
            await store.historian._keep_streams()
        versions = "SELECT d.xmin::text, g.xmin::text FROM historian.delivery d, historian.gap g"
        before = store.ask(versions)
        position = store.ask(
            "SELECT pg_current_xact_id_if_assigned() IS NULL, max(xmin::text::int) "
            "FROM historian.delivery"
        )
        for _ in range(3):
            await store.historian._keep_streams()
        assert store.ask(versions) == before
        assert (
            store.ask("SELECT max(xmin::text::int) FROM historian.delivery")[0][0]
            == (position[0][1])
        )


async def test_what_an_outbox_says_it_lost_closes_the_hole(database_url: str) -> None:
    gap = codec.SourceEvent(
        owner="oracle",
        gateway="g",
        boot=2,
        source="src",
        time=NOW,
        gap=codec.Gap(from_time=NOW, to_time=NOW + 1, count=30, reason="outbox file damaged"),
    )
    lost = (("lost", f"1/2/3/{LINE}"), ("lost", "1/9/9/other/line"), ("lost", "nonsense"))
    async with open_store(database_url, ALL) as store:
        for n in (1, 4, 5):
            await store.put(record(SAMPLES, encoded(sample("x", float(n), n), sequence=n)))
        event = record(SOURCE_EVENTS, codec.encode_event(gap))
        from dataclasses import replace

        await store.put(replace(event, headers=tuple((k, v.encode()) for k, v in lost)))
        assert store.announced == {STREAM: Settled(5), "g/1/other/line": Settled(0, (9, 9))}
        assert store.ask("SELECT reason FROM historian.gap") == [("outbox file damaged",)]
        await store.put(record(SAMPLES, encoded(sample("x", 2.0, 2), sequence=2)))
        assert [row[2] for row in store.values("x")] == [1, 2, 4, 5]


async def test_a_gap_that_is_told_again_as_recovered_counts_once(database_url: str) -> None:
    def told(**more: bool) -> bytes:
        gap = codec.Gap(from_time=NOW, to_time=NOW + 1, reason="the cable", **more)
        event = codec.SourceEvent(
            owner="oracle", gateway="g", boot=1, source="src", time=NOW, gap=gap
        )
        return codec.encode_event(event)

    counted = metrics.GAPS.labels("gateway")._value.get
    before = counted()
    async with open_store(database_url, ALL) as store:
        # The first two in one transaction.
        await store.put(record(SOURCE_EVENTS, told()), record(SOURCE_EVENTS, told(recovered=True)))
        await store.put(record(SOURCE_EVENTS, told(recovered=True)))
        assert store.ask("SELECT reason, recovered FROM historian.gap") == [("the cable", True)]
    assert counted() - before == 1


async def test_streams_of_former_starts_end_and_are_forgotten(database_url: str) -> None:
    settings = {"stream_end_s": 0.01, "stream_forget_s": 0.05}
    async with open_store(database_url, ALL, **settings) as store:
        for boot in (1, 2, 3):
            await store.put(record(SAMPLES, encoded(sample("x", 1.0, boot), sequence=1, boot=boot)))
        # A hole holds its stream; so does the newest start.
        await store.put(record(SAMPLES, encoded(sample("x", 1.0, 9), sequence=3, boot=1)))
        rows = "SELECT boot FROM historian.delivery ORDER BY boot"
        while store.announced[f"g/2/{LINE}"] is not None:
            await store.historian._keep_streams()
        assert store.announced[STREAM] == Settled(1, (3, 3))
        assert store.announced[f"g/3/{LINE}"] == Settled(1)
        while len(store.ask(rows)) != 2:
            await store.historian._keep_streams()
        assert store.ask(rows) == [(1,), (3,)]


async def test_an_ended_stream_knows_what_it_stored_and_lives_again_when_more_comes(
    database_url: str,
) -> None:
    async with open_store(database_url, ALL, stream_end_s=0.01) as store:
        for boot in (1, 2):
            await store.put(record(SAMPLES, encoded(sample("x", 1.0, boot), sequence=1, boot=boot)))
        while store.announced[STREAM] is not None:
            await store.historian._keep_streams()
        await store.put(record(SAMPLES, encoded(sample("x", 5.0, 1), sequence=1)))
        assert [row[2] for row in store.values("x")] == [1, 1]
        await store.put(record(SAMPLES, encoded(sample("x", 2.0, 5), sequence=2)))
        assert store.announced[STREAM] == Settled(2)
        with psycopg.connect(database_url) as conn:
            ended = conn.execute("SELECT ended_at FROM historian.delivery WHERE boot = 1")
            assert ended.fetchone() == (None,)


async def test_a_batch_that_is_settled_by_its_neighbour_in_one_fetch_is_stored_once(
    database_url: str,
) -> None:
    async with open_store(database_url, ALL) as store:
        same = codec.encode(batch(sample("x", 1.0), sequence=1))
        await store.put(*(record(SAMPLES, same) for _ in range(5)))
        totals = oracle.ledger_totals(database_url)
        assert (totals["stored"], totals["duplicate"]) == (1, 0)
