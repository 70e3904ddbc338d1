"""A record that makes its fold fail is found, tried three times and passed over; no other is."""

from __future__ import annotations

import pytest

from aurelian.fold.suspects import Suspects
from aurelian.model.record import Partition

ONE = Partition("topic", 1)


def run(suspects: Suspects, poison: int, committed: int) -> tuple[int, int]:
    """Fold offsets `committed`..9 of a partition; return the offset after the last commit, and 1
    where a session ended."""
    suspects.forget()
    for offset in range(committed, 10):
        suspects.add(ONE, offset)
        if offset == poison and not suspects.is_refused(ONE, offset):
            suspects.blame()
            return committed, 1
        if suspects.one_by_one:
            suspects.clear()
            committed = offset + 1
    suspects.clear()
    return 10, 0


@pytest.mark.parametrize("poison", range(10))
def test_one_record_is_tried_three_times_and_the_others_go_on(poison: int) -> None:
    suspects, committed, failed = Suspects(), 0, 0
    while committed < 10:
        committed, ended = run(suspects, poison, committed)
        failed += ended
        assert failed < 10
    assert failed == (3 if poison == 0 else 4), "once together, three times alone"
    assert [n for n in range(10) if suspects.is_refused(ONE, n)] == [poison]
    assert suspects.one_by_one <= 1


def test_without_a_record_nobody_is_to_blame() -> None:
    with pytest.raises(LookupError):
        Suspects().blame()


def test_when_every_record_fails_it_is_not_the_records() -> None:
    suspects = Suspects()
    with pytest.raises(LookupError):
        for offset in range(100):
            for _ in range(3):
                suspects.forget()
                suspects.add(ONE, offset)
                suspects.blame()
