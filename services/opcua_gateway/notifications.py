"""PublishResponse bodies to plain notifications, with asyncua's decoder; called by subscription.py,
once per message.

All that is known of the wire format of a Publish response is here: a faster decoder replaces
`decode_publish` alone.
"""

from __future__ import annotations

import base64
import json
import math
import uuid
from dataclasses import dataclass, fields, is_dataclass
from datetime import UTC, datetime
from enum import Enum

from asyncua import ua
from asyncua.ua.ua_binary import Primitives, from_binary, nodeid_from_binary, struct_from_binary

from aurelian.model.sample import Value, ValueType
from aurelian.model.time import to_us
from opcua_gateway.mapping import Notification

# What the decoder raises on bytes that it cannot follow.
_UNREADABLE = (
    ua.UaError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
)


class Undecodable(ValueError):
    """A Publish response whose head cannot be read, so that nothing of it can be used."""


@dataclass(frozen=True, slots=True)
class Published:
    """One Publish response, or one republished message.

    Attributes:
        available: numbers of messages that the server can still send again.
        keep_alive: carries nothing; `sequence` is then that of the next message.
        ended: the server's reason for ending the subscription, None while it lives.
        unreadable: bytes whose notifications could not be decoded, with `why`.
    """

    subscription: int
    sequence: int
    available: tuple[int, ...]
    keep_alive: bool
    notifications: tuple[Notification, ...]
    ended: int | None = None
    unreadable: bytes = b""
    why: str = ""


def decode_publish(body: ua.utils.Buffer) -> Published:
    """Read a PublishResponse. A notification that cannot be decoded costs those after it in its
    block, no others.

    Raises:
        Undecodable: the head is broken.
        ua.UaStatusCodeError: the service result is Bad.
    """
    try:
        data = body.copy()
        nodeid_from_binary(data)
        struct_from_binary(ua.ResponseHeader, data).ServiceResult.check()
        subscription = Primitives.UInt32.unpack(data)
        available = tuple(
            Primitives.UInt32.unpack(data) for _ in range(Primitives.Int32.unpack(data))
        )
        data.skip(1)  # MoreNotifications
        return _decode_message(data, subscription, available)
    except ua.UaStatusCodeError:
        raise
    except _UNREADABLE as error:
        raise Undecodable(f"head of a Publish response: {error!r}") from error


def decode_republish(body: ua.utils.Buffer, subscription: int) -> Published:
    """Read a RepublishResponse of a subscription. Raises as `decode_publish`."""
    try:
        data = body.copy()
        nodeid_from_binary(data)
        struct_from_binary(ua.ResponseHeader, data).ServiceResult.check()
        return _decode_message(data, subscription, ())
    except ua.UaStatusCodeError:
        raise
    except _UNREADABLE as error:
        raise Undecodable(f"head of a Republish response: {error!r}") from error


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
            return _text(plain)
        case None:
            return None, ValueType.NULL
    return _json(plain), ValueType.JSON


def _decode_message(
    data: ua.utils.Buffer, subscription: int, available: tuple[int, ...]
) -> Published:
    sequence = Primitives.UInt32.unpack(data)
    data.skip(8)  # PublishTime
    blocks = Primitives.Int32.unpack(data)
    notifications: list[Notification] = []
    ended: int | None = None
    unreadable, why = b"", ""
    for _ in range(blocks):
        kind = nodeid_from_binary(data)
        data.skip(1)  # encoding: a binary body
        length = Primitives.Int32.unpack(data)
        block = data.copy(length)
        data.skip(length)
        try:
            if kind.Identifier == ua.ObjectIds.DataChangeNotification_Encoding_DefaultBinary:
                for _ in range(Primitives.Int32.unpack(block)):
                    rest = block.copy()
                    notifications.append(
                        _notification(from_binary(ua.MonitoredItemNotification, block))
                    )
            elif kind.Identifier == ua.ObjectIds.StatusChangeNotification_Encoding_DefaultBinary:
                ended = Primitives.UInt32.unpack(block)
        except _UNREADABLE as error:
            unreadable += rest.read(len(rest))
            why = f"notification {len(notifications) + 1} of message {sequence}: {error!r}"
    return Published(
        subscription, sequence, available, blocks <= 0, tuple(notifications), ended, unreadable, why
    )


def _notification(item: ua.MonitoredItemNotification) -> Notification:
    found = item.Value
    value, kind = (
        (None, ValueType.NULL)
        if found.Value is None
        else to_value(found.Value.Value, found.Value.VariantType)
    )
    return Notification(
        handle=item.ClientHandle,
        value=value,
        type=kind,
        status=0 if found.StatusCode is None else found.StatusCode.value,
        source_time=_microseconds(found.SourceTimestamp),
        server_time=_microseconds(found.ServerTimestamp),
    )


def _microseconds(when: datetime | None) -> int | None:
    return None if when is None else to_us(_aware(when))


def _text(text: str) -> tuple[Value, ValueType]:
    try:
        text.encode()
    except UnicodeEncodeError:  # not UTF-8 on the wire: keep its bytes
        return text.encode(errors="surrogateescape"), ValueType.BYTES
    return text, ValueType.TEXT


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
    return _aware(when).isoformat(timespec="microseconds").replace("+00:00", "Z")


def _aware(when: datetime) -> datetime:
    return when if when.tzinfo else when.replace(tzinfo=UTC)
