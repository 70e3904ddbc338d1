"""Structures to their fields: random definitions and values, encoded here by hand from part 6 with
asyncua's single values; damaged and hostile bodies; the standard structures."""

import base64
import json
import math
import random
import struct
import time
import tracemalloc
from collections.abc import Callable
from datetime import UTC, datetime

import pytest
from asyncua import ua
from asyncua.ua.ua_binary import (
    extensionobject_to_binary,
    nodeid_to_binary,
    pack_uatype,
    struct_to_binary,
    variant_to_binary,
)
from hypothesis import given, settings
from hypothesis import strategies as st

from aurelian.model.sample import ValueType
from opcua_gateway.data_types.standard_types import (
    Definition,
    Enumeration,
    Field,
    Kind,
    Structure,
    Subtype,
    standard_types,
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


@settings(deadline=None, max_examples=400)
@given(worlds())
def test_a_structure_comes_out_as_its_definition_says(
    world: tuple[Types, ua.NodeId, Pair],
) -> None:
    types, encoding, (body, wanted) = world
    assert decoded(types, extension_object(encoding, body)) == wanted


def test_structures_written_by_hand_from_part_6_are_read() -> None:
    types = Types()
    optional = Structure(
        (
            Field("A", ua.NodeId(6)),
            Field("B", ua.NodeId(12), optional=True),
            Field("C", ua.NodeId(3), optional=True),
            Field("D", ua.NodeId(11), rank=2),
        ),
        Kind.WITH_OPTIONAL,
    )
    types.define(type_id(1), optional)
    types.name_encoding(encoding_id(1), type_id(1))
    body = bytes.fromhex(
        "02000000"  # C, not B
        "ffffffff"
        "07"
        "02000000 01000000 02000000 000000000000f83f 000000000000f07f"  # 1 x 2: 1.5, infinity
    )
    wanted = {"A": -1, "C": 7, "D": [[1.5, None]]}
    assert decoded(types, extension_object(encoding_id(1), body)) == wanted
    fields = Field("X", ua.NodeId(8)), Field("Y", ua.NodeId(9))
    types.define(type_id(2), Structure(fields, Kind.UNION))
    body = bytes.fromhex("02000000 ffffffffffffffff")
    assert decoded(types, extension_object(type_id(2), body)) == {"Y": 2**64 - 1}


def test_what_says_its_type_itself_is_read_within_structures_and_structures_within_it() -> None:
    types = Types(on_unknown=lambda _: pytest.fail())
    fields = (
        Field("Value", ua.NodeId(23)),
        Field("Diagnostics", ua.NodeId(25)),
        Field("Decimal", ua.NodeId(50)),
        Field("Last", ua.NodeId(3)),
    )
    types.define(type_id(1), Structure(fields))
    types.define(type_id(2), Structure((Field("A", ua.NodeId(3)),)))
    inner = extension_object(type_id(2), b"\5")
    body = (
        b"\3\x16" + inner + struct.pack("<I", 0x40000000)
        + pack_uatype(V.DiagnosticInfo, ua.DiagnosticInfo(AdditionalInfo="why"))
        + extension_object(ua.NodeId(50), b"\2\0\x7b")
        + b"\7"
    )  # fmt: skip
    found = decoded(types, extension_object(type_id(1), body))
    assert isinstance(found, dict)
    assert found["Value"]["Value"] == {"A": 5} and found["Value"]["StatusCode"] == 2**30
    assert found["Diagnostics"]["AdditionalInfo"] == "why"
    assert found["Decimal"] == {"type_id": "i=50", "body": "AgB7"}
    assert found["Last"] == 7
    matrix = struct.pack("<IBBi", 7, 1, 0xD6, 2) + inner * 2 + struct.pack("<iii", 2, 2, 1)
    published = decode(types, matrix)
    assert published.notifications[0].value == '[[{"A":5}],[{"A":5}]]'


def test_two_servers_may_have_other_types_under_one_id() -> None:
    body = extension_object(encoding_id(1), struct.pack("<i", 5))
    for name, kind, wanted in (("Whole", 6, {"Whole": 5}), ("Bits", 7, {"Bits": 5})):
        types = Types()
        types.define(type_id(1), Structure((Field(name, ua.NodeId(kind)),)))
        types.name_encoding(encoding_id(1), type_id(1))
        assert decoded(types, body) == wanted


@pytest.mark.parametrize("leaves_them_out", [False, True])
def test_inherited_fields_come_first_also_where_a_server_leaves_them_out(
    leaves_them_out: bool,
) -> None:
    types = Types()
    base = (Field("A", ua.NodeId(3)), Field("B", ua.NodeId(3)))
    own = (Field("C", ua.NodeId(3)),)
    types.define(type_id(1), Structure(base))
    types.define(type_id(2), Structure(own if leaves_them_out else base + own, parent=type_id(1)))
    assert decoded(types, extension_object(type_id(2), b"\1\2\3")) == {"A": 1, "B": 2, "C": 3}


def test_a_type_that_is_not_known_is_asked_for_and_its_value_kept_as_bytes() -> None:
    asked: list[str] = []
    types = Types(lambda unknown: asked.append(unknown.to_string()))
    types.define(type_id(1), Structure((Field("A", type_id(2)),)))
    raw = {"type_id": "ns=3;i=1", "body": "AQ=="}
    assert decoded(types, extension_object(type_id(1), b"\1")) == raw
    assert decoded(types, extension_object(type_id(9), b"\1")) == raw | {"type_id": "ns=3;i=9"}
    assert asked == ["ns=3;i=2", "ns=3;i=9"]
    types.define(type_id(2), Subtype(ua.NodeId(3)))
    assert decoded(types, extension_object(type_id(1), b"\1")) == {"A": 1}


@pytest.mark.parametrize(
    ("definition", "body", "why"),
    [
        (Structure((Field("A", ua.NodeId(3)),)), b"\1\2", "1 bytes are left"),
        (Structure((Field("A", ua.NodeId(6)),)), b"\1\2", "4 bytes are said"),
        (Structure((Field("A", ua.NodeId(3)),) * 2), b"\1\2", "one name"),
        (Structure((), Kind.WITH_OPTIONAL), b"\1\0\0\0", "encoding mask"),
        (Structure((Field("A", ua.NodeId(3)),), Kind.UNION), b"\2\0\0\0", "switch field"),
        (Subtype(ua.NodeId(3)), b"\1", "no structure"),
    ],
)
def test_a_body_that_does_not_fit_its_type_stays_bytes_and_costs_nothing_else(
    definition: Definition, body: bytes, why: str
) -> None:
    reasons: list[str] = []
    types = Types(on_failure=lambda _, reason: reasons.append(reason))
    types.define(type_id(1), definition)
    found = decoded(types, extension_object(type_id(1), body))
    assert found == {"type_id": "ns=3;i=1", "body": base64.b64encode(body).decode()}
    assert len(reasons) == 1 and why in reasons[0]


def hostile_types() -> Types:
    """Types whose values need no bytes, or hold themselves."""
    types = Types()
    types.define(type_id(1), Structure(()))
    for number in range(2, 12):  # ten of the one before in each: 10^10 values of no bytes
        fields = tuple(Field(f"f{n}", type_id(number - 1)) for n in range(10))
        types.define(type_id(number), Structure(fields))
    types.define(type_id(12), Structure((Field("Again", type_id(12)),)))
    types.define(type_id(13), Structure((Field("All", type_id(13), rank=1),)))
    types.define(type_id(14), Structure((Field("Many", type_id(1), rank=1),)))
    types.define(type_id(15), Structure((Field("Wide", type_id(1), rank=3),)))
    types.define(type_id(16), Subtype(type_id(17)))
    types.define(type_id(17), Subtype(type_id(16)))
    types.define(type_id(18), Structure((Field("Round", type_id(16)),)))
    types.define(type_id(19), Structure((Field("N" * 500, ua.NodeId(3)),)))
    types.define(type_id(20), Structure((Field("Named", type_id(19), rank=1),)))
    types.define(type_id(21), Structure((Field("Any", BASE_DATA_TYPE),), parent=type_id(21)))
    return types


LARGE = 20_000
BODIES = [
    b"",
    struct.pack("<i", 2**31 - 1),
    struct.pack("<i", LARGE) + b"\1" * LARGE,
    struct.pack("<4i", 3, 2**31 - 1, 2**31 - 1, 2**31 - 1),
    struct.pack("<4i", 3, 1000, 1000, 1000),
    struct.pack("<i", LARGE // 4) + struct.pack("<i", 2**31 - 1) * (LARGE // 4),
    struct.pack("<i", 1) * 200,
    struct.pack("<i", 1) * 2000,
    bytes([0x18]) * 2000,
]


@pytest.mark.parametrize("number", range(1, 22))
def test_hostile_definitions_and_bodies_cost_neither_time_nor_memory(number: int) -> None:
    types = hostile_types()
    decode(types, item(1, extension_object(type_id(1), b"")))  # caches
    for body in BODIES:
        extension = extension_object(type_id(number), body)
        started = time.monotonic()
        published = decode(types, item(1, extension))
        assert time.monotonic() - started < 2
        assert not published.why and len(published.notifications) == 2
        tracemalloc.start()
        decode(types, item(1, extension))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 500 * len(extension) + 5_000_000


def test_dimensions_beyond_what_json_can_have_cost_nothing_else() -> None:
    dimensions = struct.pack("<i3000i", 3000, *[1] * 3000)
    deep = struct.pack("<IBBii", 5, 1, 0xC6, 1, 42) + dimensions
    nested = struct.pack("<IBB", 6, 1, 0x98) + struct.pack("<i", 1)
    for _ in range(60):
        nested += bytes([0xD8]) + struct.pack("<i", 1)
    nested += b"\1\1" + (struct.pack("<i", 90) + struct.pack("<i", 1) * 90) * 60
    published = decode(Types(), deep, nested)
    assert not published.why
    assert [each.handle for each in published.notifications] == [5, 6, 1]
    assert published.notifications[0].value == "[42]"


def test_two_servers_have_other_types_under_one_id() -> None:
    """Trap T13: the library registers types for the whole process."""
    before = dir(ua)
    number, text = Types(), Types()
    number.define(type_id(1), Structure((Field("N", ua.NodeId(6)),)))
    text.define(type_id(1), Structure((Field("Text", ua.NodeId(12)),)))
    same = extension_object(type_id(1), struct.pack("<i", -1))
    for _ in range(2):
        found = [decode(types, item(1, same)).notifications[0].value for types in (number, text)]
        assert found == ['{"N":-1}', '{"Text":null}']
    assert dir(ua) == before


def test_damaged_structures_never_crash_or_hang_and_cost_no_other_value() -> None:
    types = Types()
    types.define(
        type_id(1),
        Structure(
            (
                Field("Text", ua.NodeId(12)),
                Field("Times", ua.NodeId(13), rank=1),
                Field("Inner", type_id(2), rank=1, optional=True),
                Field("Any", BASE_DATA_TYPE),
                Field("Sub", STRUCTURE),
                Field("Grid", ua.NodeId(6), rank=2),
            ),
            Kind.WITH_OPTIONAL,
        ),
    )
    inner = (Field("Mode", type_id(3)), Field("Ids", ua.NodeId(17), rank=1))
    types.define(type_id(2), Structure(inner, Kind.UNION))
    types.define(type_id(3), Enumeration({1: "on"}))
    inner_bytes = struct.pack("<II", 1, 1)
    body = (
        struct.pack("<I", 1)
        + pack_uatype(V.String, "abc")
        + struct.pack("<iqq", 2, 1, 2)
        + struct.pack("<i", 2)
        + inner_bytes * 2
        + variant_to_binary(ua.Variant([[1, 2]], V.Int16))
        + extension_object(type_id(2), inner_bytes)
        + struct.pack("<iiiii", 2, 1, 2, 8, 9)
    )
    assert decoded(types, extension_object(type_id(1), body)) == {
        "Text": "abc",
        "Times": ["1601-01-01T00:00:00.000000Z"] * 2,
        "Inner": [{"Mode": {"code": 1, "name": "on"}}] * 2,
        "Any": [[1, 2]],
        "Sub": {"Mode": {"code": 1, "name": "on"}},
        "Grid": [[8, 9]],
    }
    rng = random.Random(7)
    started = time.monotonic()
    for turn in range(2000):
        at = rng.randrange(len(body))
        match turn % 4:
            case 0:
                broken = body[:at]
            case 1:
                broken = body[:at] + rng.randbytes(rng.choice([1, 4])) + body[at + 4 :]
            case 2:
                broken = body[:at] + struct.pack("<i", 2**31 - 1) + body[at + 4 :]
            case _:
                broken = rng.randbytes(len(body))
        decoded(types, extension_object(type_id(1), broken))
    assert time.monotonic() - started < 60


AT = datetime(2026, 1, 5, 6, tzinfo=UTC)
ISO = "2026-01-05T06:00:00.000000Z"
RANGE = ua.Range(Low=-1.5, High=math.inf)
UNIT = ua.EUInformation("urn:u", 4_408_652, ua.LocalizedText("°C"), ua.LocalizedText("degree"))
UNIT_JSON = {
    "NamespaceUri": "urn:u", "UnitId": 4_408_652, "DisplayName": "°C", "Description": "degree",
}  # fmt: skip
BUILD = ua.BuildInfo("uri", "maker", "product", "1.2", "b3", AT)
BUILD_JSON = {
    "ProductUri": "uri", "ManufacturerName": "maker", "ProductName": "product",
    "SoftwareVersion": "1.2", "BuildNumber": "b3", "BuildDate": ISO,
}  # fmt: skip


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (RANGE, {"Low": -1.5, "High": None}),
        (UNIT, UNIT_JSON),
        (ua.TimeZoneDataType(60, True), {"Offset": 60, "DaylightSavingInOffset": True}),
        (ua.XVType(1.0, 0.5), {"X": 1.0, "Value": 0.5}),
        (BUILD, BUILD_JSON),
        (
            ua.Argument("speed", ua.NodeId(11), -1, [], ua.LocalizedText("of it")),
            {
                "Name": "speed", "DataType": "i=11", "ValueRank": -1, "ArrayDimensions": [],
                "Description": "of it",
            },
        ),
        (
            ua.AxisInformation(
                UNIT, RANGE, ua.LocalizedText("T"), ua.AxisScaleEnumeration.Log, [1.0, 2.0]
            ),
            {
                "EngineeringUnits": UNIT_JSON, "EURange": {"Low": -1.5, "High": None},
                "Title": "T", "AxisScaleType": {"code": 1, "name": "Log"},
                "AxisSteps": [1.0, 2.0],
            },
        ),
        (
            ua.ServerStatusDataType(AT, AT, ua.ServerState.Suspended, BUILD, 7, ua.LocalizedText()),
            {
                "StartTime": ISO, "CurrentTime": ISO, "State": {"code": 3, "name": "Suspended"},
                "BuildInfo": BUILD_JSON, "SecondsTillShutdown": 7, "ShutdownReason": None,
            },
        ),
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_standard_structures_are_read_without_a_definition_of_the_server(
    value: object, wanted: object
) -> None:
    assert decoded(Types(), extensionobject_to_binary(value)) == wanted


def test_every_standard_structure_that_asyncua_can_write_is_read() -> None:
    standard = standard_types()
    read, unread = 0, set()
    for encoding, data_type in standard.encodings.items():
        known = ua.extension_objects_by_typeid[encoding]
        definition = standard.definitions[data_type]
        assert isinstance(definition, Structure)
        if any(each.subtyped for each in definition.fields):
            continue  # asyncua leaves out the length of a structure without fields
        try:
            body = struct_to_binary(known())
        except (TypeError, NameError):  # a field's class is missing in asyncua
            continue
        found = decoded(Types(), extension_object(encoding, body))
        assert isinstance(found, dict)
        if "type_id" in found:
            unread.add(known.__name__)
        read += 1
    assert read > 180
    # asyncua leaves out the mask of optional fields; its RelativePath is no structure but a parser.
    assert unread == {"LogRecord", "BrowsePath", "QueryDataDescription", "AttributeOperand"}
