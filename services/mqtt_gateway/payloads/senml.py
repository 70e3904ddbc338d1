"""Payload `senml`: Sensor Measurement Lists (RFC 8428) as JSON or CBOR, told by the first byte.

Base fields are resolved record by record. A name is the device's where the topic names none: of
`urn:dev:ow:10e2073a01080063` and `temp` the longer one is the unit. A time below 2^28 counts from
now; a label that ends in `_` and is not known makes the whole list unreadable (RFC 8428, 4.4).
"""

from __future__ import annotations

import base64
import binascii
import math
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from aurelian.model.time import SECOND_US
from mqtt_gateway.json_payload import Broken, Field, Unreadable, make_field, parse_json
from mqtt_gateway.payloads import cbor
from mqtt_gateway.payloads.contract import Context, Message, Part

_LABELS = {
    -1: "bver",
    -2: "bn",
    -3: "bt",
    -4: "bu",
    -5: "bv",
    -6: "bs",
    0: "n",
    1: "u",
    2: "v",
    3: "vs",
    4: "vb",
    5: "s",
    6: "t",
    7: "ut",
    8: "vd",
}
"""Labels of CBOR (RFC 8428, table 4)."""

_VALUES = ("v", "vs", "vb", "vd")
_RELATIVE = 2**28
_MOST_NAME = 600
_VERSION = 10
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9\-:./_]*")
_SEPARATORS = ":/._-"
_BRACKETS = (0x7B, 0x5B)


@dataclass(slots=True)
class _Base:
    """What holds from here on."""

    name: str = ""
    time: float = 0
    value: float = 0
    sum: float = 0


def decode(message: Message, context: Context) -> Sequence[Part]:
    """All records of a list, by device."""
    base, parts = _Base(), dict[str, list[Field | Broken]]()
    for record in _records(message.payload):
        _check(record)
        _take_base(base, record)
        name = base.name + _text(record, "n")
        if not any(each in record for each in (*_VALUES, "s")):
            continue
        if len(name) > _MOST_NAME or _NAME.fullmatch(name) is None:
            raise Unreadable(f"{name[:60]!r} is no name of SenML")
        unit, address = _split(name, base.name, context)
        for member in _members(address, record, base, context):
            parts.setdefault(unit, []).append(member)
    return [Part(members, unit) for unit, members in parts.items()]


def _records(payload: bytes) -> list[dict[str, object]]:
    begin = payload.lstrip()[:1]
    if begin and begin[0] in _BRACKETS:
        content = parse_json(payload)
    else:
        content = cbor.to_plain(payload, number_keys=True)
    if not isinstance(content, list) or not all(isinstance(each, dict) for each in content):
        raise Unreadable("a list of records is expected")
    return [
        {
            _LABELS.get(key, str(key)) if isinstance(key, int) else str(key): value
            for key, value in each.items()
        }
        for each in content
    ]


def _check(record: Mapping[str, object]) -> None:
    for label in record:
        if label.endswith("_"):
            raise Unreadable(f"the label {label[:40]!r} must be understood and is not known")
    version = record.get("bver", _VERSION)
    if not isinstance(version, int) or version > _VERSION:
        raise Unreadable(f"version {version!r:.40} of SenML; up to {_VERSION} is read")


def _take_base(base: _Base, record: Mapping[str, object]) -> None:
    if "bn" in record:
        base.name = _text(record, "bn")
    base.time = _number(record, "bt", base.time)
    base.value = _number(record, "bv", base.value)
    base.sum = _number(record, "bs", base.sum)


def _split(name: str, base: str, context: Context) -> tuple[str, str]:
    """Unit and address of a name."""
    device = base.rstrip(_SEPARATORS)
    own = name.removeprefix(base).lstrip(_SEPARATORS)
    if device and own and (not context.unit or context.declared(device)):
        return device, own
    known = context.declared(context.unit)
    return context.unit, own if own in known and name not in known else name


def _members(
    name: str, record: Mapping[str, object], base: _Base, context: Context
) -> Iterator[Field | Broken]:
    time = _time(_number(record, "t", 0) + base.time, context)
    if "v" in record:
        value = record["v"]
        if isinstance(value, bool) or not isinstance(value, (int, float)):
            yield Broken(name, f"`v` is no number but {type(value).__name__}", "type", time)
        else:
            yield make_field(name, value + base.value if base.value else value, time)
    elif "vs" in record:
        yield _typed(name, record["vs"], str, "vs", time)
    elif "vb" in record:
        yield _typed(name, record["vb"], bool, "vb", time)
    elif "vd" in record:
        yield _data(name, record["vd"], time)
    if "s" in record or base.sum:
        total = _number(record, "s", 0) + base.sum
        yield make_field(f"{name}.sum", total, time)


def _typed(name: str, value: object, kind: type, label: str, time: int | None) -> Field | Broken:
    if isinstance(value, kind):
        return make_field(name, value, time)
    return Broken(name, f"`{label}` is {type(value).__name__}", "type", time)


def _data(name: str, value: object, time: int | None) -> Field | Broken:
    if isinstance(value, bytes):
        return make_field(name, value, time)
    if isinstance(value, str):
        try:
            text = value.encode("ascii") + b"=" * (-len(value) % 4)
            return make_field(name, base64.b64decode(text, b"-_", validate=True), time)
        except (binascii.Error, UnicodeEncodeError):
            pass
    return Broken(name, "`vd` is no base64", "encoding", time)


def _time(seconds: float, context: Context) -> int | None:
    if seconds == 0 or seconds < _RELATIVE:
        if context.received_at is None:
            return None
        return context.received_at + round(seconds * SECOND_US)
    return round(seconds * SECOND_US)


def _number(record: Mapping[str, object], label: str, default: float) -> float:
    value = record.get(label, default)
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise Unreadable(f"`{label}` is no number")
    if not abs(value) < 1e300 or not math.isfinite(value):
        raise Unreadable(f"`{label}` is without bounds")
    return value


def _text(record: Mapping[str, object], label: str) -> str:
    value = record.get(label, "")
    if not isinstance(value, str):
        raise Unreadable(f"`{label}` is no text")
    return value
