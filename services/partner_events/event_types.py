"""What each event type carries in `data`: the source of the AsyncAPI document and of its examples.
Pure."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import date, datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from aurelian.events import cloudevent as events
from aurelian.model.plant_parts import LineState

LINE = "pilot-a/north/machining/line-1"
AT = "2026-11-23T06:12:04Z"


class _Content(BaseModel):
    """Receivers ignore members that they do not know: a later version of the same type may add
    some."""

    model_config = ConfigDict(extra="allow")


class StateChanged(_Content):
    """A line's state changed."""

    line: str = Field(description="ISA-95 path of the line")
    state: LineState
    previous: LineState | None
    unit: str | None = Field(description="id of the unit that caused it")
    reason: str
    since: datetime


class Stop(_Content):
    """A line stopped, or runs again."""

    line: str
    stop: UUID
    state: LineState
    unit: str | None
    reason_code: int | None
    reason: str
    started_at: datetime
    ended_at: datetime | None
    duration_s: float | None


class Alarm(_Content):
    """A signal left its limits, or came back."""

    alarm: UUID
    line: str
    signal: str = Field(description="id of the signal")
    path: str
    priority: Literal["high", "medium", "low"]
    message: str
    action: str = Field(description="what the operator shall do")
    value: float | None
    limit: float | None
    raised_at: datetime
    cleared_at: datetime | None


class Kpi(_Content):
    """Figures of the running shift, ISO 22400-2; ratios are null where the denominator is zero."""

    line: str
    shift: str
    shift_start: datetime
    shift_end: datetime
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


class Driver(_Content):
    """A signal that moves a health figure."""

    signal: str
    path: str
    share: float
    value: float | None
    baseline: float | None


class Health(_Content):
    """A machine's health index: 1 as new, 0 failed."""

    asset: str
    index: float
    score: float = Field(description="anomaly score; 1 is the alarm threshold")
    drivers: list[Driver]


class Case(_Content):
    """A maintenance case was opened or closed."""

    asset: str
    case: UUID
    severity: Literal["medium", "high"]
    score: float
    index: float
    drivers: list[Driver]
    expected_down_s: float
    opened_at: datetime
    closed_at: datetime | None


class Reason(_Content):
    """Why a part of the capacity is unattainable."""

    reason: str
    quantity: float


class Estimate(_Content):
    """Capacity of a line in an ISO week, ISA-95: total = available + committed + unattainable."""

    line: str
    week: str = Field(pattern=r"^[0-9]{4}-W[0-9]{2}$")
    week_start: date = Field(description="Monday of the week in the site's time zone")
    total: float
    available: float
    committed: float
    unattainable: float
    available_p10: float | None
    available_p90: float | None
    unit: str
    previous_available: float | None
    reasons: list[Reason]
    method: str
    data_time: datetime | None
    revision: int


@dataclass(frozen=True, slots=True)
class EventType:
    """One type of event.

    Attributes:
        name: the CloudEvents `type`.
        content: model of `data`.
        summary: one line.
        example: a valid `data`.
    """

    name: str
    content: type[BaseModel]
    summary: str
    example: dict[str, object]


_STOP: dict[str, object] = {
    "line": LINE,
    "stop": "0d0c1c0e-2f6e-5a36-9c67-1f6a2f1f7a11",
    "state": "down",
    "unit": "a-1f2e",
    "reason_code": 12,
    "reason": "Tool broken",
    "started_at": AT,
    "ended_at": None,
    "duration_s": None,
}
_ALARM: dict[str, object] = {
    "alarm": "5f2b8a0e-6c3e-5b0e-8f50-0f6f6f0a1c22",
    "line": LINE,
    "signal": "s-77ab",
    "path": f"{LINE}/lathe/spindle-temperature",
    "priority": "high",
    "message": "spindle-temperature 92.4 Cel is above 90",
    "action": "Check the coolant flow",
    "value": 92.4,
    "limit": 90.0,
    "raised_at": AT,
    "cleared_at": None,
}
_DRIVER = {
    "signal": "s-19cc",
    "path": f"{LINE}/lathe/vibration",
    "share": 0.8,
    "value": 6.1,
    "baseline": 2.3,
}
_CASE: dict[str, object] = {
    "asset": f"{LINE}/lathe",
    "case": "b7d5c3a1-8a8e-5d7d-9a50-6f2f3a1c2d33",
    "severity": "high",
    "score": 1.7,
    "index": 0.42,
    "drivers": [_DRIVER],
    "expected_down_s": 14400.0,
    "opened_at": AT,
    "closed_at": None,
}

TYPES = (
    EventType(
        events.LINE_STATE_CHANGED,
        StateChanged,
        "a line's state changed",
        {
            "line": LINE,
            "state": "down",
            "previous": "running",
            "unit": "a-1f2e",
            "reason": "Tool broken",
            "since": AT,
        },
    ),
    EventType(events.LINE_STOP_STARTED, Stop, "a line stopped", _STOP),
    EventType(
        events.LINE_STOP_ENDED,
        Stop,
        "a stopped line runs again",
        {**_STOP, "ended_at": "2026-11-23T06:20:04Z", "duration_s": 480.0},
    ),
    EventType(events.LINE_ALARM_RAISED, Alarm, "a signal left its limits", _ALARM),
    EventType(
        events.LINE_ALARM_CLEARED,
        Alarm,
        "a signal is within its limits again",
        {**_ALARM, "cleared_at": "2026-11-23T06:31:40Z"},
    ),
    EventType(
        events.LINE_KPI_UPDATED,
        Kpi,
        "figures of the running shift",
        {
            "line": LINE,
            "shift": "early",
            "shift_start": "2026-11-23T05:00:00Z",
            "shift_end": "2026-11-23T13:00:00Z",
            "planned_busy_s": 4324.0,
            "production_s": 3890.0,
            "no_data_s": 0.0,
            "good": 372.0,
            "scrap": 5.0,
            "target": 432.0,
            "availability": 0.9,
            "effectiveness": 0.97,
            "quality": 0.987,
            "oee": 0.861,
            "computed_at": AT,
        },
    ),
    EventType(
        events.MAINTENANCE_HEALTH_UPDATED,
        Health,
        "a machine's health changed",
        {"asset": f"{LINE}/lathe", "index": 0.71, "score": 0.64, "drivers": [_DRIVER]},
    ),
    EventType(events.MAINTENANCE_CASE_OPENED, Case, "a machine needs maintenance", _CASE),
    EventType(
        events.MAINTENANCE_CASE_CLOSED,
        Case,
        "a maintenance case is closed",
        {**_CASE, "closed_at": "2026-11-24T09:00:00Z"},
    ),
    EventType(
        events.CAPACITY_ESTIMATE_UPDATED,
        Estimate,
        "a line's capacity of a week changed",
        {
            "line": LINE,
            "week": "2026-W48",
            "week_start": "2026-11-23",
            "total": 40000.0,
            "available": 21000.0,
            "committed": 15000.0,
            "unattainable": 4000.0,
            "available_p10": None,
            "available_p90": None,
            "unit": "{piece}",
            "previous_available": 23500.0,
            "reasons": [{"reason": "predicted downtime", "quantity": 4000.0}],
            "method": "net-time-1",
            "data_time": AT,
            "revision": 7,
        },
    ),
)

TEST_TYPE = "org.aurelian.partner-events.test.v1"
"""What the route `test` sends; it is in no log and has no number."""
