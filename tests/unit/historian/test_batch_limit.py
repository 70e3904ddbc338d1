"""How many samples a transaction may have after the database took too long for so many."""

from __future__ import annotations

from historian.batch_limit import LEAST, BatchLimit


def test_it_is_halved_down_to_the_least_and_rises_again_by_what_is_stored() -> None:
    limit = BatchLimit(100_000)
    limit.failed(40_000)
    assert limit.samples == 20_000
    assert limit.is_exceeded(20_001) and not limit.is_exceeded(20_000)
    for _ in range(20):
        limit.failed(100_000)
    assert limit.samples == LEAST
    limit.stored(LEAST - 1)
    assert limit.samples == LEAST  # nothing was tried that was as large as may be
    for _ in range(20):
        limit.stored(limit.samples)
    assert limit.samples == 100_000 and not limit.is_exceeded(400_000)


def test_what_fails_with_few_does_not_take_the_limit_below_the_least() -> None:
    limit = BatchLimit(100_000)
    limit.failed(3)
    assert limit.samples == LEAST
