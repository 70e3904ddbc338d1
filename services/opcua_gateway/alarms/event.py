"""The values of an event's fields as an event, and as the MachineAlarm that is sent on. Pure;
called by watch.py."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime

from asyncua import ua

from aurelian.edge.names import readable
from aurelian.model import codec
from aurelian.model.time import to_us
from opcua_gateway.alarms.fields import CONDITION_ID, EventField
from opcua_gateway.decode.events import EventFields
from opcua_gateway.decode.values import to_value

REFRESH_START, REFRESH_END, REFRESH_REQUIRED, OVERFLOW = "i=2787", "i=2788", "i=2789", "i=3035"
"""Types of events that are about events (part 9, 5.11; part 4, 7.22.3)."""

_MOST_TEXT, _MOST_FIELDS_TEXT = 2000, 16_000
_FIRST_YEAR, _LAST_YEAR = 1602, 9998


@dataclass(frozen=True, slots=True)
class EventSaid:
    """One event of a message.

    Attributes:
        kind: node of its type.
        alarm: what it says; None: it cannot be used, `why`.
        data: as it was on the wire, where it cannot be used.
        is_nameless: it is of a condition, and does not say of which.
    """

    kind: str
    alarm: codec.MachineAlarm | None
    why: str = ""
    data: bytes = b""
    is_nameless: bool = False


class Unusable(ValueError):
    """An event that lacks what tells it from others; the text says what."""


def event_type(fields: Sequence[EventField], event: EventFields) -> str:
    """Node of the event's type, in the server's numbering; empty: it does not say."""
    for field, (value, _) in zip(fields, event.values, strict=False):
        if field.key == "EventType" and isinstance(value, ua.NodeId):
            return str(value.to_string())
    return ""


def source_node(fields: Sequence[EventField], event: EventFields) -> ua.NodeId | None:
    """Node that the event is about."""
    for field, (value, _) in zip(fields, event.values, strict=False):
        if field.key == "SourceNode" and isinstance(value, ua.NodeId):
            return value
    return None


def is_nameless(fields: Sequence[EventField], event: EventFields) -> bool:
    """Whether the event has what only conditions have, and not the condition's node."""
    has = {f.key: value for f, (value, _) in zip(fields, event.values, strict=False) if not f.own}
    node = has.get(CONDITION_ID)
    if isinstance(node, ua.NodeId) and not node.is_null():
        return False
    return any(isinstance(has.get(key), bool) for key in ("Retain", "ActiveState/Id"))


def to_alarm(
    fields: Sequence[EventField], event: EventFields, namespaces: Sequence[str]
) -> codec.MachineAlarm:
    """The event, without its place in the plant.

    Raises:
        Unusable: it has fewer values than were asked for, or no type.
    """
    if len(event.values) != len(fields):
        raise Unusable(f"it has {len(event.values)} fields, {len(fields)} were asked for")
    has = {f.key: value for f, (value, _) in zip(fields, event.values, strict=True) if not f.own}
    kind = has.get("EventType")
    if not isinstance(kind, ua.NodeId):
        raise Unusable("it does not say of which type it is")
    condition, branch = has.get(CONDITION_ID), has.get("BranchId")
    severity = has.get("Severity")
    made = codec.MachineAlarm(
        code=_text(has.get("ConditionName")) or _name_of(kind, namespaces),
        message=_text(has.get("Message")),
        severity=min(max(severity, 0), 1000) if isinstance(severity, int) else 0,
        source_time=_time(has.get("Time")),
        condition=_node(condition, namespaces),
        branch=_node(branch, namespaces),
        event_type=_node(kind, namespaces),
        source_node=_node(has.get("SourceNode"), namespaces),
        source_name=_text(has.get("SourceName")),
        comment=_text(has.get("Comment")),
        fields=_further(fields, event),
    )
    for name, key in _FLAGS:
        if isinstance(flag := has.get(key), bool):
            setattr(made, name, flag)
    shelving = has.get("ShelvingState/CurrentState")
    if isinstance(shelving, ua.LocalizedText) and shelving.Text:
        made.shelved = shelving.Text.lower() != "unshelved"
    elif has.get("SuppressedOrShelved") is True and not (made.suppressed or made.out_of_service):
        made.suppressed = True
    if isinstance(quality := has.get("Quality"), ua.StatusCode):
        made.quality = quality.value
    if made.condition:
        _set_state(made, has)
    made.event_id = _id(has.get("EventId"), made)
    return made


_FLAGS = (
    ("enabled", "EnabledState/Id"),
    ("acked", "AckedState/Id"),
    ("confirmed", "ConfirmedState/Id"),
    ("suppressed", "SuppressedState/Id"),
    ("out_of_service", "OutOfServiceState/Id"),
)


def _set_state(made: codec.MachineAlarm, has: Mapping[str, object]) -> None:
    """Active and of interest. A condition that is no alarm is active while it is of interest; a
    server that does not say what is of interest means what is active or not acknowledged."""
    active, retain = has.get("ActiveState/Id"), has.get("Retain")
    if made.HasField("enabled") and not made.enabled:
        return
    if isinstance(retain, bool):
        made.retain = retain
    else:
        made.retain = active is True or (made.HasField("acked") and not made.acked)
    made.active = active if isinstance(active, bool) else made.retain


def _id(given: object, made: codec.MachineAlarm) -> bytes:
    """The event's id; one that has none is known by its content."""
    if isinstance(given, bytes) and given:
        return given[:256]
    return hashlib.sha256(made.SerializeToString(deterministic=True)).digest()[:16]


def _further(fields: Sequence[EventField], event: EventFields) -> str:
    found: dict[str, object] = {}
    for field, (value, kind) in zip(fields, event.values, strict=True):
        if not field.own or value is None:
            continue
        if isinstance(value, ua.StatusCode) and not value.is_good():
            continue  # in place of what the event does not have
        plain, of_type = to_value(value, kind)
        if of_type.name == "JSON" and isinstance(plain, str):
            plain = json.loads(plain)
        elif isinstance(plain, bytes):
            plain = plain.hex()
        elif isinstance(plain, float) and plain - plain != 0:  # NaN, infinity
            plain = None
        found[readable(field.key)] = plain
    if not found:
        return ""
    text = json.dumps(found, ensure_ascii=True, separators=(",", ":"), allow_nan=False)
    while len(text) > _MOST_FIELDS_TEXT:
        largest = max(found, key=lambda key: len(json.dumps(found[key])))
        if found[largest] == "(too long)":
            return ""
        found[largest] = "(too long)"
        text = json.dumps(found, ensure_ascii=True, separators=(",", ":"))
    return text


def _text(value: object) -> str:
    if isinstance(value, ua.LocalizedText | ua.QualifiedName):
        value = value.Text if isinstance(value, ua.LocalizedText) else value.Name
    if not isinstance(value, str):
        return ""
    # Bytes that are no UTF-8 come as half surrogates.
    return readable(value, _MOST_TEXT)


def _time(value: object) -> int:
    if not isinstance(value, datetime) or not _FIRST_YEAR <= value.year <= _LAST_YEAR:
        return 0
    return to_us(value if value.tzinfo else value.replace(tzinfo=UTC))


def _node(value: object, namespaces: Sequence[str]) -> str:
    if not isinstance(value, ua.NodeId) or value.is_null():
        return ""
    text = value.to_string()
    if 0 < value.NamespaceIndex < len(namespaces):
        text = f"nsu={namespaces[value.NamespaceIndex]};{text.partition(';')[2]}"
    return readable(text)


def _name_of(kind: ua.NodeId, namespaces: Sequence[str]) -> str:
    if kind.NamespaceIndex == 0 and isinstance(kind.Identifier, int):
        return str(ua.ObjectIdNames.get(kind.Identifier, kind.to_string()))
    return _node(kind, namespaces)
