"""Rows of a line's intervals: what state it was in, and its stops. Pure; called by line.py."""

from __future__ import annotations

from aurelian.model.time import to_datetime
from line_health.line_status import Interval
from line_health.plant import LineInfo
from line_health.rows import StateRow, StopRow, derive_id


def state_row(line: LineInfo, present: Interval, ended_at: int | None) -> StateRow:
    """The row of an interval; `ended_at`: microseconds, None: it lasts."""
    return StateRow(
        line=line.id,
        started_at=to_datetime(present.since),
        ended_at=None if ended_at is None else to_datetime(ended_at),
        owner=line.owner,
        state=present.state,
        unit=present.unit,
        reason=present.reason,
    )


def stop_row(line: LineInfo, present: Interval, ended_at: int | None) -> StopRow:
    """The row of the stop that an interval is."""
    return StopRow(
        id=derive_id(line.id, "stop", present.since),
        line=line.id,
        owner=line.owner,
        unit=present.unit,
        started_at=to_datetime(present.since),
        ended_at=None if ended_at is None else to_datetime(ended_at),
        state=present.state,
        reason_code=present.code,
        reason=present.reason,
    )
