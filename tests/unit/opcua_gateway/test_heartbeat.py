"""Values are repeated while nothing new comes and their server is heard, and a repeat is nobody's
new value."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurelian.edge.assembly import Assembly, Delivery
from aurelian.edge.columns import NO_TIME, Numbers
from aurelian.edge.ordinals import Ordinals
from aurelian.edge.outbox.rows import RecordKind
from aurelian.model.codec import decode
from aurelian.model.sample import Flag, ValueType
from historian.columns import SignalKeys
from historian.sample_columns import make_columns
from opcua_gateway.decode.notifications import Published
from opcua_gateway.deliveries import Deliveries
from opcua_gateway.happenings import Connected, Lost, Message, Refused
from opcua_gateway.history.holes import Holes
from opcua_gateway.items.heartbeat import MOST_AT_ONCE, Repeats
from opcua_gateway.mapping import Notification, tags_of
from tests.source_alone import readings_of
from tests.unit.opcua_gateway.test_deliveries import make_plant

S = 1_000_000
T = 1_790_000_000 * S
NONE = np.zeros(100_000, np.bool_)


def numbers(*values: tuple[int, float, int], status: int = 0, server: int = NO_TIME) -> Published:
    """A message of doubles, given as (handle, value, source time)."""
    handle, value, time = (np.array(column) for column in zip(*values, strict=True))
    n = len(values)
    column = Numbers(
        ValueType.DOUBLE,
        np.arange(n, dtype=np.uint32),
        handle.astype(np.uint32),
        value.astype(np.float64),
        np.full(n, status, np.uint32),
        time.astype(np.int64),
        np.full(n, server, np.int64),
    )
    return Published(1, 1, (), False, (column,))


def keep_alive() -> Published:
    return Published(1, 1, (), True)


def made(names: Sequence[str] = ("a", "b"), beat_s: float = 10, **signal: object) -> Deliveries:
    plant = make_plant(names, monitoring={"heartbeat_s": beat_s}, **signal)
    (model,) = plant.sources
    tags = tags_of(plant, model)
    return Deliveries(model, plant.owner, tags, Holes(len(tags), is_on=False, longest_us=S))


def at(
    deliveries: Deliveries, time: int, published: Published | None = None, **more: int
) -> Delivery:
    return deliveries.of(Message(published or keep_alive(), None, more.get("lost", 0), time))


def beats(delivery: Delivery) -> list[tuple[str, object, int | None]]:
    return [
        (reading.signal.path[-1], reading.value, reading.source_time)
        for reading in readings_of(delivery)
        if reading.flags & Flag.HEARTBEAT
    ]


def test_a_value_is_repeated_with_its_own_times_until_another_comes() -> None:
    one = made()
    one.of(Connected(False, T))
    at(one, T, numbers((0, 1.5, T - 1), (1, 2.5, T - 2)))
    assert beats(at(one, T + 9 * S)) == []
    assert beats(at(one, T + 10 * S)) == [("a", 1.5, T - 1), ("b", 2.5, T - 2)]
    assert beats(at(one, T + 11 * S)) == []
    at(one, T + 15 * S, numbers((0, 3.5, T + 15 * S)))
    assert beats(at(one, T + 20 * S)) == [("b", 2.5, T - 2)]
    assert beats(at(one, T + 25 * S)) == [("a", 3.5, T + 15 * S)]


def test_without_heartbeat_there_is_nothing_that_could_cost() -> None:
    one = made(beat_s=0)
    at(one, T, numbers((0, 1.5, T)))
    assert one._repeats is None
    assert beats(at(one, T + 3600 * S)) == []


@pytest.mark.parametrize(
    "happened",
    [
        Connected(False, T + S),
        Refused({0: 0x80340000}, T + S),
        Message(numbers((1, 2.5, T + S)), None, 1, T + S),  # a message was lost
        Message(numbers((0, 1.5, T + S), status=0x80310000), None, 0, T + S),  # no communication
        Message(numbers((0, 1.5, T + S), status=0x408F0000), None, 0, T + S),
        Message(numbers((0, 1.5, T + S), status=0x80340000), None, 0, T + S),
        Message(Published(1, 1, (), False, unreadable=b"?", why="damaged"), None, 0, T + S),
    ],
)
def test_a_value_that_may_not_be_the_last_is_not_repeated(happened: object) -> None:
    one = made()
    at(one, T, numbers((0, 1.5, T)))
    one.of(happened)  # type: ignore[arg-type]
    assert not [each for each in beats(at(one, T + 60 * S)) if each[0] == "a"]
    # Its next value is known again.
    at(one, T + 61 * S, numbers((0, 4.5, T + 61 * S)))
    assert ("a", 4.5, T + 61 * S) in beats(at(one, T + 71 * S))


def test_nothing_is_repeated_while_the_session_is_away_nor_before_its_queues_were_heard() -> None:
    one = made()
    at(one, T, numbers((0, 1.5, T)))
    assert beats(one.of(Lost("gone", T + 11 * S))) == []
    one.of(Connected(True, T + 60 * S))
    assert beats(at(one, T + 61 * S)) == []
    assert beats(at(one, T + 70 * S)) == [("a", 1.5, T)]


def test_nothing_is_repeated_in_the_name_of_a_server_that_says_it_is_down() -> None:
    one = made()
    one.of(Connected(False, T))
    at(one, T, numbers((0, 1.5, T)))
    for state, passed, repeated in ((4, 20, []), (0, 30, [("a", 1.5, T)])):
        column = Numbers(
            ValueType.INT64,
            np.zeros(1, np.uint32),
            np.array([2], np.uint32),  # the handle after the last node's
            np.array([state]),
            np.zeros(1, np.uint32),
            np.array([T], np.int64),
            np.full(1, NO_TIME, np.int64),
        )
        assert beats(at(one, T + passed * S, Published(1, 1, (), False, (column,)))) == repeated


def test_a_bad_value_is_repeated_as_it_is_and_a_text_too() -> None:
    one = made(("a", "b"), type="text")
    bad = Notification(0, None, ValueType.NULL, 0x80000000, T, None)
    text = Notification(1, "abc", ValueType.TEXT, 0, T, None)
    at(one, T, Published(1, 1, (), False, (), (bad, text), (0, 1)))
    assert beats(at(one, T + 10 * S)) == [("a", None, T), ("b", "abc", T)]


def test_20_000_nodes_are_repeated_in_turn_and_never_more_than_2000_in_a_second() -> None:
    n = 20_000
    repeats = Repeats([1.0] * n)
    repeats.take(numbers(*((h, float(h), T) for h in range(n))), T, NONE)
    found: list[int] = []
    for second in range(1, 11):
        for part in range(4):
            due = repeats.take_due(T + second * S + part)
            assert len(due) == (MOST_AT_ONCE if part < 2 else 0)
            found += [each.handle for each in due]
    # Those that wait longest come first, so each had its turn before any had a second one.
    assert sorted(found) == list(range(n))


steps = st.lists(
    st.tuples(st.integers(0, 5 * S), st.dictionaries(st.integers(0, 3), st.integers(0, 9))),
    max_size=40,
)


@given(steps)
def test_what_is_due_is_what_a_list_of_last_values_says(
    steps: list[tuple[int, dict[int, int]]],
) -> None:
    every = [0.0, 2.0, 3.0, 5.0]
    repeats, now = Repeats(every), T
    last: dict[int, tuple[int, int, int]] = {}  # value, source time, last told
    for passed, values in steps:
        now += passed
        if values:
            repeats.take(numbers(*((h, v, now - h) for h, v in values.items())), now, NONE)
        else:
            repeats.take(keep_alive(), now, NONE)
        last |= {h: (v, now - h, now) for h, v in values.items()}
        due = {h for h, (_, _, told) in last.items() if h and now - told >= every[h] * S}
        found = {(each.handle, each.value, each.source_time) for each in repeats.take_due(now)}
        assert found == {(h, float(last[h][0]), last[h][1]) for h in due}
        last |= {h: (*last[h][:2], now) for h in due}


def test_a_repeat_is_no_row_no_new_value_and_no_sign_of_life() -> None:
    one, assembly = made(("a",)), Assembly("g", 1, Ordinals())
    one.of(Connected(False, T))
    deliveries = [at(one, T, numbers((0, 1.5, T - 1), (0, 2.5, T - 1)))]
    deliveries += [at(one, T + n * 10 * S) for n in range(1, 40)]
    group = assembly.assemble(deliveries)
    batches = [
        decode(entry.encode(n))
        for n, entry in enumerate(group.entries)
        if entry.kind is RecordKind.SAMPLES
    ]
    samples = [sample for batch in batches for sample in batch.samples()]
    assert len(samples) == 2 + 39
    # All have the key of the value that they repeat, also when that is an hour old.
    assert {(s.value, s.time, s.sub) for s in samples[1:]} == {(2.5, T - 1, 1)}
    assert {int(s.flags) for s in samples[2:]} == {int(Flag.HEARTBEAT | Flag.INITIAL)}
    assert sum(count.received for count in group.counts) == 41
    keys = SignalKeys(np.array([7], np.int32), np.zeros(1, np.int32), np.array([True]))
    rows = make_columns([(batch, keys) for batch in batches], T + 500 * S)
    assert rows.numbers.value.tolist() == [1.5, 2.5]
    assert sum(rows.repeated.values()) == 39
    # Heard by its values alone, up to their time.
    assert [heard for heard in group.heard if heard] == [{samples[0].signal.asset: T - 1}]


def test_a_value_that_counts_at_its_receipt_is_not_repeated() -> None:
    """Each repeat would be a new value."""
    one, assembly = made(("a", "b")), Assembly("g", 1, Ordinals(), not_before=T - 60 * S)
    # Without a time, and, not the first of its session, from before the source can have had it.
    at(one, T, numbers((0, 1.5, NO_TIME), (1, 2.5, T - 90 * S)))
    delivery = at(one, T + 10 * S)
    assert len(beats(delivery)) == 2
    group = assembly.assemble([delivery])
    assert group.entries == []
    assert [(count.received, count.skipped) for count in group.counts] == [(2, 2)]
