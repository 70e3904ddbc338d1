"""What vouches for a machine, and what a clock that is off looks like beside a queue."""

from __future__ import annotations

import pytest

from aurelian.model.evidence import (
    MachineClock,
    time_is_refused,
    vouches,
    vouching,
)
from aurelian.model.sample import Flag, Sample, Signal, ValueType, make_batch

T = 1_700_000_000_000_000
S = 1_000_000

CASES = [
    ("good", 0, Flag.NONE, T, True),
    ("good with info bits", 0x00000480, Flag.NONE, T, True),
    ("uncertain: sensor not accurate", 0x40930000, Flag.NONE, T, True),
    ("uncertain: no communication", 0x408F0000, Flag.NONE, T, False),
    ("uncertain: last usable value", 0x40900000, Flag.NONE, T, False),
    ("the same with info bits", 0x40900480, Flag.NONE, T, False),
    ("uncertain: substitute", 0x40910000, Flag.NONE, T, False),
    ("uncertain: initial value", 0x40920000, Flag.NONE, T, False),
    ("bad", 0x80310000, Flag.NONE, T, False),
    ("historical", 0, Flag.HISTORICAL, T, False),
    ("retained by the broker", 0, Flag.RETAINED, T, False),
    ("a repeat", 0, Flag.HEARTBEAT, T, False),
    ("a repeat of the first value", 0, Flag.HEARTBEAT | Flag.INITIAL, T, False),
    ("no time of its own", 0, Flag.TIME_REPLACED, 0, True),
    ("a clock of 2000", 0, Flag.TIME_REPLACED, 946_684_800_000_000, False),
    ("out of its range", 0, Flag.OUT_OF_RANGE, T, True),
]


@pytest.mark.parametrize(("what", "status", "flags", "at", "expected"), CASES)
def test_a_sample_vouches_for_its_machine_or_does_not(
    what: str, status: int, flags: Flag, at: int, expected: bool
) -> None:
    assert vouches(status, flags, at) is expected, what


def test_a_batch_is_judged_as_its_samples_are() -> None:
    signal = Signal("s", "a", "c/s/a/l/u/s", ValueType.DOUBLE)
    samples = [
        Sample(signal, 1.0, ValueType.DOUBLE, at, T, 0, status, flags)
        for _, status, flags, at, _ in CASES
    ]
    batch = make_batch(samples, owner="c", gateway="g", boot=1, sequence=1, line="c/s/a/l")
    assert vouching(batch).tolist() == [case[-1] for case in CASES]


def test_only_a_time_that_was_given_can_be_refused() -> None:
    assert time_is_refused(Flag.TIME_REPLACED, 946_684_800_000_000)
    assert not time_is_refused(Flag.TIME_REPLACED, 0)
    assert not time_is_refused(Flag.TIME_UNCERTAIN, T)


def test_a_steady_difference_is_the_clock() -> None:
    clock = MachineClock()
    for second in range(9):
        clock.note(T + second * S - 60 * S, T + second * S)
        assert clock.behind_us == 0, "not known before ten seconds of it"
    for second in range(9, 40):
        clock.note(T + second * S - 60 * S + (second % 3) * 100_000, T + second * S)
    assert 59 * S < clock.behind_us <= 60 * S
    assert clock.happened_at(T - 60 * S, T + S) == pytest.approx(T, abs=S)


def test_a_queue_that_is_drained_is_no_slow_clock() -> None:
    clock = MachineClock()
    for n in range(1000):  # 100 s of values in 20 s: their age shrinks
        clock.note(T - 100 * S + n * 120_000, T + n * 20_000)
        assert clock.behind_us == 0


def test_one_queued_message_is_old() -> None:
    clock = MachineClock()
    for second in range(60):
        clock.note(T + second * S, T + second * S + 20_000)
    at = T + 60 * S
    clock.note(at, at + 100 * S)
    assert clock.happened_at(at, at + 100 * S) == at


def test_nothing_happened_later_than_it_was_received() -> None:
    clock = MachineClock()
    clock.note(T + 3000 * S, T)
    assert clock.happened_at(T + 3000 * S, T) == T


def test_a_clock_that_was_set_right_is_believed_at_once() -> None:
    clock = MachineClock()
    for second in range(30):
        clock.note(T + second * S - 60 * S, T + second * S)
    assert clock.behind_us == 60 * S
    at = T + 31 * S
    clock.note(at, at)
    assert clock.happened_at(at, at) == at


def test_many_samples_in_a_short_time_keep_the_window() -> None:
    clock = MachineClock()
    for n in range(5000):
        clock.note(T + n * 10_000 - 60 * S, T + n * 10_000)
    assert clock.behind_us == 60 * S
