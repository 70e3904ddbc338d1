"""What happens at a server as deliveries: each gap is told and leaves holes, and what the history
brought is marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
import pytest

from aurelian.edge.columns import NO_TIME, Numbers
from aurelian.edge.gateway import Delivery
from aurelian.model import codec
from aurelian.model.plant import Plant
from aurelian.model.sample import Flag, ValueType
from opcua_gateway.bookmark import Bookmark
from opcua_gateway.decode.notifications import Published
from opcua_gateway.deliveries import Deliveries
from opcua_gateway.happenings import Connected, Message, ReadBack, Refused
from opcua_gateway.history.holes import Holes
from opcua_gateway.mapping import Notification, tags_of
from opcua_gateway.message_numbers import Acknowledgements, Window
from opcua_gateway.progress import Progress
from tests.source_alone import readings_of

S = 1_000_000
OVERFLOW = 0x0480
T = 1_790_000_000 * S


def make_plant(
    names: Sequence[str],
    each: Mapping[str, Mapping[str, object]] | None = None,
    monitoring: Mapping[str, object] | None = None,
    source: Mapping[str, object] | None = None,
    **signal: object,
) -> Plant:
    """A plant of one source; `each`: of a signal by its name, `signal`: of all of them."""
    peer = {"id": "peer", "kind": "opcua", "url": "opc.tcp://127.0.0.1:4840", **(source or {})}
    if monitoring is not None:
        peer["monitoring"] = dict(monitoring)
    return Plant.model_validate(
        {
            "company": {"id": "x", "name": "X"},
            "site": "s",
            "time_zone": "UTC",
            "sources": [peer],
            "areas": [
                {
                    "name": "a",
                    "lines": [
                        {
                            "name": "l",
                            "products": [{"id": "cup", "ideal_cycle_s": 2}],
                            "units": [
                                {
                                    "name": "press",
                                    "source": "peer",
                                    "signals": [
                                        {
                                            "name": name,
                                            "address": f"ns=2;s={name}",
                                            **signal,
                                            **(each or {}).get(name, {}),
                                        }
                                        for name in names
                                    ],
                                }
                            ],
                        }
                    ],
                }
            ],
        }
    )


def make(names: Sequence[str] = ("force", "name"), **signal: object) -> tuple[Deliveries, Holes]:
    plant = make_plant(names, **signal)
    (model,) = plant.sources
    tags = tags_of(plant, model)
    holes = Holes(len(tags), is_on=True, longest_us=3600 * S)
    return Deliveries(model, plant.owner, tags, holes), holes


def texts(*values: tuple[int, int, int], why: str = "") -> Published:
    """A message of texts, given as (handle, source time, status)."""
    found = tuple(
        Notification(handle, "x", ValueType.TEXT, status, time, None)
        for handle, time, status in values
    )
    return Published(
        1,
        1,
        (),
        not values,
        (),
        found,
        tuple(range(len(found))),
        unreadable=b"?" if why else b"",
        why=why,
    )


def numbers_of(*values: tuple[int, int, int]) -> Published:
    """A message of doubles, as `texts`."""
    handle, time, status = np.array(values, np.int64).T
    places = np.arange(len(values), dtype=np.uint32)
    numbers = Numbers(
        ValueType.DOUBLE,
        places,
        handle.astype(np.uint32),
        np.zeros(len(values)),
        status.astype(np.uint32),
        time,
        np.full(len(values), NO_TIME, np.int64),
    )
    return Published(1, 1, (), False, (numbers,))


def reasons(delivery: Delivery) -> list[str]:
    return [event.gap.reason for event in delivery.events if event.HasField("gap")]


@pytest.mark.parametrize(
    ("lost", "why", "status", "reason"),
    [
        (2, "", 0, "2 messages were lost on the way"),
        (0, "damaged", 0, "damaged"),
        (0, "", 0x0480, "the server's queue was too small for 2 nodes, first x/s/a/l/press/force"),
    ],
)
def test_what_a_message_says_is_missing_is_told_and_can_be_read_back(
    lost: int, why: str, status: int, reason: str
) -> None:
    made, holes = make()
    made.of(Message(texts((0, T, 0), (1, T + 1, 0)), None, 0, T + 2))
    assert holes.unread is None
    after = texts((0, T + 5 * S, status), (1, T + 6 * S, status), why=why)
    delivery = made.of(Message(after, None, lost, T + 7 * S))
    assert reasons(delivery) == [reason]
    if why:
        # What stands behind damage may be of any node: the next message ends the holes.
        assert holes.take(10, T + 7 * S) == []
        made.of(Message(texts((0, T + 8 * S, 0), (1, T + 9 * S, 0)), None, 0, T + 9 * S))
    taken = holes.take(10, T + 7 * S)
    assert sorted((hole.handle, hole.after, hole.end) for hole in taken) == [
        (0, T, T + (8 if why else 5) * S),
        (1, T + 1, T + (9 if why else 6) * S),
    ]


def test_only_a_session_that_was_not_resumed_leaves_holes() -> None:
    made, holes = make()
    # The first one of all: nothing was missed.
    made.of(Connected(False, T))
    assert holes.unread is None
    made.of(Message(texts((0, T, 0), (1, T, 0)), None, 0, T))
    assert not reasons(made.of(Connected(True, T + S)))
    assert holes.unread is None
    assert reasons(made.of(Connected(False, T + 2 * S))) == ["no session with the server"]
    assert holes.unread is not None


def test_values_of_the_history_are_flagged_and_leave_what_is_known_of_now() -> None:
    made, _ = make()
    made.of(Connected(False, T))
    made.progress.heard_at = T
    stored: list[bool] = []
    value = Notification(1, "old", ValueType.TEXT, 0, T - S, None)
    gap = codec.SourceEvent(time=T, gap=codec.Gap(from_time=T - S, to_time=T, recovered=True))
    delivery = made.of(ReadBack((value,), (gap,), lambda: stored.append(True), T + 9 * S))
    (reading,) = delivery.readings
    assert (reading.value, reading.flags, reading.source_time) == ("old", Flag.HISTORICAL, T - S)
    assert list(delivery.events) == [gap] and made.progress.heard_at == T
    assert delivery.ack is not None
    delivery.ack()
    assert stored == [True]
    # The first live value is still the first.
    (live,) = made.of(Message(texts((1, T, 0)), None, 0, T)).readings
    assert live.flags == Flag.INITIAL


@pytest.mark.parametrize("count", [4, 31, 32, 100])
def test_an_enumeration_has_its_names_in_messages_of_any_size(count: int) -> None:
    made, _ = make([f"n{n}" for n in range(count)], type="text")
    made.values.names = {2: {7: "Setup"}}
    numbers = Numbers(
        ValueType.INT64,
        np.arange(count, dtype=np.uint32),
        np.arange(count, dtype=np.uint32),
        np.full(count, 7, np.int64),
        np.zeros(count, np.uint32),
        np.full(count, T, np.int64),
        np.full(count, NO_TIME, np.int64),
    )
    delivery = made.of(Message(Published(1, 1, (), False, (numbers,)), None, 0, T))
    columns = [] if delivery.columns is None else delivery.columns.readings()
    found = {r.signal.path.rpartition("/")[2]: r.value for r in (*columns, *delivery.readings)}
    assert found == {f"n{n}": "Setup" if n == 2 else 7 for n in range(count)}


def test_where_the_servers_clock_is_ahead_the_history_is_read_up_to_the_gaps_end() -> None:
    made, holes = make()
    ahead = 30 * S
    made.of(Message(texts((0, T + ahead, 0), (1, T + ahead, 0)), None, 0, T))
    delivery = made.of(Message(texts((0, T + ahead + 2 * S, 0)), None, 1, T + 2 * S))
    (gap,) = [event.gap for event in delivery.events if event.HasField("gap")]
    assert gap.to_time == T + 2 * S + ahead
    of_other = {hole.handle: hole for hole in holes.take(10, T + 600 * S)}[1]
    assert of_other.end == gap.to_time + 1


@pytest.mark.parametrize("with_columns", [False, True])
def test_what_a_hot_servers_queue_lost_before_it_took_over_is_no_loss(with_columns: bool) -> None:
    made, holes = make()

    def message(*values: tuple[int, int, int]) -> Published:
        return numbers_of(*values) if with_columns else texts(*values)

    made.of(Connected(False, T))
    made.of(Message(message((0, T + 9 * S, 0)), None, 0, T + 9 * S))
    taken_over = Connected(False, T + 12 * S, None, "opc.tcp://b", T + 5 * S)
    assert not reasons(made.of(taken_over))
    # Its queue begins before the last value of the server before, which it lost nothing of.
    backlog = message((0, T + 7 * S, OVERFLOW), (0, T + 9 * S, 0), (0, T + 11 * S, 0))
    delivery = made.of(Message(backlog, None, 0, T + 12 * S))
    assert not reasons(delivery) and holes.unread is None
    assert [reading.status for reading in readings_of(delivery)] == [0, 0, 0]
    # One that begins after it lost something, as does one that sampled only since then.
    late = made.of(Message(message((0, T + 20 * S, OVERFLOW)), None, 0, T + 20 * S))
    (gap,) = [event.gap for event in late.events if event.HasField("gap")]
    assert (gap.from_time, gap.to_time) == (T + 11 * S, T + 20 * S)
    assert [reading.status for reading in readings_of(late)] == [OVERFLOW]
    fresh = Connected(False, T + 25 * S, None, "opc.tcp://a", T + 19 * S)
    assert reasons(made.of(fresh)) == ["no session with the server"]


def test_a_gap_that_was_not_stored_is_told_by_whoever_comes_next() -> None:
    made, _ = make()
    made.progress.heard_at = made.progress.stored_at = T
    told = made.of(Connected(False, T + 5 * S))
    assert made.progress.untold == (T, T + 5 * S)
    # A keep-alive and a message come; neither is a sign that the record is on the disk.
    made.of(Message(texts(), None, 0, T + 6 * S))
    assert (made.progress.stored_at, made.progress.untold) == (T, (T, T + 5 * S))
    # The next process resumes the session.
    after, _ = make()
    after.progress.heard_at, after.progress.stored_at, after.progress.untold = (
        T + 6 * S,
        made.progress.stored_at,
        made.progress.untold,
    )
    again = after.of(Connected(True, T + 8 * S))
    assert reasons(again) == reasons(told) == ["no session with the server"]
    assert again.events[0].gap == told.events[0].gap
    # Resumed once more meanwhile it is not told twice, nor when it is stored.
    assert not reasons(after.of(Connected(True, T + 9 * S)))
    assert again.ack is not None
    again.ack()
    assert after.progress.untold is None and not reasons(after.of(Connected(True, T + 10 * S)))


HOUR = 3600 * S


def beats(delivery: Delivery) -> int:
    return sum(event.HasField("heartbeat") for event in delivery.events)


def test_a_clock_of_ours_that_is_set_back_stops_no_heartbeats() -> None:
    """They stood still for as long as it was set back: every machine counted as away."""
    made, _ = make()
    assert beats(made.of(Message(texts((0, T, 0)), None, 0, T)))
    assert not beats(made.of(Message(texts((0, T + 1, 0)), None, 0, T + S // 2)))
    assert beats(made.of(Message(texts((0, T + S, 0)), None, 0, T + S - HOUR)))
    assert not beats(made.of(Message(texts((0, T + S, 0)), None, 0, T + S + S // 2 - HOUR)))
    assert beats(made.of(Message(texts((0, T + 3 * S, 0)), None, 0, T + 3 * S + 9 * HOUR)))


def test_no_gap_ends_before_it_begins_and_the_next_process_begins_where_this_clock_is() -> None:
    made, _ = make()
    book = Acknowledgements(Window(64))
    for number, at in enumerate((T, T + S - HOUR), 1):
        book.delivered(number, 1)
        delivery = made.of(Message(texts((0, at, 0), (1, at, 0)), book, 0, at))
        assert delivery.ack is not None
        delivery.ack()
    assert made.progress.stored_at <= T + S - HOUR
    made.progress.heard_at = T
    (event,) = (e for e in made.of(Connected(False, T + 2 * S - HOUR)).events if e.HasField("gap"))
    assert event.gap.from_time <= event.gap.to_time


YEAR_2300 = 10_413_792_000 * S


@pytest.mark.parametrize(
    ("before", "after", "begin", "end"),
    [
        (T, T + 5 * S, T, T + 5 * S),
        (YEAR_2300, T + 5 * S, T, T + 5 * S),
        (T, YEAR_2300, T, T + 7 * S),
        (-11_644_473_600 * S, T + 5 * S, T, T + 5 * S),
        (T, -11_644_473_600 * S, T, T + 7 * S),
        (T, T - HOUR, T - HOUR, T),
    ],
)
def test_a_gap_of_a_full_queue_lies_in_the_present_whatever_the_values_say_their_time_is(
    before: int, after: int, begin: int, end: int
) -> None:
    """One up to the year 2300 would cover all that follows."""
    made, _ = make()
    made.of(Message(texts((0, before, 0)), None, 0, T))
    delivery = made.of(Message(texts((0, after, 0x480)), None, 0, T + 7 * S))
    (event,) = (each for each in delivery.events if each.HasField("gap"))
    assert (event.gap.from_time, event.gap.to_time) == (begin, end)


def test_a_refused_node_is_named_with_its_address_its_status_and_what_to_do(
    caplog: pytest.LogCaptureFixture,
) -> None:
    made, _ = make()
    made.of(Refused({1: 0x80340000}, T))
    fields = caplog.records[0].fields  # type: ignore[attr-defined]
    assert (fields["address"], fields["status"]) == ("ns=2;s=name", "BadNodeIdUnknown (0x80340000)")
    assert "`aurelian browse opc.tcp://127.0.0.1:4840` shows" in fields["next"]


BAD_NO_COMMUNICATION, BAD_NODE_ID_UNKNOWN = 0x80310000, 0x80340000


def lives(delivery: Delivery) -> list[str]:
    """Births and deaths, with how many assets each names."""
    return [
        f"{kind} {len(event.birth.assets or event.death.assets)}"
        for event in delivery.events
        if (kind := event.WhichOneof("kind")) in ("birth", "death")
    ]


@pytest.mark.parametrize("status", [BAD_NO_COMMUNICATION, 0x40900000, 0x800A0000, 0x80320000])
def test_a_unit_that_was_silent_is_not_alive_in_the_next_session_until_its_values_say_so(
    status: int,
) -> None:
    deliveries, _ = make()
    deliveries.of(Connected(False, T))
    said = deliveries.of(Message(texts((0, T, status), (1, T, status)), None, 0, T))
    assert lives(said) == ["death 1"]
    assert lives(deliveries.of(Connected(True, T + 5 * S))) == ["birth 1", "death 1"]
    later = T + 10 * S
    assert not beats(deliveries.of(Message(texts(), None, 0, later)))
    # The same values again, as a new session brings them.
    deliveries.of(Connected(False, later))
    assert not lives(deliveries.of(Message(texts((0, T, status), (1, T, status)), None, 0, later)))
    back = deliveries.of(Message(texts((0, later, 0)), None, 0, later))
    assert lives(back) == ["birth 1"]


def test_a_unit_whose_nodes_the_server_all_refuses_is_not_alive() -> None:
    deliveries, _ = make()
    deliveries.of(Connected(False, T))
    assert not lives(deliveries.of(Refused({0: BAD_NODE_ID_UNKNOWN}, T)))
    assert lives(deliveries.of(Refused({1: 0x801F0000}, T))) == ["death 1"]
    assert not beats(deliveries.of(Message(texts(), None, 0, T + 5 * S)))
    back = deliveries.of(Message(texts((1, T, 0)), None, 0, T + 6 * S))
    assert lives(back) == ["birth 1"]
    assert beats(deliveries.of(Message(texts(), None, 0, T + 9 * S)))


def test_events_of_the_time_between_two_hot_servers_are_missing() -> None:
    for alarms, told in (({"alarms": True}, 1), ({}, 0)):
        deliveries, holes = make(
            source={"redundant": ["opc.tcp://b:4840"], "redundancy": "hot"} | alarms
        )
        deliveries.of(Connected(False, T))
        deliveries.of(Message(texts((0, T, 0), (1, T, 0)), None, 0, T))
        taken = deliveries.of(Connected(False, T + S, sampled_since=T - 60 * S))
        gaps = [each.gap for each in taken.events if each.HasField("gap")]
        assert len(gaps) == told
        assert not holes.unread  # of values nothing is missing
        for gap in gaps:
            assert (gap.from_time, gap.to_time) == (T, T + S) and "events" in gap.reason


def of_state(*values: tuple[int, int | str]) -> Message:
    """What the server says of itself, by place in `server_status.WATCHED`."""
    first = 2  # behind the nodes of `make`
    numbers = [(first + n, T, v) for n, v in values if isinstance(v, int)]
    said = tuple(
        Notification(first + n, v, ValueType.TEXT, 0, T, None)
        for n, v in values
        if isinstance(v, str)
    )
    published = Published(1, 1, (), False, (), said, tuple(range(len(said))))
    if numbers:
        handle, time, value = np.array(numbers, np.int64).T
        places = np.arange(len(numbers), dtype=np.uint32)
        good, never = np.zeros(len(numbers), np.uint32), np.full(len(numbers), NO_TIME, np.int64)
        columns = Numbers(
            ValueType.INT64, places, handle.astype(np.uint32), value, good, time, never
        )
        published = replace(published, numbers=(columns,))
    return Message(published, Acknowledgements(Window(4)), 0, T)


def test_what_a_server_says_of_its_shutdown_after_its_state_is_told_too() -> None:
    deliveries, _ = make()
    state, seconds, why, back = 0, 2, 3, 4

    def told(*values: tuple[int, int | str]) -> list[str]:
        events = deliveries.of(of_state(*values)).events
        return [event.death.reason for event in events if event.HasField("death")]

    begins = "the server says that it is in state Shutdown"
    assert told((seconds, 0)) == []
    assert told((state, 4)) == [begins]
    assert told((seconds, 90)) == [f"{begins}, in 90 s"]
    for left in (89, 1):  # they run by themselves
        assert told((seconds, left)) == []
    assert told((why, "new rollers")) == [f"{begins}, in 1 s: new rollers"]
    assert told((why, "new rollers")) == []
    assert told((back, "2026-11-27T18:00:00")) == [
        f"{begins}, in 1 s: new rollers; it expects to be back at 2026-11-27T18:00:00Z"
    ]
    assert told((state, 1)) == [
        "the server says that it is in state Failed: new rollers; it expects to be back at "
        "2026-11-27T18:00:00Z"
    ]
    assert told((state, 0), (seconds, 60)) == []
    assert told((seconds, 5), (why, "later")) == []


def test_what_is_lost_in_the_first_session_of_all_is_missing_since_it_began() -> None:
    """Nothing was stored yet: a gap that begins when it is told would cover nothing."""
    made, _ = make()
    assert not reasons(made.of(Connected(False, T, session="one")))
    lost = made.of(Message(texts(), Acknowledgements(Window(9)), 2, T + 3 * S))
    (gap,) = [each.gap for each in lost.events if each.HasField("gap")]
    assert (gap.from_time, gap.to_time) == (T, T + 3 * S)


def test_the_bookmark_says_since_when_something_is_missing_to_whoever_comes_next() -> None:
    """The file of the session is 5 s old, and one that is killed before has never written it."""
    made, _ = make()
    made.of(Connected(False, T, session="one"))
    stored = made.of(Message(texts(), Acknowledgements(Window(9)), 0, T + 2 * S, (), 2))
    after, _ = make()
    after.progress.go_on(Progress(), Bookmark.parse(stored.bookmark))
    after.of(Connected(True, T + 5 * S, session="one"))
    lost = after.of(Message(texts(), Acknowledgements(Window(9)), 1, T + 6 * S, (), 4))
    (gap,) = [each.gap for each in lost.events if each.HasField("gap")]
    assert T <= gap.from_time <= T + 2 * S and gap.to_time == T + 6 * S
