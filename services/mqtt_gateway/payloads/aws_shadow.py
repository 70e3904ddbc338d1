"""Payload `aws_shadow`: shadows of AWS IoT things, `$aws/things/<thing>/shadow/…`, and their
life-cycle events `$aws/events/presence/<what>/<thing>`.

What the thing reported is read, each member with the time that the shadow's metadata has for it
(seconds); what is desired of it is no value. Members of a named shadow are `<shadow>.<member>`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence

from aurelian.model.sample import ValueType
from mqtt_gateway.json_payload import Broken, Field, Unreadable, join_names, make_field
from mqtt_gateway.payloads.bare import object_of
from mqtt_gateway.payloads.contract import (
    ASIDE,
    Context,
    DeviceState,
    Message,
    Part,
    Presence,
)

_SHADOW = re.compile(
    r"(?:.*/)?shadow/(?:name/(?P<name>[^/]+)/)?(?P<what>update|get)(?:/(?P<how>[a-z]+))?", re.DOTALL
)
_DEEPEST = 32


def decode(message: Message, context: Context) -> Sequence[Part]:
    """Reported state of `update`, `update/accepted`, `update/documents` and `get/accepted`."""
    if "/presence/" in message.topic:
        return _presence(message)
    found = _SHADOW.fullmatch(message.topic)
    how = found["how"] if found is not None else ""
    if found is None or (found["what"] == "get" and how != "accepted"):
        return ASIDE
    if how not in (None, "accepted", "documents"):
        return ASIDE  # delta: what is desired; rejected: an answer to somebody
    document = object_of(message.payload)
    if how == "documents":
        current = document.get("current")
        if not isinstance(current, dict):
            raise Unreadable("a document of a shadow without `current`")
        document = {"timestamp": document.get("timestamp"), **current}
    state, metadata = document.get("state"), document.get("metadata")
    reported = state.get("reported") if isinstance(state, dict) else None
    if not isinstance(reported, dict):
        return ASIDE
    times = metadata.get("reported") if isinstance(metadata, dict) else None
    walk = _Walk(context, message.topic, context.declared(context.unit))
    shadow = found["name"] or ""
    base = walk.time(document.get("timestamp"))
    members = [
        member
        for name, value in reported.items()
        for member in walk.members(join_names(shadow, name), value, _below(times, name), base, 0)
    ]
    return (Part(members, is_aside=True),)


class _Walk:
    """Through reported state and its metadata, side by side."""

    def __init__(self, context: Context, topic: str, declared: Mapping[str, ValueType]) -> None:
        self._context, self._topic, self._declared = context, topic, declared

    def members(
        self, name: str, value: object, times: object, time: int | None, depth: int
    ) -> Iterator[Field | Broken]:
        if isinstance(times, dict) and "timestamp" in times and not isinstance(value, dict):
            time = self.time(times["timestamp"]) or time
        if (
            isinstance(value, dict)
            and depth < _DEEPEST
            and self._declared.get(name) is not ValueType.JSON
        ):
            for key, each in value.items():
                yield from self.members(
                    join_names(name, key), each, _below(times, key), time, depth + 1
                )
            return
        if isinstance(value, (dict, list)):
            time = max(filter(None, map(self.time, _timestamps(times, 0))), default=time)
        yield make_field(name, value, time)

    def time(self, found: object) -> int | None:
        return self._context.time(found, self._topic)[0]


def _below(times: object, name: str) -> object:
    return times.get(name) if isinstance(times, dict) else None


def _timestamps(times: object, depth: int) -> Iterator[object]:
    if depth > _DEEPEST:
        return
    if isinstance(times, dict):
        for key, each in times.items():
            if key == "timestamp" and not isinstance(each, (dict, list)):
                yield each
            else:
                yield from _timestamps(each, depth + 1)
    elif isinstance(times, list):
        for each in times:
            yield from _timestamps(each, depth + 1)


def _presence(message: Message) -> Sequence[Part]:
    event = object_of(message.payload)
    match event.get("eventType"):
        case "connected":
            return (Part(state=DeviceState(Presence.ONLINE, "connected")),)
        case "disconnected":
            asked = event.get("clientInitiatedDisconnect") is True
            presence = Presence.OFFLINE if asked else Presence.LOST
            why = str(event.get("disconnectReason") or "disconnected")[:100]
            return (Part(state=DeviceState(presence, why)),)
    return ASIDE
