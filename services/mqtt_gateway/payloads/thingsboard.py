"""Payload `thingsboard`: the device API (`v1/devices/me/telemetry`, `…/attributes`) and the gateway
API (`v1/gateway/telemetry`, `attributes`, `connect`, `disconnect`) of ThingsBoard.

Times are `ts`, milliseconds. The device API names no device, so it is the source's only unit; the
gateway API names several in one message.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from aurelian.model.sample import ValueType
from mqtt_gateway.json_payload import Broken, Field, Unreadable, flat_members, parse_json
from mqtt_gateway.payloads.bare import object_of
from mqtt_gateway.payloads.contract import (
    ASIDE,
    Context,
    DeviceState,
    Message,
    Part,
    Presence,
)


def decode(message: Message, context: Context) -> Sequence[Part]:
    """Telemetry and attributes of one device or of several."""
    of_gateway = message.topic.split("/")[-2:-1] == ["gateway"]
    what = message.topic.rpartition("/")[2]
    if what in ("connect", "disconnect") and of_gateway:
        device = object_of(message.payload).get("device")
        if not isinstance(device, str):
            raise Unreadable("`device` is missing")
        presence = Presence.ONLINE if what == "connect" else Presence.OFFLINE
        return (Part(unit=device, state=DeviceState(presence, f"gateway: {what}")),)
    if what not in ("telemetry", "attributes"):
        return ASIDE
    content = parse_json(message.payload)
    if not of_gateway:
        declared = context.declared(context.unit)
        return (Part(list(_entries(content, declared))),)
    if not isinstance(content, dict):
        raise Unreadable("an object with a member for each device is expected")
    return [
        Part(list(_entries(entries, context.declared(device))), device)
        for device, entries in content.items()
    ]


def _entries(content: object, declared: Mapping[str, ValueType]) -> Iterator[Field | Broken]:
    """`{key: value}`, `{"ts": …, "values": {…}}`, or an array of them."""
    for entry in content if isinstance(content, list) else [content]:
        if not isinstance(entry, dict):
            raise Unreadable(f"an object of values is expected, not {type(entry).__name__}")
        values, time = entry, None
        if "ts" in entry and isinstance(entry.get("values"), dict):
            values, time = entry["values"], _milliseconds(entry["ts"])
        yield from flat_members("", values, time, declared=declared)


def _milliseconds(found: object) -> int | None:
    if isinstance(found, bool) or not isinstance(found, (int, float)):
        return None
    try:
        return round(found * 1_000)
    except (OverflowError, ValueError):
        return None
