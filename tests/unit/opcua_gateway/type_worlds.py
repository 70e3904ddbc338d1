"""Random definitions of types and values of them, encoded here by hand from part 6 with asyncua's
single values; for the tests of structures beside this file."""

import base64
import json
import math
import struct
from collections.abc import Callable
from datetime import datetime

import pytest
from asyncua import ua
from asyncua.ua.ua_binary import (
    nodeid_to_binary,
    pack_uatype,
    variant_to_binary,
)
from hypothesis import strategies as st

from aurelian.model.sample import ValueType
from opcua_gateway.data_types.standard_types import (
    Definition,
    Enumeration,
    Field,
    Kind,
    Structure,
    Subtype,
)
from opcua_gateway.data_types.structures import Types
from opcua_gateway.decode.notifications import Published, decode_publish
from tests.unit.opcua_gateway.test_publish_decoder import GOOD, SCALARS, V, block, response

Pair = tuple[bytes, object]
"""A value: its bytes on the wire, and what it is in JSON."""

IN_FIELDS = [kind for kind in SCALARS if kind not in (V.ExtensionObject, V.DataValue, V.Variant)]
IN_FIELDS.remove(V.DiagnosticInfo)
BASE_DATA_TYPE, NUMBER, STRUCTURE = ua.NodeId(24), ua.NodeId(26), ua.NodeId(22)
NULL = struct.pack("<i", -1)


def type_id(number: int) -> ua.NodeId:
    return ua.NodeId(number, 3)


def encoding_id(number: int) -> ua.NodeId:
    return ua.NodeId(f"encoding {number}", 3)


def plain(value: object, kind: ua.VariantType) -> object:
    match kind:
        case V.Float | V.Double:
            assert isinstance(value, float)
            return value if math.isfinite(value) else None
        case V.ByteString:
            assert isinstance(value, bytes)
            return base64.b64encode(value).decode()
        case V.DateTime:
            assert isinstance(value, datetime)
            return value.isoformat(timespec="microseconds").replace("+00:00", "Z")
        case V.Guid:
            return str(value)
        case V.LocalizedText:
            assert isinstance(value, ua.LocalizedText)
            return value.Text
        case V.StatusCode:
            assert isinstance(value, ua.StatusCode)
            return value.value
        case V.QualifiedName | V.NodeId | V.ExpandedNodeId:
            return value.to_string()  # type: ignore[attr-defined]
        case V.XmlElement:
            assert isinstance(value, ua.XmlElement)
            return {"Value": value.Value}
    return value


class World:
    """The types of a server, and values of them."""

    def __init__(self, draw: st.DrawFn) -> None:
        self.draw, self.count = draw, 0
        self.types = Types(pytest.fail, lambda _, why: pytest.fail(why))

    def define(self, definition: Definition) -> ua.NodeId:
        self.count += 1
        self.types.define(type_id(self.count), definition)
        self.types.name_encoding(encoding_id(self.count), type_id(self.count))
        return type_id(self.count)

    def builtin(self) -> tuple[ua.NodeId, Callable[[], Pair], bool]:
        kind = self.draw(st.sampled_from(IN_FIELDS))
        data_type = ua.NodeId(kind.value)
        for _ in range(self.draw(st.integers(0, 2))):
            data_type = self.define(Subtype(data_type))

        def value() -> Pair:
            drawn = self.draw(SCALARS[kind])
            return pack_uatype(kind, drawn), plain(drawn, kind)

        return data_type, value, False

    def enumeration(self) -> tuple[ua.NodeId, Callable[[], Pair], bool]:
        names = self.draw(st.dictionaries(st.integers(0, 3), st.text(max_size=3), max_size=3))

        def value() -> Pair:
            code = self.draw(st.integers(-1, 3))
            return struct.pack("<i", code), {"code": code, "name": names.get(code)}

        return self.define(Enumeration(names)), value, False

    def option_set(self) -> tuple[ua.NodeId, Callable[[], Pair], bool]:
        def value() -> Pair:
            bits = self.draw(st.integers(0, 2**16 - 1))
            return struct.pack("<H", bits), bits

        return self.define(Enumeration({0: "a"}, ua.NodeId(5))), value, False

    def open(self, data_type: ua.NodeId) -> tuple[ua.NodeId, Callable[[], Pair], bool]:
        def value() -> Pair:
            return self.variant()

        return data_type, value, False

    def variant(self) -> Pair:
        if self.draw(st.booleans()):
            number = self.draw(st.integers(0, 9))
            return variant_to_binary(ua.Variant([number], V.Int32, is_array=True)), [number]
        number = self.draw(st.integers(-(2**63), 2**63 - 1))
        return variant_to_binary(ua.Variant(number, V.Int64)), number

    def type(self, depth: int) -> tuple[ua.NodeId, Callable[[], Pair], bool]:
        choices = [self.builtin, self.builtin, self.enumeration, self.option_set]
        choices += [lambda: self.open(BASE_DATA_TYPE), lambda: self.open(NUMBER)]
        if depth:
            choices += [lambda: self.structure(depth - 1)] * 3
        return self.draw(st.sampled_from(choices))()

    def structure(self, depth: int) -> tuple[ua.NodeId, Callable[[], Pair], bool]:
        kind = self.draw(st.sampled_from(Kind))
        fields: list[Field] = []
        values: list[Callable[[], Pair]] = []
        for number in range(self.draw(st.integers(kind is Kind.UNION, 4))):
            data_type, value, is_structure = self.type(depth)
            flag = self.draw(st.booleans())
            subtyped = flag and kind in (Kind.WITH_SUBTYPED, Kind.UNION_WITH_SUBTYPED)
            if is_structure and (subtyped or self.draw(st.booleans())):
                if not subtyped:
                    data_type, declared = STRUCTURE, data_type
                else:
                    declared = data_type
                value = self.extension(declared, value)
            elif subtyped:
                value = self.variant
            rank = self.draw(st.sampled_from([-1, -1, 1, 2, 3]))
            fields.append(
                Field(f"f{number}", data_type, rank, flag and kind is Kind.WITH_OPTIONAL, subtyped)
            )
            values.append(self.ranked(value, rank))
        found = self.define(Structure(tuple(fields), kind))
        return found, lambda: self.structure_value(kind, fields, values), True

    def structure_value(
        self, kind: Kind, fields: list[Field], values: list[Callable[[], Pair]]
    ) -> Pair:
        if kind in (Kind.UNION, Kind.UNION_WITH_SUBTYPED):
            choice = self.draw(st.integers(0, len(fields)))
            switch = struct.pack("<I", choice)
            if not choice:
                return switch, {}
            encoded, found = values[choice - 1]()
            return switch + encoded, {fields[choice - 1].name: found}
        mask, bit, body, found = 0, 1, b"", {}
        for field, value in zip(fields, values, strict=True):
            if field.optional:
                present = self.draw(st.booleans())
                mask |= bit * present
                bit <<= 1
                if not present:
                    continue
            encoded, each = value()
            body += encoded
            found[field.name] = each
        return (struct.pack("<I", mask) if kind is Kind.WITH_OPTIONAL else b"") + body, found

    def extension(self, data_type: ua.NodeId, value: Callable[[], Pair]) -> Callable[[], Pair]:
        def extended() -> Pair:
            body, found = value()
            return extension_object(encoding_id(data_type.Identifier), body), found

        return extended

    def ranked(self, value: Callable[[], Pair], rank: int) -> Callable[[], Pair]:
        if rank < 1:
            return value

        def array() -> Pair:
            if self.draw(st.integers(0, 5)) == 0:
                return NULL, None
            sizes = self.draw(st.lists(st.integers(0, 2), min_size=rank, max_size=rank))
            head = struct.pack(f"<{rank}i", *sizes)
            pairs = [value() for _ in range(math.prod(sizes))]
            flat: list[object] = [found for _, found in pairs]
            if rank > 1:
                head = struct.pack("<i", rank) + head
                for size in reversed(sizes[1:]) if flat else ():
                    flat = [flat[at : at + size] for at in range(0, len(flat), size)]
            return head + b"".join(encoded for encoded, _ in pairs), flat

        return array


@st.composite
def worlds(draw: st.DrawFn) -> tuple[Types, ua.NodeId, Pair]:
    world = World(draw)
    data_type, value, _ = world.structure(2)
    return world.types, encoding_id(data_type.Identifier), value()


def extension_object(encoding: ua.NodeId, body: bytes) -> bytes:
    return nodeid_to_binary(encoding) + struct.pack("<Bi", 1, len(body)) + body


def item(handle: int, extension: bytes) -> bytes:
    return struct.pack("<IBB", handle, 1, V.ExtensionObject) + extension


def decode(types: Types, *items: bytes) -> Published:
    return decode_publish(ua.utils.Buffer(response(block([*items, GOOD]))), types)


def decoded(types: Types, extension: bytes) -> object:
    """The JSON of one structure; what stands behind it must come too."""
    published = decode(types, item(7, extension))
    assert not published.why
    first, last = published.notifications
    assert (last.handle, last.value) == (1, 1.0)
    assert isinstance(first.value, str) and first.type is ValueType.JSON
    return json.loads(first.value, parse_constant=pytest.fail)
