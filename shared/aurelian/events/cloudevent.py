"""Business events: CloudEvents 1.0 in and out. The event outbox, its relay and the inbox are in
`outbox.py`.

Made by line_health, maintenance and capacity; read by capacity, dashboard and partner_events. Pure;
no I/O.
"""

from __future__ import annotations

import json
import uuid
from dataclasses import dataclass, field
from datetime import UTC, datetime

from aurelian.events.schemas import DATA_MODELS
from aurelian.model.plant_parts import NAMESPACE
from aurelian.model.time import to_iso


class EventError(ValueError):
    """The bytes are no CloudEvent that this platform can use; the text says why."""


@dataclass(frozen=True, slots=True)
class Event:
    """A CloudEvent.

    Attributes:
        type: one of `schemas.EVENT_TYPES`.
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

    Raises:
        ValueError: no such type, or `data` is not what its model in `schemas.py` says: a bug of the
            caller.
    """
    model = DATA_MODELS.get(type)
    if model is None:
        raise ValueError(f"{type!r} is no type of event that events/schemas.py knows")
    # Receivers may ignore members they do not know; we may not send any that no document names.
    if unknown := data.keys() - model.model_fields.keys():
        raise ValueError(f"{type}: data has {', '.join(sorted(unknown))}, which its model has not")
    model.model_validate(data)
    return Event(
        type, source, subject, owner, time, data, derive_event_id(subject, type, time, revision)
    )


def derive_event_id(subject: str, type: str, time: datetime, revision: int) -> str:
    """Return the id of the event that a subject has of a type, at a time, in a revision."""
    name = f"{subject}|{type}|{time.astimezone(UTC).isoformat()}|{revision}"
    return str(uuid.uuid5(NAMESPACE, name))


def encode_event(event: Event) -> str:
    """CloudEvents 1.0 structured JSON, keys in a fixed order."""
    return json.dumps(
        {
            "specversion": "1.0",
            "id": event.id,
            "source": event.source,
            "type": event.type,
            "subject": event.subject,
            "time": to_iso(event.time),
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
        EventError: no JSON (NaN and Infinity are none), another specversion, or a missing
            attribute.
    """
    try:
        body = json.loads(text, parse_constant=_refuse_constant)
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


def _refuse_constant(name: str) -> None:
    # Python reads them; no other reader of the event would, and a re-encoded one would be no JSON.
    raise EventError(f"{name} is no JSON")
