"""The rule for a trimmed or replaced log, as a table."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurelian.backbone.position import Action, Decision, LogRange, SavedOffset, decide

OURS, OTHER = "log-1", "log-2"


def _saved(offset: int, log_id: str = OURS) -> SavedOffset:
    return SavedOffset(log_id, offset)


@pytest.mark.parametrize(
    ("saved", "log", "matches", "action", "offset", "lost"),
    [
        pytest.param(None, LogRange(0, 0), None, Action.BEGIN, 0, 0, id="first start, empty"),
        pytest.param(None, LogRange(40, 90), None, Action.BEGIN, 40, 0, id="first start, trimmed"),
        pytest.param(_saved(0), LogRange(0, 9), None, Action.BEGIN, 0, 0, id="claimed, none read"),
        pytest.param(
            _saved(0), LogRange(6, 9), None, Action.SKIP, 6, 6, id="trimmed before the first"
        ),
        pytest.param(_saved(50), LogRange(0, 90), None, Action.CONTINUE, 50, 0, id="behind"),
        pytest.param(_saved(50), LogRange(0, 90), True, Action.CONTINUE, 50, 0, id="proven"),
        pytest.param(_saved(50), LogRange(0, 50), True, Action.CONTINUE, 50, 0, id="caught up"),
        pytest.param(_saved(50), LogRange(50, 50), None, Action.CONTINUE, 50, 0, id="all deleted"),
        pytest.param(_saved(50), LogRange(50, 90), None, Action.CONTINUE, 50, 0, id="just in time"),
        pytest.param(_saved(50), LogRange(51, 90), None, Action.SKIP, 51, 1, id="one record lost"),
        pytest.param(_saved(50), LogRange(80, 80), None, Action.SKIP, 80, 30, id="all of it lost"),
        pytest.param(_saved(50), LogRange(0, 49), None, Action.HALT, 50, 0, id="shorter log"),
        pytest.param(_saved(50), LogRange(0, 0), None, Action.HALT, 50, 0, id="emptied log"),
        pytest.param(_saved(50), LogRange(0, 90), False, Action.HALT, 50, 0, id="other record"),
        pytest.param(_saved(50), LogRange(80, 90), False, Action.HALT, 50, 0, id="other, trimmed"),
        pytest.param(_saved(50, OTHER), LogRange(0, 9), None, Action.BEGIN, 0, 0, id="declared"),
        pytest.param(
            _saved(50, OTHER), LogRange(7, 90), None, Action.BEGIN, 7, 0, id="declared, trimmed"
        ),
    ],
)
def test_the_rule_decides(
    saved: SavedOffset | None,
    log: LogRange,
    matches: bool | None,
    action: Action,
    offset: int,
    lost: int,
) -> None:
    decision = decide(saved, OURS, log, last_record_matches=matches)
    assert (decision.action, decision.offset, decision.lost) == (action, offset, lost)
    assert bool(decision.reason) == (action in {Action.SKIP, Action.HALT})


@given(
    saved=st.integers(0, 100),
    start=st.integers(0, 100),
    length=st.integers(0, 100),
    matches=st.sampled_from([None, True, False]),
)
def test_no_record_that_is_there_is_passed_over_and_none_is_read_twice(
    saved: int, start: int, length: int, matches: bool | None
) -> None:
    log = LogRange(start, start + length)
    decision = decide(_saved(saved), OURS, log, last_record_matches=matches)
    match decision:
        case Decision(Action.BEGIN, offset):
            assert saved == 0 and offset == start == 0
        case Decision(Action.CONTINUE, offset):
            assert offset == saved and start <= saved <= log.end
        case Decision(Action.SKIP, offset, lost):
            assert offset == start and saved + lost == start
        case Decision(Action.HALT):
            assert matches is False or log.end < saved
