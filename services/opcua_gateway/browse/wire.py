"""Browse and Read of many nodes on the wire: requests from encoded node ids, answers to plain
tuples. Pure; called by session.py for browse.py.

Node ids stay as their bytes from one answer to the next request: asyncua's classes take 50 to 100
microseconds a node in each direction, more than servers do.
"""

from __future__ import annotations

import base64
import struct
import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from asyncua import ua
from asyncua.ua.ua_binary import struct_from_binary

from opcua_gateway.decode.response_header import open_response
from opcua_gateway.decode.variants import UNREADABLE, Reader, read_variant

NULL_NODE = b"\0\0"
FOREIGN = b""
"""Key of a node of another server, or of a namespace that this one does not list."""

OBJECT, VARIABLE = 1, 2

_UINT16 = struct.Struct("<H").unpack_from
_INT32 = struct.Struct("<i").unpack_from
_UINT32 = struct.Struct("<I").unpack_from
_FORWARD, _INVERSE = 0, 1
_ALL_FIELDS = 63
_READ_TAIL = struct.pack("<iHi", -1, 0, -1)  # no index range, no encoding of its own
_NUMBERS = {
    1: struct.Struct("<?"),
    2: struct.Struct("<b"),
    3: struct.Struct("<B"),
    4: struct.Struct("<h"),
    5: struct.Struct("<H"),
    6: struct.Struct("<i"),
    7: struct.Struct("<I"),
    8: struct.Struct("<q"),
    9: struct.Struct("<Q"),
    10: struct.Struct("<f"),
    11: struct.Struct("<d"),
}
_NODE_ID, _LOCALIZED_TEXT = 17, 21


class UnreadableAnswer(ValueError):
    """Bytes of a server that are no answer to what it was asked."""


class Reference(NamedTuple):
    """A reference as Browse gives it; node ids as keys (`node_key`).

    Attributes:
        namespace, name: of the target's browse name.
        node_class: `OBJECT`, `VARIABLE`, or another one's number.
    """

    type: bytes
    is_forward: bool
    node: bytes
    namespace: int
    name: str
    display: str
    node_class: int
    type_definition: bytes


class Browsed(NamedTuple):
    """What Browse or BrowseNext gives of one node; `point`: empty where nothing is left."""

    status: int
    point: bytes
    references: list[Reference]


class Attribute(NamedTuple):
    """What Read gives of one attribute: a NodeId as its key, a LocalizedText as its text, all else
    as asyncua has it.

    Attributes:
        kind: number of the type, part 6, 5.1.2; 0: no value.
    """

    value: object
    kind: int
    status: int


class _Encoded(bytes):
    """Elements of an array that are encoded already. asyncua's serializer of ByteString writes
    `len`, then the bytes: with the number of elements as `len` that is the array."""

    elements: int

    def __len__(self) -> int:
        return self.elements


@dataclass(slots=True)
class BrowseRequest:
    """As part 4, 5.9.2, in the shape that asyncua sends. A View's time of now, as asyncua's own
    request has, upsets servers."""

    TypeId: ua.NodeId = field(
        default_factory=lambda: ua.FourByteNodeId(ua.ObjectIds.BrowseRequest_Encoding_DefaultBinary)
    )
    RequestHeader: ua.RequestHeader = field(default_factory=ua.RequestHeader)
    ViewId: ua.NodeId = field(default_factory=ua.NodeId)
    ViewTimestamp: ua.Int64 = 0
    ViewVersion: ua.UInt32 = 0
    RequestedMaxReferencesPerNode: ua.UInt32 = 0
    NodesToBrowse: ua.ByteString = b""


@dataclass(slots=True)
class ReadRequest:
    """As part 4, 5.11.2, without times."""

    TypeId: ua.NodeId = field(
        default_factory=lambda: ua.FourByteNodeId(ua.ObjectIds.ReadRequest_Encoding_DefaultBinary)
    )
    RequestHeader: ua.RequestHeader = field(default_factory=ua.RequestHeader)
    MaxAge: ua.Double = 0.0
    TimestampsToReturn: ua.Int32 = int(ua.TimestampsToReturn.Neither)
    NodesToRead: ua.ByteString = b""


def browse_request(
    nodes: Sequence[bytes], most: int, *, types_above: bool = False
) -> BrowseRequest:
    """Ask for the children of nodes, objects and variables; or for the types directly above
    them.

    Args:
        most: references of one node in an answer, 0: as the server likes.
    """
    if types_above:
        tail = _browse_tail(_INVERSE, ua.ObjectIds.HasSubtype, 0)
    else:
        tail = _browse_tail(_FORWARD, ua.ObjectIds.HierarchicalReferences, OBJECT | VARIABLE)
    return BrowseRequest(
        RequestedMaxReferencesPerNode=most,
        NodesToBrowse=_encoded(nodes, b"".join([part for key in nodes for part in (key, tail)])),
    )


def read_request(wanted: Sequence[tuple[bytes, int]]) -> ReadRequest:
    """Ask for attributes, given as (key of a node, number of the attribute)."""
    tails = {
        attribute: struct.pack("<I", attribute) + _READ_TAIL
        for attribute in {attribute for _, attribute in wanted}
    }
    content = b"".join([part for key, attribute in wanted for part in (key, tails[attribute])])
    return ReadRequest(NodesToRead=_encoded(wanted, content))


def decode_browse(body: ua.utils.Buffer, indices: Mapping[str, int]) -> list[Browsed]:
    """The results of a BrowseResponse or BrowseNextResponse.

    Args:
        indices: of the server's namespaces by URI.

    Raises:
        UnreadableAnswer: it is none.
        ua.UaStatusCodeError: the service result is Bad.
    """
    try:
        reader = open_response(body)
        data, at = reader.data, reader.position
        (count,) = _INT32(data, at)
        at += 4
        results = []
        for _ in range(count):
            (status,) = _UINT32(data, at)
            point, at = _bytes(data, at + 4)
            (many,) = _INT32(data, at)
            at += 4
            references = []
            for _ in range(many):
                reference, at = _reference(data, at, indices)
                references.append(reference)
            results.append(Browsed(status, point, references))
        return results
    except ua.UaStatusCodeError:
        raise
    except UNREADABLE as error:
        raise UnreadableAnswer(f"an answer to Browse: {error!r}") from error


def decode_read(body: ua.utils.Buffer) -> list[Attribute]:
    """The results of a ReadResponse. Raises as `decode_browse`."""
    try:
        reader = open_response(body)
        count = reader.length()
        return [_attribute(reader) for _ in range(max(count, 0))]
    except ua.UaStatusCodeError:
        raise
    except UNREADABLE as error:
        raise UnreadableAnswer(f"an answer to Read: {error!r}") from error


def numeric_key(namespace: int, number: int) -> bytes:
    """The key of a node with a number: the shortest of its encodings, so that keys are equal where
    nodes are."""
    if namespace == 0 and number < 256:
        return bytes((0, number))
    if namespace < 256 and number < 65_536:
        return struct.pack("<BBH", 1, namespace, number)
    return struct.pack("<BHI", 2, namespace, number)


class NodeName(NamedTuple):
    """A node id in parts: `kind` one of `i s g b`, `identifier` as an address writes it; None where
    a text is no UTF-8."""

    namespace: int
    kind: str
    identifier: str | None


def name_of(key: bytes) -> NodeName:
    """The parts of a key."""
    match key[0]:
        case 0:
            return NodeName(0, "i", str(key[1]))
        case 1:
            return NodeName(key[1], "i", str(_UINT16(key, 2)[0]))
        case 2:
            return NodeName(_UINT16(key, 1)[0], "i", str(_UINT32(key, 3)[0]))
        case 4:
            return NodeName(_UINT16(key, 1)[0], "g", str(uuid.UUID(bytes_le=key[3:19])))
        case 5:
            return NodeName(_UINT16(key, 1)[0], "b", base64.b64encode(key[7:]).decode())
    try:
        return NodeName(_UINT16(key, 1)[0], "s", key[7:].decode())
    except UnicodeDecodeError:
        return NodeName(_UINT16(key, 1)[0], "s", None)


def _browse_tail(direction: int, reference: int, classes: int) -> bytes:
    return struct.pack("<i2s?II", direction, bytes((0, reference)), True, classes, _ALL_FIELDS)


def _encoded(elements: Sequence[object], content: bytes) -> _Encoded:
    found = _Encoded(content)
    found.elements = len(elements)
    return found


def _reference(data: bytes, at: int, indices: Mapping[str, int]) -> tuple[Reference, int]:
    kind, at = _node(data, at, indices)
    is_forward = data[at] != 0
    node, at = _node(data, at + 1, indices)
    (namespace,) = _UINT16(data, at)
    encoded, at = _bytes(data, at + 2)
    name = encoded.decode(errors="replace")
    mask = data[at]
    at += 1
    display = ""
    if mask & 1:
        _, at = _bytes(data, at)
    if mask & 2:
        text, at = _bytes(data, at)
        display = name if text == encoded else text.decode(errors="replace")
    (node_class,) = _INT32(data, at)
    definition, at = _node(data, at + 4, indices)
    return Reference(kind, is_forward, node, namespace, name, display, node_class, definition), at


def _node(data: bytes, at: int, indices: Mapping[str, int]) -> tuple[bytes, int]:
    """Key of a NodeId or ExpandedNodeId, and where it ends."""
    form = data[at]
    match form & 0x3F:
        case 0:
            end = at + 2
        case 1:
            end = at + 4
        case 2:
            end = at + 7
        case 3 | 5:
            (length,) = _INT32(data, at + 3)
            end = at + 7 + max(length, 0)
        case 4:
            end = at + 19
        case _:
            raise ValueError(f"a node id of the form {form}")
    if end > len(data):
        raise ValueError("a node id ends behind the bytes")
    key = data[at:end]
    if form & 0x3F == 1:
        if key[1] == 0 and key[3] == 0:
            key = bytes((0, key[2]))
    elif form & 0x3F == 2:
        key = numeric_key(*struct.unpack_from("<HI", key, 1))
    if form & 0xC0:
        return _expanded(bytes((key[0] & 0x3F,)) + key[1:], form, data, end, indices)
    return key, end


def _expanded(
    key: bytes, form: int, data: bytes, end: int, indices: Mapping[str, int]
) -> tuple[bytes, int]:
    if form & 0x80:
        uri, end = _bytes(data, end)
        index = indices.get(uri.decode(errors="replace"))
        key = FOREIGN if index is None else _moved(key, index)
    if form & 0x40:
        (server,) = _UINT32(data, end)
        end += 4
        if server:
            key = FOREIGN
    return key, end


def _moved(key: bytes, namespace: int) -> bytes:
    """The key of the same identifier in another namespace."""
    name = name_of(key)
    if name.kind == "i":
        return numeric_key(namespace, int(name.identifier or 0))
    return key[:1] + struct.pack("<H", namespace) + key[3:]


def _bytes(data: bytes, at: int) -> tuple[bytes, int]:
    """A ByteString or String, empty where it is null, and where it ends."""
    (length,) = _INT32(data, at)
    at += 4
    if length <= 0:
        return b"", at
    end = at + length
    if end > len(data):
        raise ValueError(f"a length of {length}, {len(data) - at} bytes are left")
    return data[at:end], end


_PROPERTIES = {
    ua.FourByteNodeId(ua.ObjectIds.EUInformation_Encoding_DefaultBinary): ua.EUInformation,
    ua.FourByteNodeId(ua.ObjectIds.Range_Encoding_DefaultBinary): ua.Range,
}


def _attribute(reader: Reader) -> Attribute:
    data = reader.data
    mask = reader.read(1)[0]
    value: object = None
    kind = status = 0
    if mask & 0x01:
        at = reader.position
        kind = data[at]
        number = _NUMBERS.get(kind)
        if number is not None:
            (value,) = number.unpack(data[at + 1 : at + 1 + number.size])
            reader.position = at + 1 + number.size
        elif kind == _NODE_ID:
            value, reader.position = _node(data, at + 1, {})
        elif kind == _LOCALIZED_TEXT:
            value, reader.position = _text(data, at + 1)
        else:
            value, variant = read_variant(reader)
            kind = int(variant)
            if isinstance(value, ua.ExtensionObject):
                value = _property(value)
    if mask & 0x02:
        (status,) = struct.unpack("<I", reader.read(4))
    for bit, size in ((0x04, 8), (0x10, 2), (0x08, 8), (0x20, 2)):
        if mask & bit:
            reader.skip(size)
    return Attribute(value, kind, status)


def _property(value: ua.ExtensionObject) -> object:
    """The structures that the properties of a variable have, EUInformation and Range."""
    made = _PROPERTIES.get(value.TypeId)
    if made is None or value.Body is None:
        return value
    return struct_from_binary(made, ua.utils.Buffer(value.Body))


def _text(data: bytes, at: int) -> tuple[str, int]:
    mask = data[at]
    at += 1
    text = b""
    if mask & 1:
        _, at = _bytes(data, at)
    if mask & 2:
        text, at = _bytes(data, at)
    return text.decode(errors="replace"), at
