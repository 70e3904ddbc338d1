"""How sources are, as their gateways say: what pages show of it, and whose."""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import UTC
from typing import Any

import pytest

from aurelian.backbone.topics import ASSETS, SOURCE_EVENTS
from aurelian.model import codec
from aurelian.model.decode_errors import DecodeError
from aurelian.model.record import Record
from dashboard import pages
from dashboard.companies import Pictures
from dashboard.connection_views import SILENT_MS, details_of, views_of
from dashboard.feed import fold
from dashboard.freshness import Freshness, Limits
from dashboard.hub import Hub
from dashboard.live import LivePlant
from dashboard.records import Message

T0 = 1_795_000_000_000
OPC, SPB = "acme/site/opc", "acme/site/spb"
State = codec.Connection.State
SHA = "3FA9C02D11223344" + "A" * 48


def asset(id_: str, level: str, parent: str | None, path: str, **meaning: Any) -> bytes:
    body = {"id": id_, "owner": path.split("/")[0], "parent": parent, "level": level}
    body |= {"name": path.rpartition("/")[2], "path": path, "meaning": meaning}
    return json.dumps(body).encode()


@pytest.fixture
def pictures() -> Iterator[Pictures]:
    made = Pictures(lambda: LivePlant(Limits()))
    line = "acme/site/area/line"
    for record in (
        asset("line", "line", None, line, units=["u1", "u2"], constraint="u1"),
        asset("u1", "unit", "line", f"{line}/u1", source=OPC, signals=[]),
        asset("u2", "unit", "line", f"{line}/u2", source=SPB, signals=[]),
        asset("far", "line", None, "acme/site/area/far", units=["u3"], constraint="u3"),
        asset("u3", "unit", "far", "acme/site/area/far/u3", source=SPB, signals=[]),
        asset("foe", "line", None, "foe/site/area/line", units=[]),
    ):
        fold(made, Record(ASSETS.name, 0, 0, 0, b"key", record), T0)
    yield made


def say(
    pictures: Pictures, source: str, at_ms: int, owner: str = "acme", **kind: Any
) -> list[Message]:
    event = codec.SourceEvent(
        owner=owner, gateway="g", boot=1, source=source, time=at_ms * 1000, **kind
    )
    value = codec.encode_event(event)
    return fold(pictures, Record(SOURCE_EVENTS.name, 0, 0, 0, b"key", value), at_ms)[1]


def state(state: State.ValueType, reason: str = "", step: str = "", **more: Any) -> dict[str, Any]:
    return {
        "connection": codec.Connection(
            state=state, since=T0 * 1000, reason=reason, next_step=step, **more
        )
    }


def tile(pictures: Pictures, at_ms: int, line: str = "line") -> pages.LineView:
    (site,) = pages.sites(pictures.of("acme"), at_ms)
    return next(each for each in site.lines if each.asset.id == line)


def view(pictures: Pictures, source: str, at_ms: int) -> Any:
    (found,) = views_of(pictures.of("acme").connections, [source], at_ms, UTC)
    return found


@pytest.mark.parametrize(
    ("told", "trouble", "tone"),
    [
        (State.STATE_LIVE, "", ""),
        (State.STATE_BACKFILL, "", ""),
        (State.STATE_CONNECTING, "", ""),
        (State.STATE_STALE, "", ""),
        (State.STATE_DEGRADED, "opc: degraded", "slow"),
        (State.STATE_AUTH_FAILED, "opc: sign-in refused, needs somebody", "down"),
        (State.STATE_CERT_REJECTED, "opc: certificate refused, needs somebody", "down"),
        (99, "", ""),
    ],
)
def test_a_lines_tile_says_what_needs_somebody(
    pictures: Pictures, told: Any, trouble: str, tone: str
) -> None:
    (message,) = say(pictures, OPC, T0, **state(told))
    shown = tile(pictures, T0).trouble
    assert (shown.text, shown.tone) == (trouble, tone)
    assert (message.kind, message.body["trouble"]) == ("connection", trouble)
    assert pictures.of("acme").snapshot()["connections"] == [message.body]
    assert not tile(pictures, T0, "far").trouble.text


def test_the_worst_of_a_lines_sources_comes_first(pictures: Pictures) -> None:
    say(pictures, OPC, T0, **state(State.STATE_DEGRADED))
    say(pictures, SPB, T0, **state(State.STATE_AUTH_FAILED))
    assert tile(pictures, T0).trouble.text == "spb: sign-in refused, needs somebody +1"
    found = views_of(pictures.of("acme").connections, [OPC, SPB, "acme/site/new"], T0, UTC)
    assert [each.name for each in found] == ["spb", "opc", "new"]


def test_a_plant_file_that_cannot_be_used_is_told_beside_a_state_that_is_well(
    pictures: Pictures,
) -> None:
    said = "site.yaml:12: units.0.signals.3.role: 'presure' is no role"
    say(pictures, OPC, T0, **state(State.STATE_LIVE, plant_refused=said))
    say(pictures, SPB, T0, **state(State.STATE_LIVE))
    assert tile(pictures, T0).trouble.text == "opc: changes of the plant files are not taken up"
    assert tile(pictures, T0).trouble.tone == "slow"
    shown = view(pictures, OPC, T0)
    assert shown.look.word == "Live" and shown.plant_refused == said
    found = views_of(pictures.of("acme").connections, [SPB, OPC], T0, UTC)
    assert [each.name for each in found] == ["opc", "spb"]
    # What needs somebody first is told first.
    say(pictures, OPC, T0 + 1, **state(State.STATE_AUTH_FAILED, plant_refused=said))
    assert tile(pictures, T0 + 1).trouble.text == "opc: sign-in refused, needs somebody"
    say(pictures, OPC, T0 + 2, **state(State.STATE_LIVE))
    assert not tile(pictures, T0 + 2).trouble.text and not view(pictures, OPC, T0 + 2).plant_refused


def test_what_became_of_a_command_is_nothing_of_the_pages(pictures: Pictures) -> None:
    result = codec.CommandResult(id="c1", outcome="OUTCOME_DONE", said="trusted")
    assert not say(pictures, OPC, T0, command_result=result)
    assert not say(pictures, "", T0, owner="", command_result=result)
    connections = pictures.of("acme").connections
    assert not connections.sources() and connections.heard_ms("g") == T0


def test_it_is_no_sign_of_life(pictures: Pictures) -> None:
    say(pictures, OPC, T0, **state(State.STATE_LIVE))
    plant = pictures.of("acme")
    assert plant.freshness("u1", T0) is Freshness.STALE
    assert not plant.presence.heard and not plant.take_changes()[1]


def test_the_reason_of_the_latest_attempt_counts_and_what_comes_late_does_not(
    pictures: Pictures,
) -> None:
    say(pictures, OPC, T0, **state(State.STATE_CONNECTING, "no answer", "is it on?"))
    assert say(pictures, OPC, T0 + 9000, **state(State.STATE_CONNECTING, "refused", "runs it?"))
    assert not say(pictures, OPC, T0 + 5000, **state(State.STATE_LIVE))
    shown = view(pictures, OPC, T0 + 9000)
    assert (shown.look.word, shown.reason, shown.step) == (
        "Not connected",
        "Refused",
        [("Runs it?", False)],
    )
    # Repeated, it changes nothing that is sent, and counts as said.
    assert not say(
        pictures, OPC, T0 + 69_000, **state(State.STATE_CONNECTING, "refused", "runs it?")
    )
    assert not view(pictures, OPC, T0 + 69_000 + SILENT_MS).silent


def test_a_gateway_that_says_nothing_more_is_not_believed(pictures: Pictures) -> None:
    say(pictures, OPC, T0, **state(State.STATE_LIVE))
    assert view(pictures, OPC, T0 + SILENT_MS).look.word == "Live"
    assert SILENT_MS <= 15_000
    shown = view(pictures, OPC, T0 + SILENT_MS + 1)
    assert (shown.look.word, shown.look.tone, shown.since) == ("Not known", "none", "")
    assert "has said nothing since" in shown.silent and shown.silent.endswith(": Live")
    assert ("aurelian doctor", True) in shown.step
    assert view(pictures, SPB, T0).look.word == "Not known"


@pytest.mark.parametrize(
    "kind",
    [
        {"heartbeat": codec.Heartbeat(heard_at=T0 * 1000)},
        {"received": codec.Received(hour=0, received=1)},
        state(State.STATE_DEGRADED),
    ],
)
def test_whatever_a_gateway_says_of_any_source_is_a_sign_of_its_life(
    pictures: Pictures, kind: dict[str, Any]
) -> None:
    say(pictures, OPC, T0, **state(State.STATE_LIVE))
    say(pictures, SPB, T0 + 50_000, **kind)
    assert view(pictures, OPC, T0 + 50_000 + SILENT_MS).look.word == "Live"
    assert view(pictures, OPC, T0 + 50_001 + SILENT_MS).silent


def test_the_system_page_says_of_a_source_what_connections_says(pictures: Pictures) -> None:
    say(pictures, OPC, T0, **state(State.STATE_DEGRADED, "2 of 3 nodes"))
    connections = pictures.of("acme").connections
    assert details_of(connections, [OPC, SPB], T0, UTC) == {OPC: "Degraded. 2 of 3 nodes"}
    late = details_of(connections, [OPC], T0 + SILENT_MS + 1, UTC)[OPC]
    assert late.startswith("Not known. Its gateway has said nothing since")


def test_a_tile_without_data_says_the_reason_of_the_latest_attempt(pictures: Pictures) -> None:
    plant = pictures.of("acme")
    say(pictures, OPC, T0, death=codec.Death(reason="cannot publish: Connection is closed"))
    say(pictures, OPC, T0, **state(State.STATE_CONNECTING, "nobody answers at 127.0.0.1"))
    assert plant.silence_reason("u1") == "nobody answers at 127.0.0.1"
    assert plant.snapshot()["connections"][0]["away"] == "nobody answers at 127.0.0.1"
    say(pictures, OPC, T0 + 1, death=codec.Death(assets=["u1"], reason="the device is off"))
    assert plant.silence_reason("u1") == "the device is off"
    say(pictures, OPC, T0 + 2, **state(State.STATE_LIVE, "not all"))
    assert plant.snapshot()["connections"][0]["away"] == ""


def test_a_refused_certificate_and_its_command_stand_out(pictures: Pictures) -> None:
    refused = codec.Certificate(sha256=SHA, subject="CN=press", ends=(T0 + 5_000_000_000) * 1000)
    own = codec.Certificate(sha256="B" * 64, ends=(T0 + 86_400_000) * 1000)
    away = codec.ServerAway(
        address="opc.tcp://b",
        reason="gone",
        next_step="use `aurelian browse` there",
        since=T0 * 1000,
    )
    step = "If it is the right server, accept it: aurelian trust add 3FA9C02D11223344"
    told = state(State.STATE_CERT_REJECTED, "it", step, own=own, refused=refused, away=[away])
    say(pictures, OPC, T0, **told)
    shown = view(pictures, OPC, T0)
    assert shown.step[-1] == ("aurelian trust add 3FA9C02D11223344", True)
    assert shown.refused.sha256.startswith("3F:A9:C0:2D") and shown.refused.subject == "CN=press"
    assert not shown.refused.is_over_soon and shown.own.is_over_soon
    assert shown.own.ends.startswith("until 2026-")
    (other,) = shown.away
    assert other.step == [("Use ", False), ("aurelian browse", True), (" there", False)]


def test_a_standby_that_is_away_is_said_of_a_source_that_is_live(pictures: Pictures) -> None:
    away = codec.ServerAway(address="opc.tcp://b", reason="gone", since=T0 * 1000)
    say(pictures, OPC, T0, **state(State.STATE_LIVE, away=[away]))
    shown = tile(pictures, T0).trouble
    assert (shown.text, shown.tone) == ("opc: a standby server is away", "slow")


def test_no_company_sees_anothers_sources(pictures: Pictures) -> None:
    say(pictures, OPC, T0, **state(State.STATE_DEGRADED, "secret"))
    with pytest.raises(DecodeError, match="belongs to 'acme'"):
        say(pictures, OPC, T0, owner="foe", **state(State.STATE_LIVE))
    assert pictures.of("foe").snapshot()["connections"] == []
    assert view(pictures, OPC, T0).reason == "Secret"


def alarm(condition: str, at_ms: int, **more: Any) -> dict[str, Any]:
    fields = {"asset": "u1", "severity": 500, "retain": True} | more
    return {"alarm": codec.MachineAlarm(condition=condition, **fields)}


def test_a_tile_counts_the_alarms_of_its_machines(pictures: Pictures) -> None:
    plant = pictures.of("acme")
    hub = Hub(plant, build="b", first_id=0)
    say(pictures, OPC, T0, heartbeat=codec.Heartbeat(heard_at=T0 * 1000))
    assert not tile(pictures, T0).machine_alarms.text
    say(pictures, OPC, T0, **alarm("a", T0))
    say(pictures, OPC, T0 + 1, **alarm("b", T0 + 1, severity=900))
    say(pictures, OPC, T0 + 1, **alarm("", T0 + 1))  # an event, which does not stand
    shown = tile(pictures, T0 + 1).machine_alarms
    assert (shown.text, shown.tone) == ("2 machine alarms", "down")
    (body,) = plant.snapshot()["machine_alarms"]
    assert body == {"line": "line", "standing": 2, "severity": 900}
    client = hub.join(hub.last_id)
    hub.tick()
    told = [each for each in hub.take(client, T0 + 1) if each.event == "machine_alarms"]
    assert [json.loads(each.raw_data or "") for each in told] == [body]
    hub.tick()
    assert not [each for each in hub.take(client, T0 + 1) if each.event == "machine_alarms"]
    say(pictures, OPC, T0 + 2, **alarm("b", T0 + 2, retain=False))
    say(pictures, OPC, T0 + 1, **alarm("b", T0 + 1))  # once more, late
    shown = tile(pictures, T0 + 2).machine_alarms
    assert (shown.text, shown.tone) == ("1 machine alarm", "slow")
    say(pictures, OPC, T0 + 3, **alarm("a", T0 + 3, retain=False))
    hub.tick()
    told = [each for each in hub.take(client, T0 + 3) if each.event == "machine_alarms"]
    assert json.loads(told[-1].raw_data or "")["standing"] == 0
    say(pictures, OPC, T0 + 4, **alarm("a", T0 + 4))
    late = tile(pictures, T0 + 60_000).machine_alarms
    assert (late.text, late.tone) == ("1 machine alarm when last heard", "none")


def test_an_alarm_of_no_machine_counts_at_each_line_of_its_source(pictures: Pictures) -> None:
    say(pictures, SPB, T0, **alarm("a", T0, asset=""))
    assert tile(pictures, T0).machine_alarms.text.startswith("1 machine alarm")
    assert tile(pictures, T0, "far").machine_alarms.text.startswith("1 machine alarm")
    # Of an asset that is not ours nothing is shown.
    say(pictures, SPB, T0, **alarm("b", T0, asset="foe"))
    assert tile(pictures, T0).machine_alarms.text.startswith("1 machine alarm")
