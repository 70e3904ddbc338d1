"""Payload `tasmota`: firmware Tasmota, topics `tele/<device>/…` and `stat/<device>/…`.

`Time` is the device's local time without a zone, so the source's `time_zone` counts. `LWT` is its
last will: Online, Offline.
"""

from __future__ import annotations

from collections.abc import Sequence

from mqtt_gateway.json_payload import flat_members
from mqtt_gateway.payloads.bare import field_of_text, json_or_text, text_of, with_words
from mqtt_gateway.payloads.contract import (
    ASIDE,
    Context,
    DeviceState,
    Message,
    Part,
    Presence,
)

_WRAPPED = ("StatusSNS", "StatusSTS")
"""Answers to `Status 8` and `Status 11`: what SENSOR and STATE would say."""


def decode(message: Message, context: Context) -> Sequence[Part]:
    """SENSOR, STATE, RESULT and the like: members as `ENERGY.Power`; POWER: its word."""
    what = message.rest.rpartition("/")[2]
    if what == "LWT":
        word = text_of(message.payload).strip()
        presence = Presence.ONLINE if word.casefold() == "online" else Presence.LOST
        return (Part(state=DeviceState(presence, word)),)
    content = json_or_text(message.payload)
    declared = context.declared(context.unit)
    if isinstance(content, str):
        return (Part([field_of_text(what, content, declared.get(what))]),) if content else ASIDE
    if not isinstance(content, dict):
        return (Part(list(flat_members(what, content, declared=declared))),)
    for name in _WRAPPED:
        if len(content) == 1 and isinstance(content.get(name), dict):
            content = content[name]
    time, flags = context.time(content.get("Time"), message.topic)
    values = {name: value for name, value in content.items() if name != "Time"}
    return (
        Part(list(with_words(flat_members("", values, time, flags, declared=declared), declared))),
    )
