"""An example of each type of event, with its summary: for the AsyncAPI document. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from aurelian.events import schemas as events

LINE = "pilot-a/north/machining/line-1"
AT = "2026-11-23T06:12:04Z"


@dataclass(frozen=True, slots=True)
class EventType:
    """One type of event.

    Attributes:
        name: the CloudEvents `type`.
        summary: one line.
        example: a valid `data`.
    """

    name: str
    summary: str
    example: dict[str, object]

    @property
    def content(self) -> type[events.EventData]:
        """Model of `data`."""
        return events.DATA_MODELS[self.name]


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
    EventType(events.LINE_STOP_STARTED, "a line stopped", _STOP),
    EventType(
        events.LINE_STOP_ENDED,
        "a stopped line runs again",
        {**_STOP, "ended_at": "2026-11-23T06:20:04Z", "duration_s": 480.0},
    ),
    EventType(events.LINE_ALARM_RAISED, "a signal left its limits", _ALARM),
    EventType(
        events.LINE_ALARM_CLEARED,
        "a signal is within its limits again",
        {**_ALARM, "cleared_at": "2026-11-23T06:31:40Z"},
    ),
    EventType(
        events.LINE_KPI_UPDATED,
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
        "a machine's health changed",
        {"asset": f"{LINE}/lathe", "index": 0.71, "score": 0.64, "drivers": [_DRIVER]},
    ),
    EventType(events.MAINTENANCE_CASE_OPENED, "a machine needs maintenance", _CASE),
    EventType(
        events.MAINTENANCE_CASE_CLOSED,
        "a maintenance case is closed",
        {**_CASE, "closed_at": "2026-11-24T09:00:00Z"},
    ),
    EventType(
        events.CAPACITY_ESTIMATE_UPDATED,
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
