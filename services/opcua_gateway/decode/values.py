"""What a value of the wire is for the rest of the gateway: a number, a text, bytes or JSON. Pure;
called by variants.py and publish_decoder.py."""

from __future__ import annotations

import base64
import json
import math
import uuid
from dataclasses import fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum

from asyncua import ua

from aurelian.model.sample import Value, ValueType


def to_value(value: object, kind: ua.VariantType) -> tuple[Value, ValueType]:
    """A Variant's content as value and type; arrays and structures as JSON text, NaN and infinity
    in them null."""
    if value is None:
        return None, ValueType.NULL
    if isinstance(value, list | tuple):
        return _json(value), ValueType.JSON
    match kind:
        case ua.VariantType.Boolean:
            return bool(value), ValueType.BOOL
        case ua.VariantType.Float | ua.VariantType.Double:
            return float(value), ValueType.DOUBLE  # type: ignore[arg-type]
        case ua.VariantType.UInt64:
            return int(value), ValueType.UINT64  # type: ignore[call-overload]
        case ua.VariantType.ByteString:
            return bytes(value), ValueType.BYTES  # type: ignore[call-overload]
        case (
            ua.VariantType.ExtensionObject
            | ua.VariantType.DataValue
            | ua.VariantType.DiagnosticInfo
        ):
            return _json(value), ValueType.JSON
        case ua.VariantType.Variant:
            return to_value(value.Value, value.VariantType)  # type: ignore[attr-defined]
    plain = _plain(value)
    match plain:
        case bool():
            return plain, ValueType.BOOL
        case int():
            return plain, ValueType.INT64
        case str():
            return to_text(plain.encode(errors="surrogateescape"))
        case None:
            return None, ValueType.NULL
    return _json(plain), ValueType.JSON


def to_text(encoded: bytes) -> tuple[Value, ValueType]:
    """A String of the wire: text, or its bytes where they are not UTF-8."""
    try:
        return encoded.decode(), ValueType.TEXT
    except UnicodeDecodeError:
        return encoded, ValueType.BYTES


def _json(value: object) -> str:
    return (
        json.dumps(_plain(value), ensure_ascii=False, separators=(",", ":"), allow_nan=False)
        .encode(errors="replace")
        .decode()
    )


def _plain(value: object) -> object:
    """The value in JSON's types; integers keep all their digits."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case Enum():
            return value.value
        case None | bool() | int() | str():
            return value
        case list() | tuple():
            return [_plain(each) for each in value]
        case dict():
            return {name: _plain(each) for name, each in value.items()}
        case bytes():
            return base64.b64encode(value).decode()
        case datetime():
            return _iso(value)
        case uuid.UUID():
            return str(value)
        case ua.NodeId():
            return value.to_string()
        case ua.StatusCode():
            return value.value
        case ua.LocalizedText():
            return value.Text
        case ua.QualifiedName():
            return value.to_string()
        case ua.Variant():
            return _plain(value.Value)
        case ua.ExtensionObject():
            body = base64.b64encode(value.Body).decode() if value.Body else None
            return {"type_id": value.TypeId.to_string(), "body": body}
    if is_dataclass(value):
        return {field.name: _plain(getattr(value, field.name)) for field in fields(value)}
    return str(value)


def _iso(when: datetime) -> str:
    aware = when if when.tzinfo else when.replace(tzinfo=UTC)
    return aware.isoformat(timespec="microseconds").replace("+00:00", "Z")
