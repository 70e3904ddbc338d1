"""What each type of business event carries in `data`: one model per type. Pure.

`cloudevent.make_event` checks every event against its model; partner_events generates the AsyncAPI
document from them.
"""

from __future__ import annotations

from datetime import date, datetime
from typing import Literal
from uuid import UUID

from pydantic import BaseModel, ConfigDict, Field

from aurelian.model.plant_parts import LineState

LINE_STATE_CHANGED = "org.aurelian.line.state-changed.v1"
LINE_STOP_STARTED = "org.aurelian.line.stop-started.v1"
LINE_STOP_ENDED = "org.aurelian.line.stop-ended.v1"
LINE_ALARM_RAISED = "org.aurelian.line.alarm-raised.v1"
LINE_ALARM_CLEARED = "org.aurelian.line.alarm-cleared.v1"
LINE_KPI_UPDATED = "org.aurelian.line.kpi-updated.v1"
MAINTENANCE_HEALTH_UPDATED = "org.aurelian.maintenance.health-updated.v1"
MAINTENANCE_CASE_OPENED = "org.aurelian.maintenance.case-opened.v1"
MAINTENANCE_CASE_CLOSED = "org.aurelian.maintenance.case-closed.v1"
CAPACITY_ESTIMATE_UPDATED = "org.aurelian.capacity.estimate-updated.v1"


class EventData(BaseModel):
    """Content of one type of event. Receivers ignore members that they do not know."""

    model_config = ConfigDict(extra="allow")


class LineStateChanged(EventData):
    """A line's state changed."""

    line: str = Field(description="ISA-95 path of the line")
    state: LineState
    previous: LineState | None
    unit: str | None = Field(description="id of the unit that caused it")
    reason: str
    since: datetime


class LineStop(EventData):
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


class LineAlarm(EventData):
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


class LineKpi(EventData):
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
    counts_from: datetime | None = Field(
        None, description="since when the figures count: the shift's start, or later"
    )
    bridged: float = Field(0, description="pieces that were made while no data came")
    note: str = Field("", description="why a figure cannot be as it is")


class HealthDriver(EventData):
    """A signal that moves a health figure."""

    signal: str
    path: str
    share: float
    value: float | None
    baseline: float | None


class MachineHealth(EventData):
    """A machine's health index: 1 as new, 0 failed."""

    asset: str
    index: float
    score: float = Field(description="anomaly score; 1 is the alarm threshold")
    drivers: list[HealthDriver]


class MaintenanceCase(EventData):
    """A maintenance case was opened or closed."""

    asset: str
    case: UUID
    severity: Literal["medium", "high"]
    score: float
    index: float
    drivers: list[HealthDriver]
    expected_down_s: float
    opened_at: datetime
    closed_at: datetime | None
    reason: str = Field("", description="why it is open, for people")


class UnattainableReason(EventData):
    """Why a part of the capacity is unattainable."""

    reason: str
    quantity: float


class CapacityEstimate(EventData):
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
    reasons: list[UnattainableReason]
    method: str
    data_time: datetime | None
    revision: int


DATA_MODELS: dict[str, type[EventData]] = {
    LINE_STATE_CHANGED: LineStateChanged,
    LINE_STOP_STARTED: LineStop,
    LINE_STOP_ENDED: LineStop,
    LINE_ALARM_RAISED: LineAlarm,
    LINE_ALARM_CLEARED: LineAlarm,
    LINE_KPI_UPDATED: LineKpi,
    MAINTENANCE_HEALTH_UPDATED: MachineHealth,
    MAINTENANCE_CASE_OPENED: MaintenanceCase,
    MAINTENANCE_CASE_CLOSED: MaintenanceCase,
    CAPACITY_ESTIMATE_UPDATED: CapacityEstimate,
}
"""The model of each type's `data`. A new type of event is a row here."""

EVENT_TYPES = tuple(DATA_MODELS)
