"""Payload `raw`: numbers at fixed places of a payload, as the plant file lays them out."""

from __future__ import annotations

import struct
from collections.abc import Sequence

from aurelian.model.mqtt_payloads import RawField
from mqtt_gateway.json_payload import Broken, Field, make_field
from mqtt_gateway.payloads.contract import Context, Message, Part

_FORMATS = {
    "int8": "b",
    "uint8": "B",
    "int16": "h",
    "uint16": "H",
    "int32": "i",
    "uint32": "I",
    "int64": "q",
    "uint64": "Q",
    "float32": "f",
    "float64": "d",
    "bool": "B",
}


def decode(message: Message, context: Context) -> Sequence[Part]:
    """Each number of the layout; one that the payload is too short for is refused alone."""
    return (Part([_field(each, message.payload) for each in context.entry.layout]),)


def _field(at: RawField, payload: bytes) -> Field | Broken:
    code = (">" if at.order == "big" else "<") + _FORMATS[at.type]
    end = at.offset + struct.calcsize(code)
    if end > len(payload):
        reason = f"the payload has {len(payload)} bytes, and this stands up to byte {end}"
        return Broken(at.name, reason, "unreadable")
    (value,) = struct.unpack_from(code, payload, at.offset)
    if at.type == "bool":
        return make_field(at.name, bool(value >> at.bit & 1), None)
    if at.scale != 1.0 or at.add:
        value = value * at.scale + at.add
    return make_field(at.name, value, None)
