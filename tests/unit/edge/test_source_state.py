"""What is sent of the state of each source: at a change, again from time to time, and not more."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from itertools import pairwise

import pytest

from aurelian.edge import source_state
from aurelian.edge.assembly import LastSeen
from aurelian.edge.source_state import (
    APART_S,
    SENT_EVERY_S,
    SIGN_EVERY_S,
    Away,
    Certificate,
    Condition,
    SourceState,
    SourceStates,
)
from aurelian.model import codec
from aurelian.model.source_model import SourceModel

LIVE = Condition(SourceState.LIVE, heard_at=5, data_at=4, keep_alive_s=2.0, address="opc.tcp://a")


@dataclass
class Told:
    """A source that says what the test lets it say."""

    now: Condition = LIVE
    owner: str = "x"
    model: SourceModel = field(
        default_factory=lambda: SourceModel(id="press", kind="opcua", url="opc.tcp://127.0.0.1:1")
    )

    def condition(self) -> Condition:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    now = [1000.0]
    monkeypatch.setattr(source_state.time, "monotonic", lambda: now[0])
    yield now


def sent(states: SourceStates, *, anew: bool = False) -> list[codec.SourceEvent]:
    states.look()
    return states.take_events("opcua-1", 7, anew=anew)


def test_a_state_is_sent_at_once_and_again_after_a_minute(clock: list[float]) -> None:
    source = Told()
    states = SourceStates([source, object()])
    (event,) = sent(states)
    assert (event.owner, event.gateway, event.boot, event.source) == ("x", "opcua-1", 7, "press")
    assert event.connection.state == codec.Connection.STATE_LIVE and event.connection.since > 0
    assert event.connection.address == "opc.tcp://a"
    clock[0] += SIGN_EVERY_S - 1
    source.now = replace(LIVE, heard_at=9, data_at=9)  # a sign of life is no change
    assert not sent(states)
    clock[0] += 1
    assert len(sent(states)) == 1
    assert not sent(states) and len(sent(states, anew=True)) == 1


def test_a_gateway_is_never_silent_for_long_whatever_its_sources_are(clock: list[float]) -> None:
    """To each owner one state every five seconds, going round; each state once a minute."""
    away = Condition(SourceState.CONNECTING, "no answer")
    models = [SourceModel(id=f"s{n}", kind="opcua", url="opc.tcp://127.0.0.1:1") for n in range(30)]
    sources = [Told(away, "y" if n % 2 else "x", model) for n, model in enumerate(models)]
    states = SourceStates(sources)
    events = sent(states)
    assert len(events) == 30
    at: dict[str, list[float]] = {}
    for _ in range(int(SENT_EVERY_S) - 1):
        clock[0] += 1
        for event in sent(states):
            at.setdefault(event.owner, []).append(clock[0])
            events.append(event)
    for times in at.values():
        assert len(times) == SENT_EVERY_S / SIGN_EVERY_S - 1
        assert max(b - a for a, b in pairwise([1000.0, *times])) <= SIGN_EVERY_S
    assert max(Counter(event.source for event in events).values()) == 2


def test_what_a_connected_source_brings_waits_where_the_outbox_takes_nothing() -> None:
    connected, away = Told(), Told(Condition(SourceState.CONNECTING, "no answer", "Is it on?"))
    away.model = SourceModel(id="away", kind="opcua", url="opc.tcp://127.0.0.1:1")
    states = SourceStates([connected, away])
    states.look("outbox /o cannot be written: Read-only file system", "Mount it")
    event, other = states.take_events("opcua-1", 7, anew=False)
    assert event.connection.state == codec.Connection.STATE_DEGRADED
    assert event.connection.reason.startswith("its values wait and are not stored: outbox /o")
    assert event.connection.next_step == "Mount it"
    assert other.connection.reason == "no answer"
    states.look()
    assert [each["state"] for each in states.shown()] == ["LIVE", "CONNECTING"]


def test_a_source_that_flaps_is_sent_at_most_every_few_seconds_and_as_it_ended(
    clock: list[float],
) -> None:
    source = Told()
    states = SourceStates([source])
    events = sent(states)
    for n in range(600):
        clock[0] += 0.1
        state = SourceState.CONNECTING if n % 2 else SourceState.LIVE
        source.now = Condition(state, f"attempt {n}")
        events += sent(states)
    assert len(events) <= 1 + 60 / APART_S
    clock[0] += APART_S
    events += sent(states)
    assert events[-1].connection.reason == "attempt 599"
    assert events[-1].connection.state == codec.Connection.STATE_CONNECTING


def test_the_reason_of_the_latest_attempt_replaces_that_of_the_first(clock: list[float]) -> None:
    source = Told(Condition(SourceState.CONNECTING, "no answer", "is it switched on?"))
    states = SourceStates([source])
    (first,) = sent(states)
    clock[0] += APART_S
    source.now = Condition(SourceState.CONNECTING, "refused", "does the server run?")
    (second,) = sent(states)
    assert second.connection.since == first.connection.since
    assert (second.connection.reason, second.connection.next_step) == (
        "refused",
        "does the server run?",
    )


def test_certificates_and_servers_that_are_away_are_sent_with_it(clock: list[float]) -> None:
    refused = Certificate("A" * 64, "CN=press", 5)
    away = Away("opc.tcp://b", "gone", "look there", 3, refused)
    source = Told(replace(LIVE, away=(away,), own=Certificate("B" * 64, ends=9), refused=refused))
    (event,) = sent(SourceStates([source]))
    found = codec.decode_event(codec.encode_event(event)).connection
    assert (found.own.sha256, found.own.ends) == ("B" * 64, 9)
    assert (found.refused.sha256, found.refused.subject) == ("A" * 64, "CN=press")
    (other,) = found.away
    assert (other.address, other.reason, other.since) == ("opc.tcp://b", "gone", 3)
    assert other.refused == found.refused


@pytest.mark.parametrize("state", list(SourceState))
def test_every_state_has_its_number(state: SourceState) -> None:
    (event,) = sent(SourceStates([Told(Condition(state))]))
    assert codec.Connection.State.Name(event.connection.state) == f"STATE_{state}"


def test_reason_and_step_are_one_sentence_where_they_stand_together() -> None:
    assert Condition(SourceState.LIVE).reason == ""
    assert Condition(SourceState.STALE, "silent", "look there").reason == "silent: look there"
    assert Condition(SourceState.STALE, "refused", "If it is right, do").reason == (
        "refused. If it is right, do"
    )


def test_heartbeats_do_not_come_from_a_state() -> None:
    """The gateway speaks of the source; readers judge freshness by heartbeats alone."""
    assert not LastSeen("opcua-1", 7).take_heartbeats(1)
    (event,) = sent(SourceStates([Told()]))
    assert event.WhichOneof("kind") == "connection"
