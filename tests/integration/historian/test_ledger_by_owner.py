"""Ledger, presence and assets of companies that name things alike (27); what an asset's record says
holds for what comes after it (29)."""

from __future__ import annotations

import json
import random

from aurelian.backbone.topics import ASSETS, REJECTED, SAMPLES, SOURCE_EVENTS
from aurelian.model import codec
from aurelian.model.sample import ValueType
from tests import oracle
from tests.integration.historian.stored_in_memory import (
    ALL,
    LINE,
    NOW,
    encoded,
    open_store,
    record,
    sample,
    signal,
)

HOUR = NOW - NOW % oracle.HOUR_US


def _event(owner: str, source: str = "opcua-1", **kind: object) -> bytes:
    return codec.encode_event(
        codec.SourceEvent(owner=owner, gateway="g", boot=1, source=source, time=NOW, **kind)  # type: ignore[arg-type]
    )


def _received(owner: str, received: int, **more: int) -> bytes:
    return _event(owner, received=codec.Received(hour=HOUR, received=received, **more))


def _asset(id: str, owner: str, name: str, *signals: dict[str, object]) -> bytes:
    body = {
        "id": id,
        "owner": owner,
        "parent": None,
        "level": "unit",
        "name": name,
        "path": f"{LINE}/{name}",
        "meaning": {"source": "src", "signals": list(signals)},
    }
    return json.dumps(body).encode()


async def test_two_companies_with_a_source_of_one_name_share_nothing(database_url: str) -> None:
    async with open_store(database_url, ALL) as store:
        for n, owner in enumerate(("one", "two")):
            line = f"{owner}/site/area/line"
            sent = [sample(signal(f"{owner}{k}", source="opcua-1"), 1.0, k) for k in range(3 + n)]
            await store.put(
                record(SAMPLES, encoded(*sent, sequence=1, owner=owner, line=line, gateway="g")),
                record(SOURCE_EVENTS, _received(owner, 3 + n)),
                record(SOURCE_EVENTS, _event(owner, birth=codec.Birth(detail=owner))),
            )
        await store.put(
            record(
                SOURCE_EVENTS, _event("two", heartbeat=codec.Heartbeat(heard_at=NOW + 9_000_000))
            ),
            record(SOURCE_EVENTS, _event("two", death=codec.Death(reason="cable"))),
        )
        ledger = "SELECT owner, source, stored FROM historian.ledger_stored ORDER BY owner"
        assert store.ask(ledger) == [("one", "opcua-1", 3), ("two", "opcua-1", 4)]
        received = "SELECT owner, received FROM historian.ledger_received ORDER BY owner"
        assert store.ask(received) == [("one", 3), ("two", 4)]
        sources = store.ask(
            "SELECT owner, state, detail, extract(epoch FROM heard_at)::bigint FROM "
            "historian.source ORDER BY owner"
        )
        now_s = NOW // 1_000_000
        assert sources == [("one", "born", "one", now_s), ("two", "dead", "cable", now_s + 9)]


async def test_an_asset_record_of_another_owner_changes_nothing(database_url: str) -> None:
    ours = {"id": "s1", "name": "speed", "type": 1}
    async with open_store(database_url, ALL) as store:
        await store.put(record(ASSETS, _asset("a1", "oracle", "saw", ours)))
        tables = [
            f"SELECT * FROM historian.{table} ORDER BY 1, 2"
            for table in ("asset", "asset_path", "signal")
        ]
        before = [store.ask(table) for table in tables]
        hostile = _asset("a1", "intruder", "mine", {**ours, "type": 5}, {**ours, "id": "s2"})
        await store.put(record(ASSETS, hostile))
        # In one fetch with ours, and again and again.
        await store.put(*(record(ASSETS, hostile) for _ in range(3)))
        assert [store.ask(table) for table in tables] == before
        await store.put(
            record(ASSETS, hostile),
            record(ASSETS, _asset("a1", "oracle", "saw-2", ours)),
            record(ASSETS, hostile),
        )
        assert store.ask("SELECT owner, name FROM historian.asset") == [("oracle", "saw-2")]


async def test_no_reading_of_the_ledger_accounts_for_more_than_was_received(
    database_url: str,
) -> None:
    """Samples come before the gateway's own count of them, rejected ones too, and some counts never
    come: after every record, received is at least what is accounted for."""
    drawn = random.Random(5)
    sequence = received = rejected = dropped = 0
    async with open_store(database_url, ALL) as store:
        for step in range(60):
            match drawn.randrange(5):
                case 0 | 1:
                    sequence += 1
                    count = drawn.randrange(1, 9)
                    received += count
                    sent = [sample("x", float(step), step * 10 + k) for k in range(count)]
                    value = encoded(*sent, sequence=sequence)
                    await store.put(record(SAMPLES, value))
                    if step % 3 == 0:  # a second gateway says the same
                        again = encoded(*sent, sequence=sequence, gateway="h")
                        await store.put(record(SAMPLES, again))
                case 2:
                    rejected += 2
                    received += 2
                    refused = codec.Rejected(
                        owner="oracle",
                        gateway="g",
                        boot=1,
                        source="src",
                        time=NOW + step,
                        reason="r",
                        error_class="value",
                        payload=b"x",
                        samples=2,
                    )
                    await store.put(record(REJECTED, codec.encode_rejected(refused)))
                case 3:
                    received += 3
                    dropped += 3
                case _:
                    counts = codec.Received(
                        hour=HOUR, received=received, rejected=rejected, dropped=dropped
                    )
                    event = _event("oracle", "src", received=counts)
                    await store.put(record(SOURCE_EVENTS, event))
            assert all(rest >= 0 for rest in oracle.imbalance(database_url).values())
        final = codec.Received(hour=HOUR, received=received, rejected=rejected, dropped=dropped)
        await store.put(record(SOURCE_EVENTS, _event("oracle", "src", received=final)))
        assert oracle.imbalance(database_url) == {}
        reported = store.ask(
            "SELECT gateway, received, reported, arrived + dropped FROM "
            "historian.ledger_received ORDER BY gateway"
        )
        assert reported[0] == ("g", received, received, received)
        assert reported[1][2] == 0


async def test_text_is_refused_from_the_asset_record_on_that_declares_a_number(
    database_url: str,
) -> None:
    """Both in one fetch, where the samples were met before as a discovered text."""
    declared = {"id": "id-x", "name": "x", "type": 1}
    text = signal("x", ValueType.TEXT)
    async with open_store(database_url, ALL) as store:
        await store.put(record(SAMPLES, encoded(sample(text, "before"))))
        for n in range(5):
            await store.put(
                record(SAMPLES, encoded(sample(text, "after", 10 + n))),
                record(ASSETS, _asset("id-unit", "oracle", "unit", declared)),
                record(SAMPLES, encoded(sample("x", float(n), 20 + n))),
            )
        assert [row[2] for row in store.values("x")] == ["before", 0, 1, 2, 3, 4]
        assert store.rejected() == [("type", 1)] * 5


async def test_an_asset_that_takes_the_text_back_lets_it_in_at_once(database_url: str) -> None:
    text = signal("x", ValueType.TEXT)
    async with open_store(database_url, ALL) as store:
        for kind, value in ((1, "no"), (5, "yes"), (1, "no"), (0, "yes")):
            asset = _asset("id-unit", "oracle", "unit", {"id": "id-x", "name": "x", "type": kind})
            await store.put(
                record(ASSETS, asset),
                record(SAMPLES, encoded(sample(text, value, len(store.rejected()) * 10 + kind))),
            )
        assert [row[2] for row in store.values("x")] == ["yes", "yes"]
        assert store.rejected() == [("type", 1)] * 2


async def test_a_signal_of_anothers_asset_is_refused_from_the_asset_on(database_url: str) -> None:
    async with open_store(database_url, ALL) as store:
        await store.put(
            record(SAMPLES, encoded(sample("fresh", 1.0), owner="intruder")),
            record(ASSETS, _asset("id-unit", "oracle", "unit")),
        )
        assert store.values("fresh") == []
        assert store.rejected() == [("owner", 1)]
