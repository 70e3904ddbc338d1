"""Rows of line_health's tables and the events that say so. Pure; made by line.py and
alarms.py."""

from __future__ import annotations

import uuid
from dataclasses import dataclass
from datetime import datetime

from aurelian.backbone.topics import LINE_EVENTS
from aurelian.events.cloudevent import make_event
from aurelian.events.schemas import (
    LINE_ALARM_CLEARED,
    LINE_ALARM_RAISED,
    LINE_KPI_UPDATED,
    LINE_STATE_CHANGED,
    LINE_STOP_ENDED,
    LINE_STOP_STARTED,
)
from aurelian.fold.contract import Outgoing
from aurelian.model.plant_parts import NAMESPACE
from aurelian.model.time import to_iso
from line_health.plant import LineInfo, SignalInfo

SOURCE = "/aurelian/line_health"


@dataclass(frozen=True, slots=True)
class StateRow:
    """`line_health.line_state`."""

    line: str
    started_at: datetime
    ended_at: datetime | None
    owner: str
    state: str
    unit: str | None
    reason: str


@dataclass(frozen=True, slots=True)
class StopRow:
    """`line_health.stop`."""

    id: str
    line: str
    owner: str
    unit: str | None
    started_at: datetime
    ended_at: datetime | None
    state: str
    reason_code: int | None
    reason: str


@dataclass(frozen=True, slots=True)
class AlarmRow:
    """`line_health.alarm`."""

    id: str
    owner: str
    line: str
    asset: str
    signal: str
    priority: str
    message: str
    action: str
    value: float | None
    limit: float | None
    raised_at: datetime
    cleared_at: datetime | None


@dataclass(frozen=True, slots=True)
class KpiRow:
    """`line_health.kpi`: one shift of one line as it stands at `computed_at`."""

    line: str
    shift_start: datetime
    shift_end: datetime
    owner: str
    shift: str
    planned_busy_s: float
    production_s: float
    no_data_s: float
    good: float
    scrap: float
    target: float
    availability: float | None
    effectiveness: float | None
    quality: float | None
    oee: float | None
    computed_at: datetime
    counts_from: datetime
    bridged: float
    note: str


LineRow = StateRow | StopRow | AlarmRow | KpiRow


def derive_id(*parts: object) -> str:
    """An id that follows from what it names (D7)."""
    return str(uuid.uuid5(NAMESPACE, "|".join(map(str, parts))))


def state_changed(
    line: LineInfo, row: StateRow, previous: str, at: datetime, revision: int
) -> Outgoing:
    """The line is in the state of `row` since its start; `at`: when that was known."""
    data: dict[str, object] = {
        "line": line.path,
        "state": row.state,
        "previous": previous,
        "unit": row.unit,
        "reason": row.reason,
        "since": to_iso(row.started_at),
    }
    return _outgoing(line, LINE_STATE_CHANGED, line.id, at, data, revision)


def stop_event(line: LineInfo, row: StopRow, revision: int) -> Outgoing:
    """A stop began, or ended where `ended_at` is given."""
    ended = row.ended_at
    data: dict[str, object] = {
        "line": line.path,
        "stop": row.id,
        "state": row.state,
        "unit": row.unit,
        "reason_code": row.reason_code,
        "reason": row.reason,
        "started_at": to_iso(row.started_at),
        "ended_at": to_iso(ended),
        "duration_s": None if ended is None else (ended - row.started_at).total_seconds(),
    }
    if ended is None:
        return _outgoing(line, LINE_STOP_STARTED, line.id, row.started_at, data, revision)
    return _outgoing(line, LINE_STOP_ENDED, line.id, ended, data, revision)


def alarm_event(line: LineInfo, signal: SignalInfo, row: AlarmRow) -> Outgoing:
    """An alarm was raised, or cleared where `cleared_at` is given."""
    data: dict[str, object] = {
        "alarm": row.id,
        "line": line.path,
        "signal": row.signal,
        "path": signal.path,
        "priority": row.priority,
        "message": row.message,
        "action": row.action,
        "value": row.value,
        "limit": row.limit,
        "raised_at": to_iso(row.raised_at),
        "cleared_at": to_iso(row.cleared_at),
    }
    kind, at = (
        (LINE_ALARM_RAISED, row.raised_at)
        if row.cleared_at is None
        else (LINE_ALARM_CLEARED, row.cleared_at)
    )
    event = make_event(
        kind,
        source=SOURCE,
        subject=row.asset,
        owner=line.owner,
        time=at,
        data=data,
        revision=uuid.UUID(row.id).int % 2**31,  # two signals of a unit may rise at one time
    )
    return Outgoing(LINE_EVENTS, line.path, event)


def kpi_event(line: LineInfo, row: KpiRow, revision: int) -> Outgoing:
    """The shift's figures."""
    data: dict[str, object] = {
        "line": line.path,
        "shift_start": to_iso(row.shift_start),
        "shift_end": to_iso(row.shift_end),
        "shift": row.shift,
        "planned_busy_s": row.planned_busy_s,
        "production_s": row.production_s,
        "no_data_s": row.no_data_s,
        "good": row.good,
        "scrap": row.scrap,
        "target": row.target,
        "availability": row.availability,
        "effectiveness": row.effectiveness,
        "quality": row.quality,
        "oee": row.oee,
        "computed_at": to_iso(row.computed_at),
        "counts_from": to_iso(row.counts_from),
        "bridged": row.bridged,
        "note": row.note,
    }
    return _outgoing(line, LINE_KPI_UPDATED, line.id, row.computed_at, data, revision)


def _outgoing(
    line: LineInfo, kind: str, subject: str, at: datetime, data: dict[str, object], revision: int
) -> Outgoing:
    event = make_event(
        kind,
        source=SOURCE,
        subject=subject,
        owner=line.owner,
        time=at,
        data=data,
        revision=revision,
    )
    return Outgoing(LINE_EVENTS, line.path, event)
