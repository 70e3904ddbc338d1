"""What is to be read out of a history: planned from what was delivered, and nothing twice."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
import pytest

from aurelian.model import codec
from aurelian.model.sample import ValueType
from opcua_gateway.decode.item_layouts import NO_TIME
from opcua_gateway.decode.notifications import Published
from opcua_gateway.decode.publish_decoder import Numbers
from opcua_gateway.history.holes import Gap, Hole, Holes, Outcome, missing
from opcua_gateway.mapping import Notification

S = 1_000_000
T = 1_790_000_000 * S
DAY = 86_400 * S
OVERFLOW = 0x0480


def make(nodes: int = 3, *, is_on: bool = True, longest: int = DAY) -> Holes:
    return Holes(nodes, is_on=is_on, longest_us=longest)


def message(*values: tuple[int, int], statuses: Iterable[int] = ()) -> Published:
    """A message of doubles, given as (handle, source time)."""
    handle, time = np.array(values, np.int64).reshape(-1, 2).T
    status = np.array(list(statuses) or [0] * len(values), np.uint32)
    numbers = Numbers(
        ValueType.DOUBLE,
        np.arange(len(values), dtype=np.uint32),
        handle.astype(np.uint32),
        np.zeros(len(values)),
        status,
        time,
        np.full(len(values), NO_TIME, np.int64),
    )
    return Published(1, 1, (), False, (numbers,))


def gap(start: int, end: int) -> codec.SourceEvent:
    return codec.SourceEvent(time=end, gap=codec.Gap(from_time=start, to_time=end, reason="r"))


def spans(holes: Iterable[Hole]) -> list[tuple[int, int, int]]:
    return sorted((hole.handle, hole.after, hole.end) for hole in holes)


def value(time: int | None, server_time: int | None = None) -> Notification:
    return Notification(0, 1.0, ValueType.DOUBLE, 0, time, server_time)


def test_a_hole_lies_strictly_between_the_last_value_and_the_first_one_after() -> None:
    holes = make()
    holes.delivered(message((0, T), (1, T + 1), (0, T + 2)), T)
    event = gap(T, T + 10 * S)
    assert holes.missed_by_all(event, new_session=True) is event
    assert holes.take(100, T + 11 * S) == []
    holes.delivered(message((0, T + 9 * S), (0, T + 10 * S), (1, T + 8 * S)), T + 11 * S)
    taken = holes.take(100, T + 11 * S)
    assert spans(taken) == [(0, T + 2, T + 9 * S), (1, T + 1, T + 8 * S)]
    found = [value(at) for at in (T + 2, T + 4, T + 3, T + 9 * S - 1, T + 9 * S, T + 10 * S)]
    (hole,) = (hole for hole in taken if hole.handle == 0)
    assert [each.source_time for each in missing(hole, found)] == [T + 3, T + 4, T + 9 * S - 1]
    assert hole.reached


def test_a_node_that_says_the_same_value_again_misses_nothing() -> None:
    holes = make(1)
    holes.delivered(message((0, T)), T)
    holes.missed_by_all(gap(T, T + S), new_session=True)
    holes.delivered(message((0, T)), T + S)
    assert holes.take(100, T + S) == [] and holes.unread is None
    (done,) = holes.completed
    assert done.outcomes == {Outcome.WHOLE: 1}


def test_a_clock_that_was_set_back_leaves_the_gap_open() -> None:
    holes = make(1)
    holes.delivered(message((0, T)), T)
    holes.missed_by_all(gap(T, T + S), new_session=True)
    holes.delivered(message((0, T - 60 * S)), T + S)
    assert holes.completed[0].outcomes == {Outcome.PART: 1}


def test_a_second_loss_before_the_first_value_makes_one_hole_of_two_gaps() -> None:
    holes = make(1)
    holes.delivered(message((0, T)), T)
    holes.missed_by_all(gap(T, T + S), new_session=True)
    holes.missed_by_all(gap(T + S, T + 2 * S), new_session=True)
    holes.delivered(message((0, T + 3 * S)), T + 3 * S)
    (hole,) = holes.take(100, T + 3 * S)
    assert spans([hole]) == [(0, T, T + 3 * S)]
    holes.finish(hole, Outcome.WHOLE)
    assert len(holes.completed) == 2


def test_after_lost_messages_a_node_that_does_not_change_is_not_waited_for() -> None:
    holes = make(2)
    holes.delivered(message((0, T + 3 * S), (1, T)), T)  # the server's clock is 3 s ahead
    # The gap is by that clock; until when a value is waited for, by ours.
    event = gap(T, T + 4 * S)
    event.time = T + S
    holes.missed_by_all(event)
    holes.delivered(message((0, T + 4 * S)), T + S)
    assert spans(holes.take(1, T + 2 * S)) == [(0, T + 3 * S, T + 4 * S)]
    (hole,) = holes.take(100, T + 7 * S)
    assert spans([hole]) == [(1, T, T + 4 * S + 1)]
    # Its first value comes while it is read: the end is there from then on.
    holes.delivered(message((1, T + 2 * S)), T + 7 * S)
    assert [v.source_time for v in missing(hole, [value(T + S), value(T + 2 * S)])] == [T + S]


def test_what_a_full_queue_lost_lies_before_the_flagged_value() -> None:
    holes = make(2)
    holes.delivered(message((0, T), (1, T)), T)
    published = message((0, T + 1), (1, T + 5), (0, T + 9), statuses=[0, OVERFLOW, OVERFLOW])
    holes.overflowed(gap(T, T + 9), published)
    holes.delivered(published, T + S)
    assert spans(holes.take(100, T + S)) == [(0, T + 1, T + 9), (1, T, T + 5)]


def test_a_full_queue_behind_an_open_hole_is_part_of_it_for_the_first_value_only() -> None:
    holes = make(1)
    holes.delivered(message((0, T)), T)
    holes.missed_by_all(gap(T, T + S))
    published = message((0, T + 5), (0, T + 9), statuses=[OVERFLOW, OVERFLOW])
    holes.overflowed(gap(T, T + 9), published)
    holes.delivered(published, T + S)
    assert spans([*holes.take(1, T + S), *holes.take(1, T + S)]) == [
        (0, T, T + 5),
        (0, T + 5, T + 9),
    ]


def test_a_node_whose_last_value_is_not_known_is_read_from_before_the_gap() -> None:
    holes = make(1)
    holes.missed_by_all(gap(T, T + S), new_session=True)
    holes.delivered(message((0, T + 2 * S)), T + 2 * S)
    (hole,) = holes.take(100, T + 2 * S)
    assert T - 10 * S < hole.after < T and hole.edge is None
    missing(hole, [value(hole.after)])
    assert not hole.reached


def test_of_a_hole_longer_than_a_bound_its_end_is_read_and_it_counts_as_part() -> None:
    holes = make(1, longest=3600 * S)
    holes.delivered(message((0, T)), T)
    holes.missed_by_all(gap(T, T + DAY), new_session=True)
    holes.delivered(message((0, T + DAY)), T + DAY)
    (hole,) = holes.take(100, T + DAY)
    assert (hole.after, hole.edge) == (T + DAY - 3600 * S, None)


def test_times_that_no_clock_has_do_not_move_what_is_known() -> None:
    holes = make(2)
    holes.delivered(message((0, T), (1, T), (7, T)), T)
    holes.delivered(message((0, T + DAY), (1, NO_TIME)), T + S)
    holes.missed_by_all(gap(T, T + 2 * S), new_session=True)
    holes.delivered(message((0, T + 3 * S), (1, T + 3 * S)), T + 3 * S)
    assert spans(holes.take(100, T + 3 * S)) == [(0, T, T + 3 * S), (1, T, T + 3 * S)]


def test_texts_count_as_numbers_do_and_a_server_time_where_there_is_no_other() -> None:
    holes = make(1)
    for at in (T, T + 9 * S):
        text = Notification(0, "x", ValueType.TEXT, 0, None, at)
        holes.delivered(Published(1, 1, (), False, (), (text,), (0,)), at)
        if at == T:
            holes.missed_by_all(gap(T, T + S), new_session=True)
    (hole,) = holes.take(100, T + 9 * S)
    assert spans([hole]) == [(0, T, T + 9 * S)]
    assert [v.server_time for v in missing(hole, [value(None, T + 1), value(None)])] == [T + 1]


def test_a_request_takes_holes_of_one_time_and_length_and_each_node_once() -> None:
    holes = make(6)
    for handle, (start, end) in enumerate(
        [(0, 10), (1, 11), (2, 9), (5000, 5010), (0, 5000), (0, 10)]
    ):
        holes.delivered(message((handle, T + start * S)), T + start * S)
        published = message((handle, T + end * S), statuses=[OVERFLOW])
        holes.overflowed(gap(T, T + end * S), published)
        holes.delivered(published, T + end * S)
    taken = []
    while batch := holes.take(4, T):
        taken.append({hole.handle for hole in batch})
        for hole in batch:
            holes.finish(hole, Outcome.WHOLE)
    assert taken == [{0, 5, 1, 2}, {3}, {4}] or taken == [{2}, {0, 5, 1}, {3}, {4}]
    assert holes.unread is None


def test_what_was_taken_and_not_worked_off_is_taken_again_and_what_failed_twice_alone() -> None:
    holes = make(3)
    holes.delivered(message(*((n, T) for n in range(3))), T)
    holes.missed_by_all(gap(T, T + S), new_session=True)
    holes.delivered(message(*((n, T + 5 * S) for n in range(3))), T + 5 * S)
    first, second, third = sorted(holes.take(100, T), key=lambda hole: hole.handle)
    holes.finish(second, Outcome.WHOLE)
    assert holes.is_taken(first) and not holes.is_taken(second)
    first.after += S
    third.attempts = 2
    holes.put_back()
    assert holes.unread == (T, T + 5 * S)
    batches = [holes.take(100, T), holes.take(100, T)]
    assert sorted(batches, key=lambda b: b[0].handle) == [[first], [third]]


def test_a_refused_node_closes_its_hole_and_names_the_gap_unfilled() -> None:
    holes = make(2)
    holes.delivered(message((0, T), (1, T)), T)
    holes.missed_by_all(gap(T, T + S), new_session=True)
    holes.refused([1, 1])
    holes.delivered(message((0, T)), T + S)
    (done,) = holes.completed
    assert done.outcomes == {Outcome.REFUSED: 1, Outcome.WHOLE: 1} and done.open == 0


@pytest.mark.parametrize("is_on", [True, False])
def test_what_another_process_left_is_read_by_this_one_unless_it_is_switched_off(
    is_on: bool,
) -> None:
    holes = make(2, is_on=is_on)
    holes.reopen(T, T + S)
    assert holes.unread == ((T, T + S) if is_on else None)
    assert spans(holes.take(100, T)) == ([(0, T, T + S), (1, T, T + S)] if is_on else [])


def test_too_many_holes_cost_the_oldest_and_every_gap_is_told(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("opcua_gateway.history.holes.MOST_HOLES", 10)
    holes = make(1)
    holes.delivered(message((0, T)), T)
    for n in range(1, 101):
        published = message((0, T + n * S), statuses=[OVERFLOW])
        holes.overflowed(gap(T, T + n * S), published)
        holes.delivered(published, T + n * S)
    given_up = [done for done in holes.completed if done.outcomes == {Outcome.GIVEN_UP: 1}]
    left: list[Hole] = []
    while batch := holes.take(100, T):
        left += batch
    assert len(given_up) + len(left) == 100 and len(left) <= 10
    assert max(hole.end for hole in left) == T + 100 * S


def test_a_gap_is_completed_when_its_last_hole_is() -> None:
    told = Gap(None)
    holes = make(1)
    first, second = (Hole(0, T, T + 9, 0, [told], T) for _ in range(2))
    told.open = 2
    first.values = 5
    holes.finish(first, Outcome.WHOLE)
    assert not holes.completed
    holes.finish(second, Outcome.NO_HISTORY)
    assert holes.completed == [told]
    assert (told.values, told.outcomes) == (5, {Outcome.WHOLE: 1, Outcome.NO_HISTORY: 1})


def test_silent_nodes_that_are_given_up_for_newer_holes_stop_nothing(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("opcua_gateway.history.holes.MOST_HOLES", 10)
    busy = range(10, 20)
    holes = make(20)
    holes.delivered(message(*((n, T) for n in range(20))), T)
    holes.missed_by_all(gap(T, T + 1), new_session=True)
    for n in range(1, 5):
        at = T + n * S
        found = message(*((node, at) for node in busy), statuses=[OVERFLOW] * 10)
        holes.overflowed(gap(at - S, at), found)
        holes.delivered(found, at)
    # The silent ones are not waited for any longer: they are the oldest, and there are too many.
    taken: list[Hole] = []
    while part := holes.take(1_000, T + DAY):
        for hole in part:
            holes.finish(hole, Outcome.WHOLE)
        taken += part
    assert len(taken) < 60
    assert any(gap.outcomes.get(Outcome.GIVEN_UP) for gap in holes.completed)
    assert {hole.handle for hole in taken} >= set(busy)


def test_a_gap_in_each_message_collects_nothing_at_nodes_that_are_silent() -> None:
    holes = make(2)
    holes.delivered(message((0, T), (1, T)), T)
    for n in range(1, 200):
        holes.missed_by_all(gap(T + n, T + n + 1))
    (first, second) = holes.take(10, T + DAY)
    assert len(first.gaps) == len(second.gaps) == 1


def test_values_of_one_microsecond_are_as_many_as_the_server_gives_also_over_two_answers() -> None:
    hole = Hole(0, T, None, T + 9 * S, [], T)

    def at(time: int, number: float) -> Notification:
        return Notification(0, number, ValueType.DOUBLE, 0, time, None)

    # The value at its edge came live.
    first = missing(hole, [at(T, 1.0), at(T + S, 2.0), at(T + S, 2.0), at(T + S, 3.0)])
    assert [each.value for each in first] == [2.0, 3.0]
    for each in first:
        hole.note(each)
    # The next answer goes on in the middle of that microsecond, or repeats it as a whole.
    rest = missing(hole, [at(T + S, 2.0), at(T + S, 3.0), at(T + S, 4.0), at(T + 2 * S, 3.0)])
    assert [each.value for each in rest] == [4.0, 3.0]
    for each in rest:
        hole.note(each)
    assert (hole.after, hole.values) == (T + 2 * S, 4)
    assert missing(hole, [at(T + S, 5.0), at(T + 2 * S, 3.0)]) == []
    nan = [at(T + 3 * S, float("nan")) for _ in range(2)]
    assert len(missing(hole, nan)) == 1
