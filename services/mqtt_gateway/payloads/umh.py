"""Payload `umh`: the United Manufacturing Hub's topics and payloads.

Topic `umh/v1/<location>/_<contract>[/<virtual path>][/<name>]`; the payload is one value,
`{"value": 12.5, "timestamp_ms": 1767592800000}`, or tags beside a time,
`{"timestamp_ms": 1767592800000, "temp": 21.5, "axis": {"x": 1}}`. Virtual path and name are joined
by dots, as the hub writes them towards Kafka.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from mqtt_gateway.json_payload import Unreadable
from mqtt_gateway.payloads.contract import Context, Message, Part
from mqtt_gateway.payloads.plain_json import read_below

_NAME = re.compile(r"[A-Za-z0-9._-]+")


def decode(message: Message, context: Context) -> Sequence[Part]:
    """Read a payload of any contract; its topic must be one that the hub takes."""
    contract, rest = message.places.get("contract", ""), message.places.get("signal", "")
    levels = [*message.places.get("location", "").split("/"), contract, *rest.split("/")]
    for level in filter(None, levels):
        if _NAME.fullmatch(level) is None:
            raise Unreadable(f"topic level {level[:60]!r}: only letters, digits, `.`, `_`, `-`")
    return read_below(message, context, rest.strip("/").replace("/", "."))
