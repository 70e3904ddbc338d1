"""Machines' alarms in the store and out of the history API: from node-opcua through gateway and
historian, and what the store makes of repeats and of silence."""

from __future__ import annotations

import contextlib
from collections.abc import AsyncIterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import httpx

from aurelian.access.keys import create_key, make_pepper
from aurelian.backbone.topics import SOURCE_EVENTS
from aurelian.db.engine import as_role, connect
from aurelian.edge.assembly import Assembly
from aurelian.edge.gateway import Delivery
from aurelian.edge.ordinals import Ordinals
from aurelian.edge.outbox.rows import RecordKind
from aurelian.model import codec
from aurelian.model.record import Record
from aurelian.model.time import now_us
from aurelian.runtime.health import Health
from historian.alarm_sql import forget_alarms
from history.app import make_app
from history.settings import HistorySettings
from tests.integration.historian.stored_in_memory import NOW, Store, open_store, record
from tests.integration.opcua_gateway.test_alarms import (
    is_refreshed,
    make_source,
    refreshes,
    told,
)
from tests.peers.node_opcua_server import node_opcua
from tests.source_alone import taking
from tests.waiting import until

SECOND = 1_000_000
SOURCE = "acme/s/plc"


def event(at: int, *, owner: str = "acme", **alarm: object) -> Record:
    """A record of an alarm that was received `at` microseconds after NOW."""
    made = codec.MachineAlarm(
        **{"condition": "c", "code": "hot", "severity": 500, "retain": True} | alarm  # type: ignore[arg-type]
    )
    said = codec.SourceEvent(
        owner=owner,
        gateway="g",
        boot=1,
        source=SOURCE,
        time=NOW + at,
        line="acme/s/a/l",
        alarm=made,
    )
    return record(SOURCE_EVENTS, codec.encode_event(said))


def of_source(at: int, **kind: object) -> Record:
    """What the source says of itself."""
    said = codec.SourceEvent(owner="acme", gateway="g", boot=1, source=SOURCE, time=at, **kind)  # type: ignore[arg-type]
    return record(SOURCE_EVENTS, codec.encode_event(said))


def records(deliveries: list[Delivery], boot: int) -> list[Record]:
    """What a gateway's outbox makes of deliveries: its source events."""
    group = Assembly("g", boot, Ordinals()).assemble(deliveries)
    entries = [each for each in group.entries if each.kind is RecordKind.EVENTS]
    return [record(SOURCE_EVENTS, each.encode(n + 1)) for n, each in enumerate(entries)]


@contextlib.asynccontextmanager
async def history(url: str, folder: Path, owner: str) -> AsyncIterator[httpx.AsyncClient]:
    """The history API for a company's key."""
    pepper = folder / "pepper"
    if not pepper.exists():
        make_pepper(pepper)
    key = create_key(
        url, owner=owner, name="t", scopes=["history:read"], pepper=pepper.read_bytes()
    )
    settings = HistorySettings(database_url=as_role(url, "history"), key_pepper_file=pepper)
    app = make_app(settings, Health("history"))
    async with httpx.AsyncClient(
        transport=httpx.ASGITransport(app),
        base_url="http://history/history/v1",
        headers={"Authorization": f"Bearer {key}"},
    ) as client:
        try:
            yield client
        finally:
            await app.state.engine.dispose()


def stored(store: Store) -> list[tuple[object, ...]]:
    return store.ask(
        "SELECT code, message, severity, active, retain, acked FROM "
        "historian.machine_alarm_event ORDER BY time, event_id"
    )


async def test_what_a_server_says_is_stored_once_and_is_asked_for(
    database_url: str, tmp_path: Path
) -> None:
    async with (
        node_opcua(tmp_path, nodes=1, alarms=2) as server,
        open_store(database_url, [SOURCE_EVENTS]) as store,
        history(database_url, tmp_path, "x") as ours,
        history(database_url, tmp_path, "y") as theirs,
    ):
        before = refreshes()
        # Nothing of the first process reaches the server as stored.
        async with taking(make_source(tmp_path, server.url), acknowledge=False) as first:
            await is_refreshed(before)
            await server.alarm(
                0, active=True, acked=False, message="hot", severity=700, retain=True
            )
            await server.alarm(0, acked=True, message="seen", severity=700)
            await server.alarm(1, active=True, acked=False, message="on", severity=300, retain=True)
            await server.alarm(0, active=False, message="cold", severity=200, retain=False)
            await until(lambda: len(told(first)) == 4, "the events")
        await store.put(*records(first, 1))
        before = refreshes()
        async with taking(make_source(tmp_path, server.url)) as again:
            await is_refreshed(before)
            await until(lambda: len(told(again)) >= 4, "the events again")
        await store.put(*records(again, 2))
        assert stored(store) == [
            ("alarm 0", "hot", 700, True, True, False),
            ("alarm 0", "seen", 700, True, True, True),
            ("alarm 1", "on", 300, True, True, False),
            ("alarm 0", "cold", 200, False, False, True),
        ]
        heard = codec.SourceEvent(
            owner="x",
            gateway="g",
            boot=2,
            source="x/s/peer",
            time=now_us(),
            heartbeat=codec.Heartbeat(heard_at=now_us()),
        )
        await store.put(record(SOURCE_EVENTS, codec.encode_event(heard)))
        (standing,) = (await ours.get("/alarms?path=x/s/a/l")).json()["alarms"]
        assert (standing["code"], standing["message"], standing["acked"]) == (
            "alarm 1",
            "on",
            False,
        )
        assert standing["fields"]["Channel"] == 101 and standing["line"] == "x/s/a/l"
        assert standing["not_known_since"] is None
        assert standing["active_since"] == standing["time"]
        everything = (await ours.get("/alarms?which=all")).json()["alarms"]
        assert [each["code"] for each in everything] == ["alarm 1", "alarm 0"]
        assert (await ours.get("/alarms?path=x/s/a/l/other")).json() == {"alarms": []}
        for route in ("/alarms?which=all", "/alarm-events"):
            assert not next(iter((await theirs.get(route)).json().values()))
        messages, before_ = [], ""
        for _ in range(4):
            page = (await ours.get(f"/alarm-events?limit=1{before_}")).json()
            messages += [each["message"] for each in page["events"]]
            before_ = "&" + str(httpx.QueryParams({"before": page["next"]}))
        assert messages == ["cold", "on", "seen", "hot"]


async def test_an_alarm_of_a_silent_source_is_not_shown_as_of_now(
    database_url: str, tmp_path: Path
) -> None:
    now = now_us()
    async with (
        open_store(database_url, [SOURCE_EVENTS]) as store,
        history(database_url, tmp_path, "acme") as api,
    ):

        async def not_known() -> str | None:
            (found,) = (await api.get("/alarms")).json()["alarms"]
            since: str | None = found["not_known_since"]
            return since

        def text(us: int) -> str:
            at = datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=us)
            return at.isoformat().replace("+00:00", "Z")

        await store.put(event(0, event_id=b"1", active=True))
        await store.put(of_source(now - 60 * SECOND, birth=codec.Birth()))
        heard = now - 50 * SECOND
        await store.put(of_source(heard, heartbeat=codec.Heartbeat(heard_at=heard)))
        assert await not_known() == text(heard)  # its gateway is gone, say
        await store.put(of_source(now, heartbeat=codec.Heartbeat(heard_at=now)))
        assert await not_known() is None
        await store.put(of_source(now + SECOND, death=codec.Death(reason="cable")))
        assert await not_known() == text(now + SECOND)
        assert (await api.get("/alarm-events?before=x")).status_code == 422
        assert (await api.get("/alarms?which=none")).status_code == 422


async def test_the_state_follows_the_order_of_receipt(database_url: str) -> None:
    async with open_store(database_url, [SOURCE_EVENTS]) as store:
        raised = {"event_id": b"1", "source_time": NOW, "active": True}
        cleared = {"event_id": b"2", "source_time": NOW + 1, "retain": False}
        state = (
            "SELECT active, retain, extract(epoch FROM active_since)::bigint FROM "
            "historian.machine_alarm"
        )
        await store.put(event(1, **raised), event(2, **cleared))
        assert store.ask(state) == [(False, False, None)]
        # What a killed gateway sends again ends as it was, and is no further event.
        await store.put(event(3, **raised))
        assert store.ask(state) == [(True, True, NOW // SECOND)]
        await store.put(event(4, **cleared), event(1, **raised))
        assert store.ask(state) == [(False, False, None)]
        assert store.ask("SELECT count(*) FROM historian.machine_alarm_event") == [(2,)]
        # A server that counts anew uses an id twice; an acknowledgement does not begin it anew.
        late = {"event_id": b"1", "source_time": NOW + 5 * SECOND, "active": True}
        await store.put(event(5, **late))
        await store.put(event(6, **late | {"event_id": b"3", "source_time": NOW + 9 * SECOND}))
        assert store.ask("SELECT count(*) FROM historian.machine_alarm_event") == [(4,)]
        assert store.ask(state) == [(True, True, NOW // SECOND + 5)]


async def test_texts_that_the_store_cannot_hold_cost_no_alarm(database_url: str) -> None:
    async with open_store(database_url, [SOURCE_EVENTS]) as store:
        odd = "a\0b"
        await store.put(
            event(0, event_id=b"", condition="", code=odd, message=odd, severity=2**31),
            event(1, event_id=b"x", condition=odd, source_time=-(2**62), fields="no json"),
        )
        rows = store.ask("SELECT code, severity FROM historian.machine_alarm_event ORDER BY 2")
        assert rows == [("hot", 500), ("ab", 1000)]
        assert store.ask("SELECT condition FROM historian.machine_alarm") == [("ab",)]
        assert store.rejected() == []


async def test_old_events_are_forgotten_and_what_stands_is_not(database_url: str) -> None:
    async with open_store(database_url, [SOURCE_EVENTS]) as store:
        day = 86_400 * SECOND
        long_ago = now_us() - NOW - 401 * day
        await store.put(
            event(long_ago, event_id=b"1", condition="stands"),
            event(long_ago + 1, event_id=b"2", condition="went", retain=False),
            event(now_us() - NOW, event_id=b"3", condition="new", retain=False),
        )
        url = as_role(database_url, "historian")
        async with await connect(url, autocommit=True, name="care") as conn:
            await forget_alarms(conn, 400)
        kept = store.ask("SELECT condition FROM historian.machine_alarm ORDER BY 1")
        assert kept == [("new",), ("stands",)]
        assert store.ask("SELECT condition FROM historian.machine_alarm_event") == [("new",)]
