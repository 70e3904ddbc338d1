"""Business events: CloudEvents 1.0 in and out. The event outbox, its relay and the inbox are in
`eventlog.py`.

Made by line_health, maintenance and capacity; read by capacity, dashboard and partner_events. Pure;
no I/O.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime

from aurelian.model.plant_parts import NAMESPACE

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

EVENT_TYPES = (
    LINE_STATE_CHANGED,
    LINE_STOP_STARTED,
    LINE_STOP_ENDED,
    LINE_ALARM_RAISED,
    LINE_ALARM_CLEARED,
    LINE_KPI_UPDATED,
    MAINTENANCE_HEALTH_UPDATED,
    MAINTENANCE_CASE_OPENED,
    MAINTENANCE_CASE_CLOSED,
    CAPACITY_ESTIMATE_UPDATED,
)


class EventError(ValueError):
    """The bytes are no CloudEvent that this platform can use; the text says why."""


@dataclass(frozen=True, slots=True)
class Event:
    """A CloudEvent.

    Attributes:
        type: one of `EVENT_TYPES`.
        source: who says it, `/aurelian/<service>`.
        subject: id of the asset that it is about.
        owner: company whose data this is (extension attribute `owner`).
        time: when it happened.
        data: JSON-ready content.
        id: stable over re-deliveries; with `source` it names the event.
    """

    type: str
    source: str
    subject: str
    owner: str
    time: datetime
    data: dict[str, object] = field(hash=False)
    id: str


def make_event(
    type: str,
    *,
    source: str,
    subject: str,
    owner: str,
    time: datetime,
    data: dict[str, object],
    revision: int = 0,
) -> Event:
    """Make an event whose id follows from what it is: UUIDv5 of subject, type, time and revision
    (D7).

    Folding the same records again therefore makes the same event. `time` must be aware.
    """
    name = f"{subject}|{type}|{time.astimezone(UTC).isoformat()}|{revision}"
    return Event(type, source, subject, owner, time, data, str(uuid.uuid5(NAMESPACE, name)))


def encode_event(event: Event) -> str:
    """CloudEvents 1.0 structured JSON, keys in a fixed order."""
    return json.dumps(
        {
            "specversion": "1.0",
            "id": event.id,
            "source": event.source,
            "type": event.type,
            "subject": event.subject,
            "time": event.time.astimezone(UTC).isoformat().replace("+00:00", "Z"),
            "datacontenttype": "application/json",
            "owner": event.owner,
            "data": event.data,
        },
        separators=(",", ":"),
        allow_nan=False,
    )


def decode_event(text: str | bytes) -> Event:
    """Read a structured CloudEvent.

    Raises:
        EventError: no JSON, another specversion, or a missing attribute.
    """
    try:
        body = json.loads(text)
        if body["specversion"] != "1.0":
            raise EventError(f"specversion {body['specversion']!r}, not '1.0'")
        return Event(
            type=str(body["type"]),
            source=str(body["source"]),
            subject=str(body["subject"]),
            owner=str(body["owner"]),
            time=datetime.fromisoformat(body["time"]),
            data=dict(body["data"]),
            id=str(body["id"]),
        )
    except (ValueError, TypeError, KeyError) as error:
        raise EventError(f"no usable CloudEvent: {error!r}") from error
