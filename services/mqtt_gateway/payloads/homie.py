"""Payload `homie`: the Homie convention, versions 3 and 4 (`homie/<device>/<node>/<property>`) and
5 (`homie/5/<device>/<node>/<property>`).

The address is `<node>/<property>`. `$datatype` (3, 4) and `$description` (5) say what a payload is;
before they came, and for what the plant file declares, its look does. `$state` says how the device
is: lost is its last will.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from aurelian.model.sample import ValueType
from mqtt_gateway.payloads.bare import field_of_text, object_of, text_of
from mqtt_gateway.payloads.contract import (
    ASIDE,
    Context,
    DeviceState,
    Message,
    Part,
    Presence,
)

_TYPES = {
    "string": ValueType.TEXT,
    "enum": ValueType.TEXT,
    "color": ValueType.TEXT,
    "datetime": ValueType.TEXT,
    "duration": ValueType.TEXT,
    "boolean": ValueType.BOOL,
    "integer": ValueType.INT64,
    "float": ValueType.DOUBLE,
    "percent": ValueType.DOUBLE,
    "json": ValueType.JSON,
}
_STATES = {
    "ready": Presence.ONLINE,
    "alert": Presence.ONLINE,
    "sleeping": Presence.OFFLINE,
    "disconnected": Presence.OFFLINE,
    "lost": Presence.LOST,
}
_VERSION = re.compile(r"[5-9]")


def decode(message: Message, context: Context) -> Sequence[Part]:
    """A property's value, a device's state, or what describes them."""
    levels = [context.unit, *message.places.get("signal", "").strip("/").split("/")]
    head, _, last = levels[0].rpartition("/")
    if _VERSION.fullmatch(last) and len(levels) > 1:
        levels = [f"{head}/{levels[1]}" if head else levels[1], *levels[2:]]
    unit, path = levels[0], "/".join(levels[1:])
    text = text_of(message.payload)
    if path in ("$state", "$online"):
        word = text.strip().casefold()
        if path == "$online":
            word = "ready" if word == "true" else "lost"
        presence = _STATES.get(word)
        if presence is None:
            return ASIDE  # init: it says more in a moment
        return (Part(unit=unit, state=DeviceState(presence, f"$state is {word}")),)
    key = f"homie\0{unit}\0"
    if path.endswith("/$datatype"):
        kind = _TYPES.get(text.strip())
        if kind is not None:
            context.memory.put(key + path.removesuffix("/$datatype"), kind)
        return ASIDE
    if path == "$description":
        _learn(object_of(message.payload), key, context)
        return ASIDE
    if "$" in path or path.endswith("/set") or "/" not in path:
        return ASIDE
    kind = context.declared(unit).get(path) or context.memory.get(key + path, ValueType)
    if text == "\0":
        text, kind = "", kind or ValueType.TEXT  # how version 5 writes an empty text
    return (Part([field_of_text(path, text, kind)], unit),)


def _learn(description: dict[str, object], key: str, context: Context) -> None:
    nodes = description.get("nodes")
    for node, about in nodes.items() if isinstance(nodes, dict) else ():
        properties = about.get("properties") if isinstance(about, dict) else None
        for name, what in properties.items() if isinstance(properties, dict) else ():
            datatype = what.get("datatype") if isinstance(what, dict) else None
            kind = _TYPES.get(datatype) if isinstance(datatype, str) else None
            if kind is not None:
                context.memory.put(f"{key}{node}/{name}", kind)
