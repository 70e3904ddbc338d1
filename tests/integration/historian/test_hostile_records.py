"""Records that cannot be stored as they are (1, 2, 6): each costs itself alone, keeps its bytes,
and nothing ends the historian."""

from __future__ import annotations

import json
import random
from dataclasses import replace

import psycopg
import pytest

from aurelian.backbone.topics import ASSETS, REJECTED, SAMPLES, SOURCE_EVENTS
from aurelian.model import codec
from aurelian.model.record import Partition, Record
from aurelian.model.sample import Signal, ValueType
from historian.delivery import Settled
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

LONG = "x" * 6000

NAMES = {
    "6,000 characters": LONG,
    "20,000 characters": "y" * 20_000,
    "201 characters": "n" * 201,
    "601 bytes": "ü" * 150 + "€" * 101,
    "a long path": "/".join(["p" * 190] * 9),
    "a null": "a\0b",
    "a line feed": "a\nb",
    "escape": "\x1b[2J",
    "C1 control": "a\x85b",
    "delete": "a\x7fb",
}


async def test_a_name_that_nothing_can_hold_costs_its_own_samples_alone(database_url: str) -> None:
    async with open_store(database_url, [SAMPLES]) as store:
        for n, name in enumerate(NAMES.values(), start=1):
            bad = signal(name)
            first = encoded(sample("good", 1.0, n * 10), sample(bad, 2.0), sequence=2 * n - 1)
            second = encoded(sample(bad, 3.0, 1), sample("good", 4.0, n * 10 + 1), sequence=2 * n)
            await store.put(record(SAMPLES, first), record(SAMPLES, second))
            assert [row[2] for row in store.values("good")] == [1, 4] * n
            assert store.rejected() == [("name", 1)] * 2 * n
            newest = "SELECT payload FROM historian.rejected ORDER BY id DESC LIMIT 1"
            ((kept,),) = store.ask(newest)
            assert codec.decode(kept).samples()[0].value == 3.0  # type: ignore[arg-type]
            assert store.announced == {f"g/1/{LINE}": Settled(2 * n)}
        assert oracle.imbalance(database_url) == {}


@pytest.mark.parametrize("place", ["id", "asset", "path", "unit", "source"])
async def test_every_name_of_a_signal_is_checked(database_url: str, place: str) -> None:
    good = signal("good")
    bad = replace(signal("bad"), **{place: LONG})  # type: ignore[arg-type]
    async with open_store(database_url, [SAMPLES]) as store:
        await store.put(record(SAMPLES, encoded(sample(good, 1.0), sample(bad, 2.0), sequence=1)))
        assert store.ask("SELECT name FROM historian.signal") == [("good",)]
        assert store.rejected() == [("name", 1)]


@pytest.mark.parametrize("place", ["owner", "gateway", "line"])
async def test_every_name_of_a_batch_is_checked(database_url: str, place: str) -> None:
    async with open_store(database_url, [SAMPLES]) as store:
        for boot, value in enumerate((*NAMES.values(), ""), start=1):
            identity: dict[str, object] = {"sequence": 1, "boot": boot, place: value}
            hostile = batch(sample("x", 1.0), **identity)  # type: ignore[arg-type]
            headers = {"gateway": "g", "boot": boot, "stream": LINE, "sequence": 1}
            await store.put(
                record(SAMPLES, codec.encode(hostile), headers=headers),
                record(SAMPLES, encoded(sample("good", 2.0, boot), sequence=2, boot=boot)),
            )
            assert len(store.values("good")) == boot
            if value or place == "owner":
                assert store.announced[f"g/{boot}/{LINE}"] == Settled(2)


async def test_names_up_to_the_bound_are_stored(database_url: str) -> None:
    level = "é" * 200
    path = "/".join([level] * 3 + ["x" * 200])
    longest = Signal(f"id-{path}", f"id-{level}", path, ValueType.DOUBLE, "m/s", f"{level}/s/m")
    async with open_store(database_url, [SAMPLES, SOURCE_EVENTS]) as store:
        line = "/".join([level] * 3)
        await store.put(
            record(SAMPLES, encoded(sample(longest, 1.0), sequence=1, gateway=level, line=line))
        )
        heard = codec.SourceEvent(
            owner=level,
            gateway=level,
            boot=1,
            source=line,
            time=NOW,
            heartbeat=codec.Heartbeat(heard_at=NOW),
        )
        await store.put(record(SOURCE_EVENTS, codec.encode_event(heard)))
        assert store.rejected() == []
        assert store.ask("SELECT path FROM historian.signal") == [(path,)]


async def test_one_bad_value_among_two_hundred_messages_costs_itself_alone(
    database_url: str,
) -> None:
    text = signal("msg", ValueType.TEXT)
    _forbid(database_url, "sample_number", "value <> 666")
    async with open_store(database_url, [SAMPLES]) as store:
        temperatures = [sample("temp", 1000.0 + n, n) for n in range(200)]
        for where in (0, 100, 199):
            together = [*temperatures]
            together.insert(where, sample(text, "serial\0", where))
            together.insert(where, sample("refused", 666.0, where))
            sent = [replace(each, source_time=each.source_time + where * 1000) for each in together]
            await store.put(record(SAMPLES, encoded(*sent, sequence=where + 1)))
        assert len(store.values("temp")) == 600
        assert sorted(store.rejected()) == [("database", 1)] * 3 + [("encoding", 1)] * 3
        assert oracle.imbalance(database_url) == {}
        totals = oracle.ledger_totals(database_url)
        assert (totals["stored"], totals["rejected"]) == (600, 6)


async def test_bad_values_of_every_table_and_at_shared_times_cost_themselves_alone(
    database_url: str,
) -> None:
    for table, condition in (
        ("sample_number", "value <> 666"),
        ("sample_text", "value <> 'no'"),
        ("sample_other", "integer <> 9007199254740999"),
    ):
        _forbid(database_url, table, condition)
    text = signal("text", ValueType.TEXT)
    async with open_store(database_url, [SAMPLES]) as store:
        sent = [
            *(sample("n", value) for value in (1.0, 666.0, 2.0)),
            *(sample(text, value) for value in ("yes", "no", "maybe")),
            *(sample("big", value) for value in (2**53 + 6, 2**53 + 7, 2**53 + 8)),
        ]
        await store.put(*(record(SAMPLES, encoded(*sent[n::3], sequence=n + 1)) for n in range(3)))
        assert [row[2] for row in store.values("n")] == [1, 2]
        assert [row[2] for row in store.values("text")] == ["yes", "maybe"]
        assert store.ask("SELECT count(*) FROM historian.sample_other") == [(2,)]
        assert sum(int(str(row[1])) for row in store.rejected()) == 3
        assert oracle.imbalance(database_url) == {}
        assert store.announced == {f"g/1/{LINE}": Settled(3)}


@pytest.mark.parametrize("state", ["P0001", "XX000", "0A000", "22012", "54000"])
async def test_a_record_that_fails_again_and_again_is_set_aside_and_the_others_go_on(
    database_url: str, state: str
) -> None:
    with psycopg.connect(database_url) as conn:
        conn.execute(
            "CREATE FUNCTION historian.fail() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN "
            "IF to_jsonb(NEW) ->> 'id' = 'hostile' THEN "
            f"RAISE EXCEPTION 'it broke' USING ERRCODE = '{state}'; END IF; RETURN NEW; END $$"
        )
        conn.execute(
            "CREATE TRIGGER fail BEFORE INSERT ON historian.source FOR EACH ROW EXECUTE FUNCTION "
            "historian.fail()"
        )
    sources = ["a", "b", "hostile", "c"]
    async with open_store(database_url, ALL) as store:
        births = [_event(source, birth=codec.Birth(detail="x")) for source in sources]
        await store.put(
            *(
                record(SOURCE_EVENTS, birth, headers=_numbered(n + 1))
                for n, birth in enumerate(births)
            ),
            record(SAMPLES, encoded(sample("x", 1.0))),
        )
        assert store.ask("SELECT id FROM historian.source ORDER BY id") == [
            *(("a",), ("b",), ("c",))
        ]
        kept = store.ask("SELECT payload, reason FROM historian.rejected")
        assert kept == [(births[2], f"{state}: it broke")]
        assert [row[2] for row in store.values("x")] == [1]
        assert store.announced["g/1/@events"] == Settled(4)


async def test_a_failure_of_our_own_sets_its_record_aside(
    database_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    from historian import transaction

    apply_events = transaction.apply_events

    async def fail(conn: object, events: list[codec.SourceEvent]) -> None:
        if any(event.source == "hostile" for event in events):
            raise KeyError("nobody thought of it")
        await apply_events(conn, events)  # type: ignore[arg-type]

    monkeypatch.setattr(transaction, "apply_events", fail)
    async with open_store(database_url, ALL) as store:
        births = [_event(name, birth=codec.Birth()) for name in ("a", "hostile", "b")]
        await store.put(*(record(SOURCE_EVENTS, birth) for birth in births))
        assert store.ask("SELECT count(*) FROM historian.source") == [(2,)]
        assert store.rejected() == [("failed", 0)]


async def test_a_missing_right_stops_its_partition_alone_and_says_so(database_url: str) -> None:
    async with open_store(database_url, ALL) as store:
        with psycopg.connect(database_url, autocommit=True) as conn:
            conn.execute("REVOKE INSERT ON historian.asset FROM aurelian_historian")
        asset = _asset("a1")
        await store.put(
            record(SAMPLES, encoded(sample("x", 1.0))), record(ASSETS, asset, partition=1)
        )
        assert [row[2] for row in store.values("x")] == [1]
        assert list(store.source.stopped) == [Partition(ASSETS.name, 1)]
        assert "permission denied" in store.source.stopped[Partition(ASSETS.name, 1)]
        assert store.rejected() == []
        await store.historian.tick(store.source)  # type: ignore[arg-type]
        assert "permission denied" in str(store.historian._health.ready)
        with psycopg.connect(database_url, autocommit=True) as conn:
            conn.execute("GRANT INSERT ON historian.asset TO aurelian_historian")
    async with open_store(database_url, ALL) as store:  # a new round
        await store.put(record(ASSETS, asset, partition=1))
        assert store.ask("SELECT id FROM historian.asset") == [("a1",)]


EVENTS = {
    "a sequence and no gateway": {"sequence": 1},
    "a sequence that is no number": {"gateway": "g", "boot": 1, "sequence": "one"},
    "a boot that is no number": {"gateway": "g", "boot": "x", "sequence": 1},
    "a sequence beyond 64 bits": {"gateway": "g", "boot": 1, "sequence": 2**64},
    "a negative sequence": {"gateway": "g", "boot": 1, "sequence": -1},
    "a gateway of 6,000 characters": {"gateway": LONG, "boot": 1, "sequence": 1},
}


async def test_headers_that_nobody_can_use_end_nothing(database_url: str) -> None:
    async with open_store(database_url, ALL) as store:
        for n, given in enumerate(EVENTS.values(), start=1):
            headers = {**given, "sequence": n if given["sequence"] == 1 else given["sequence"]}
            await store.put(
                record(
                    SOURCE_EVENTS, _event(f"readable {n}", birth=codec.Birth()), headers=headers
                ),
                record(SOURCE_EVENTS, b"\xff\xff", headers=headers),
                record(SOURCE_EVENTS, _event(f"other {n}", birth=codec.Birth())),
            )
            assert store.ask("SELECT count(*) FROM historian.source") == [(2 * n,)]
            assert store.rejected() == [("unreadable", 0)] * n


async def test_headers_without_any_value_end_nothing(database_url: str) -> None:
    async with open_store(database_url, ALL) as store:
        bare = record(SOURCE_EVENTS, b"\xff")
        headers = tuple((name, None) for name in ("gateway", "boot", "stream", "sequence"))
        await store.put(replace(bare, headers=headers))  # type: ignore[arg-type]
        assert store.rejected() == [("unreadable", 0)]


SIGNALS = {
    "a type that is a word": {"type": "DOUBLE"},
    "a type that nobody knows": {"type": 99},
    "a type beyond every number": {"type": 10**12},
    "a type that is a fraction": {"type": 1.5},
    "a type that is null": {"type": None},
    "a negative type": {"type": -1},
    "a name of 6,000 characters": {"name": LONG},
    "half a surrogate in a name": {"name": "a\ud800"},
    "a null in an id": {"id": "a\0"},
    "half a surrogate in an id": {"id": "\udfff"},
    "an id of 6,000 characters": {"id": LONG},
    "a unit that is a list": {"unit": []},
    "half a surrogate in a role": {"role": "\ud800"},
    "limits with a null": {"limits": {"high": "\0"}},
    "limits with half a surrogate": {"limits": {"\ud800": 1}},
    "limits that are no number": {"limits": {"high": float("nan")}},
    "limits of a thousand digits": {"limits": {"high": 10**1000}},
    "no id": {"id": ""},
}


async def test_an_asset_that_cannot_be_stored_costs_itself_alone(database_url: str) -> None:
    good = {"id": "s1", "name": "speed", "type": 1}
    async with open_store(database_url, ALL) as store:
        for name, wrong in SIGNALS.items():
            hostile = _asset(f"hostile {name}", {**good, "id": "s2", **wrong})
            await store.put(
                record(ASSETS, _asset(f"first {name}", good)),
                record(ASSETS, hostile),
                record(ASSETS, _asset(f"last {name}", {**good, "id": "s3"})),
                record(SAMPLES, encoded(sample(name, 1.0))),
            )
            found = {row[0] for row in store.ask("SELECT id FROM historian.asset")}
            assert {f"first {name}", f"last {name}"} <= found
            # PostgreSQL takes a number of a thousand digits; all others are kept as bytes.
            if f"hostile {name}" in found:
                assert "digits" in name
            else:
                newest = "SELECT payload FROM historian.rejected ORDER BY id DESC LIMIT 1"
                assert store.ask(newest) == [(hostile,)]
            assert [row[2] for row in store.values(name)] == [1]


ASSET_BYTES = {
    "deep nesting": b"[" * 200_000,
    "deep nesting of meaning": b'{"id":"a","owner":"o","parent":null,"level":"unit","name":"n",'
    b'"path":"p","meaning":{"x":' + b"[" * 100_000 + b"]" * 100_000 + b"}}",
    "no UTF-8": b'{"id": "\xff"}',
    "an empty record": b"",
    "a list": b"[]",
    "a number": b"1",
    "NaN": b"NaN",
    "UTF-16": "{}".encode("utf-16"),
}


async def test_bytes_that_are_no_asset_end_nothing(database_url: str) -> None:
    async with open_store(database_url, ALL) as store:
        for name, value in ASSET_BYTES.items():
            await store.put(record(ASSETS, value), record(ASSETS, _asset(name)))
        found = store.ask("SELECT id FROM historian.asset")
        assert {row[0] for row in found} == set(ASSET_BYTES)


@pytest.mark.parametrize("field", ["id", "owner", "parent", "level", "name", "path"])
async def test_every_text_of_an_asset_is_checked(database_url: str, field: str) -> None:
    body = json.loads(_asset("hostile"))
    async with open_store(database_url, ALL) as store:
        for n, value in enumerate((LONG, "a\0", "\ud800", "\x9b", 1, None, [])):
            await store.put(
                record(ASSETS, json.dumps({**body, field: value}).encode()),
                record(ASSETS, _asset(f"good {n}")),
            )
            assert (f"good {n}",) in store.ask("SELECT id FROM historian.asset")


async def test_a_signal_whose_type_in_the_store_is_unknown_ends_nothing(database_url: str) -> None:
    async with open_store(database_url, ALL) as store:
        await store.put(record(SAMPLES, encoded(sample("x", 1.0))))
        with psycopg.connect(database_url) as conn:
            conn.execute("UPDATE historian.signal SET type = 77, discovered = false")
        store.historian._catalog.forget()
        await store.put(record(SAMPLES, encoded(sample("x", 2.0, 1))))
        assert [row[2] for row in store.values("x")] == [1, 2]


@pytest.mark.parametrize("seed", range(3))
async def test_flipped_bytes_of_good_records_end_nothing_and_settle_their_number(
    database_url: str, seed: int
) -> None:
    drawn = random.Random(seed)
    good = encoded(
        *(sample(f"s{n}", 1.0 + n, n) for n in range(5)),
        *(sample(signal("t", ValueType.TEXT), f"läuft {n}", n) for n in range(3)),
        sequence=1,
    )
    records: list[Record] = []
    for n in range(120):
        topic, value = drawn.choice(
            [
                (SAMPLES, good),
                (SOURCE_EVENTS, _event("src", gap=codec.Gap(reason="x", count=3))),
                (SOURCE_EVENTS, _event("src", received=codec.Received(hour=NOW, received=5))),
                (REJECTED, codec.encode_rejected(_rejected())),
                (ASSETS, _asset("a1", {"id": "s0", "name": "speed", "type": 1})),
            ]
        )
        damaged = bytearray(value)
        for _ in range(drawn.choice((1, 1, 3))):
            damaged[drawn.randrange(len(damaged))] ^= 1 << drawn.randrange(8)
        headers = {"gateway": "h", "boot": 9, "stream": f"line {topic.name}", "sequence": n + 1}
        records.append(record(topic, bytes(damaged), headers=headers))
    async with open_store(database_url, ALL) as store:
        await store.put(*records)
        await store.put(record(SAMPLES, encoded(sample("good", 1.0))))
        assert [row[2] for row in store.values("good")] == [1]
        assert store.source.stopped == {}
        # Whatever could be read or not: nothing of it is waited for.
        totals = oracle.ledger_totals(database_url)
        done = totals["stored"] + totals["duplicate"] + totals["rejected"]
        assert totals["received"] >= done + totals["dropped"] + totals["skipped"]


def _forbid(url: str, table: str, condition: str) -> None:
    """Have the database refuse values: stands for all that only it can refuse."""
    with psycopg.connect(url) as conn:
        conn.execute(f"ALTER TABLE historian.{table} ADD CHECK ({condition})")  # type: ignore[arg-type]


def _numbered(sequence: int) -> dict[str, object]:
    return {"gateway": "g", "boot": 1, "stream": "@events", "sequence": sequence}


def _event(source: str, **kind: object) -> bytes:
    event = codec.SourceEvent(owner="oracle", gateway="g", boot=1, source=source, time=NOW, **kind)  # type: ignore[arg-type]
    return codec.encode_event(event)


def _rejected() -> codec.Rejected:
    return codec.Rejected(
        owner="oracle",
        gateway="g",
        boot=1,
        source="src",
        time=NOW,
        reason="no number",
        error_class="value",
        origin="topic",
        payload=b"abc",
        samples=2,
    )


def _asset(id: str, *signals: dict[str, object]) -> bytes:
    body = {
        "id": id,
        "owner": "oracle",
        "parent": None,
        "level": "unit",
        "name": id,
        "path": f"{LINE}/{id}",
        "meaning": {"source": "src", "signals": list(signals)},
    }
    return json.dumps(body).encode()
