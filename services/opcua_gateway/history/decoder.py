"""HistoryRead responses to plain values; called by history_service.py.

As with Publish responses (notifications.py) times keep their microseconds, so that a value that
came live and out of the history has one time; damage costs the node that it is in, no other.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from dataclasses import dataclass

from asyncua import ua
from asyncua.ua.ua_binary import nodeid_from_binary

from opcua_gateway.data_types.structures import Types
from opcua_gateway.decode.item_layouts import TAILS, VALUE, to_us
from opcua_gateway.decode.notifications import Undecodable
from opcua_gateway.decode.response_header import open_response
from opcua_gateway.decode.values import to_value
from opcua_gateway.decode.variants import UNREADABLE, Reader, read_variant
from opcua_gateway.mapping import Notification

BAD_DECODING_ERROR = int(ua.StatusCodes.BadDecodingError)

_SMALLEST_RESULT = 12
"""Bytes: status, a null continuation point, an ExtensionObject without body."""

_HISTORY_DATA = frozenset(
    {
        ua.ObjectIds.HistoryData_Encoding_DefaultBinary,
        ua.ObjectIds.HistoryModifiedData_Encoding_DefaultBinary,  # begins as the other
    }
)


@dataclass(frozen=True, slots=True)
class NodeHistory:
    """What a HistoryRead brought of one node.

    Attributes:
        status: of this node's read; BadDecodingError where its values are damaged.
        point: its continuation point, empty where there is none.
        values: in the order of the response, those before a damage included.
    """

    status: int
    point: bytes
    values: tuple[Notification, ...]


def decode_history(
    body: ua.utils.Buffer, handles: Sequence[int], types: Types | None = None
) -> list[NodeHistory]:
    """Read a HistoryReadResponse for the nodes of `handles`, in the order of the request;
    structures of `types` to their fields.

    Raises:
        Undecodable: it has no result for each of them.
        ua.UaStatusCodeError: the service result is Bad.
    """
    try:
        reader = open_response(body)
        count = reader.length(_SMALLEST_RESULT)
        if count != len(handles):
            raise ValueError(f"{count} results for {len(handles)} nodes")
        return [_read_result(reader, handle, types) for handle in handles]
    except ua.UaStatusCodeError:
        raise
    except UNREADABLE as error:
        raise Undecodable(f"a HistoryRead response: {error!r}") from error


def _read_result(reader: Reader, handle: int, types: Types | None) -> NodeHistory:
    (status,) = struct.unpack("<I", reader.read(4))
    point = reader.read(max(reader.length(), 0))
    kind = nodeid_from_binary(reader)
    has_body = bool(reader.read(1)[0])
    start = reader.position
    if has_body:
        length = reader.length()
        start = reader.position
        reader.skip(max(length, 0))
    values: list[Notification] = []
    if kind.Identifier in _HISTORY_DATA and has_body:
        part = Reader(reader.data, start, reader.position, types)
        try:
            for _ in range(part.length()):
                values.append(_read_value(part, handle))
        except UNREADABLE:
            status = BAD_DECODING_ERROR
    return NodeHistory(status, point, tuple(values))


def _read_value(reader: Reader, handle: int) -> Notification:
    mask = reader.read(1)[0]
    value, kind = to_value(*read_variant(reader)) if mask & VALUE else to_value(None, _NULL)
    unpack, size, status, source, server = TAILS[mask >> 1 & 0x1F]
    start = reader.position
    reader.skip(size)
    tail = (*unpack(reader.data, start), 0)
    return Notification(handle, value, kind, tail[status], to_us(tail[source]), to_us(tail[server]))


_NULL = ua.VariantType.Null
