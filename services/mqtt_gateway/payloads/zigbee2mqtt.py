"""Payload `zigbee2mqtt`: `zigbee2mqtt/<friendly name>`, whose name may have slashes, with
`…/availability` of each device and `zigbee2mqtt/bridge/state` of the bridge."""

from __future__ import annotations

from collections.abc import Sequence

from mqtt_gateway.json_payload import Unreadable, flat_members
from mqtt_gateway.payloads.bare import field_of_text, json_or_text, with_words
from mqtt_gateway.payloads.contract import (
    ASIDE,
    Context,
    DeviceState,
    Message,
    Part,
    Presence,
)

_TO_DEVICES = ("set", "get")


def decode(message: Message, context: Context) -> Sequence[Part]:
    """A device's state, or one of its attributes as a bare value; `last_seen` is the time."""
    rest = message.places.get("signal", "").strip("/")
    levels = [context.unit, *filter(None, rest.split("/"))]
    content = json_or_text(message.payload)
    if levels[0].rpartition("/")[2] == "bridge":
        if levels[1:] == ["state"] and _word(content) == "offline":
            state = DeviceState(Presence.LOST, "the bridge is offline", everyone=True)
            return (Part(state=state),)
        return ASIDE
    if levels[-1] == "availability":
        word = _word(content)
        presence = Presence.ONLINE if word == "online" else Presence.LOST
        return (Part(unit="/".join(levels[:-1]), state=DeviceState(presence, word)),)
    if len(levels) > 1 and (levels[-1] in _TO_DEVICES or levels[-2] in _TO_DEVICES):
        return ASIDE
    if not isinstance(content, dict):
        if len(levels) == 1:
            raise Unreadable("neither a device's state nor one of its attributes")
        unit, name = "/".join(levels[:-1]), levels[-1]
        kind = context.declared(unit).get(name)
        if isinstance(content, str):
            return (Part([field_of_text(name, content, kind)], unit),)
        return (Part(list(flat_members(name, content)), unit),)
    unit = "/".join(levels)
    declared = context.declared(unit)
    time, flags = context.time(content.get("last_seen"), unit)
    values = {name: value for name, value in content.items() if name != "last_seen"}
    members = flat_members("", values, time, flags, declared=declared)
    return (Part(list(with_words(members, declared)), unit),)


def _word(content: object) -> str:
    """`online` or `offline`, alone or as `state` of an object."""
    found = content.get("state") if isinstance(content, dict) else content
    return str(found).strip().casefold()[:60]
