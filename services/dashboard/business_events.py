"""Business events into the live picture: CloudEvents of line_health, maintenance and capacity.
Pure; called by feed.py."""

from __future__ import annotations

from datetime import datetime
from typing import Any

from aurelian.events import schemas
from aurelian.events.cloudevent import Event, EventError
from aurelian.model.time import to_ms
from dashboard.live import LivePlant
from dashboard.records import Body, Message


def apply_event(plant: LivePlant, event: Event) -> list[Message]:
    """Fold one event; kinds that no page shows give nothing.

    Raises:
        EventError: its data lacks what its type promises.
    """
    try:
        return _apply(plant, event)
    except (KeyError, ValueError, TypeError) as error:
        raise EventError(f"{event.type} {event.id}: {error!r}") from error


def _apply(plant: LivePlant, event: Event) -> list[Message]:
    data: dict[str, Any] = event.data
    match event.type:
        case schemas.LINE_STATE_CHANGED:
            return plant.findings.put_state(
                {
                    "line": event.subject,
                    "state": data["state"],
                    "unit": data.get("unit"),
                    "reason": data.get("reason") or "",
                    "since": ms_of(data["since"]),
                }
            )
        case schemas.LINE_STOP_STARTED | schemas.LINE_STOP_ENDED:
            ended = event.type == schemas.LINE_STOP_ENDED
            return [Message("stop", {"line": event.subject, "stop": data["stop"], "ended": ended})]
        case schemas.LINE_ALARM_RAISED:
            return plant.findings.raise_alarm(alarm_body(event.subject, data))
        case schemas.LINE_ALARM_CLEARED:
            return plant.findings.clear_alarm(str(data["alarm"]))
        case schemas.LINE_KPI_UPDATED:
            return plant.findings.put_kpi(kpi_body(event.subject, data))
        case schemas.MAINTENANCE_HEALTH_UPDATED:
            return plant.findings.put_health(
                {
                    "asset": event.subject,
                    "index": data["index"],
                    "score": data["score"],
                    "drivers": data.get("drivers") or [],
                    "at": to_ms(event.time),
                }
            )
        case schemas.MAINTENANCE_CASE_OPENED:
            return plant.findings.put_case(event.subject, case_body(data), to_ms(event.time))
        case schemas.MAINTENANCE_CASE_CLOSED:
            return plant.findings.put_case(event.subject, None, to_ms(event.time))
        case schemas.CAPACITY_ESTIMATE_UPDATED:
            return plant.findings.put_capacity(capacity_body(event.subject, data))
        case _:
            return []


def alarm_body(asset: str, data: dict[str, Any]) -> Body:
    """An alarm as the browser gets it, from an event's data or a row of `line_health.alarm`.

    `line` may be the line's path (events) or its id (rows); pages find either.
    """
    return {
        "id": str(data.get("alarm") or data["id"]),
        "asset": asset,
        "line": data.get("line") or "",
        "signal": data.get("signal"),
        "priority": data["priority"],
        "message": data["message"],
        "action": data.get("action") or "",
        "value": data.get("value"),
        "limit": data.get("limit"),
        "raised_at": ms_of(data["raised_at"]),
    }


def kpi_body(line: str, data: dict[str, Any]) -> Body:
    """A line's figures of a shift, from an event's data or a row of `line_health.kpi`."""
    return {
        "line": line,
        "shift": data.get("shift") or "",
        "shift_start": ms_of(data["shift_start"]),
        "shift_end": ms_of(data["shift_end"]),
        **{
            name: data.get(name)
            for name in (
                "good",
                "scrap",
                "target",
                "availability",
                "effectiveness",
                "quality",
                "oee",
                "planned_busy_s",
                "production_s",
                "no_data_s",
            )
        },
        "counts_from": ms_of(data["counts_from"]) if data.get("counts_from") else None,
        "bridged": data.get("bridged") or 0,
        "note": data.get("note") or "",
        "computed_at": ms_of(data["computed_at"]),
    }


def case_body(data: dict[str, Any]) -> Body:
    """An open case, from an event's data or a row of `maintenance.case`."""
    return {
        "id": str(data.get("case") or data["id"]),
        "severity": data["severity"],
        "opened_at": ms_of(data["opened_at"]),
        "drivers": data.get("drivers") or [],
    }


def capacity_body(line: str, data: dict[str, Any]) -> Body:
    """A week's capacity, from an event's data or a row of `capacity.estimate`."""
    return {
        "line": line,
        "week_start": str(data.get("week_start") or data["week"]),
        **{
            name: data[name]
            for name in ("total", "available", "committed", "unattainable", "unit", "revision")
        },
        "p10": data.get("available_p10"),
        "p90": data.get("available_p90"),
    }


def ms_of(time: object) -> int:
    """Milliseconds since 1970 of an ISO text or an aware datetime."""
    return to_ms(time if isinstance(time, datetime) else datetime.fromisoformat(str(time)))
