"""Hostile definitions and damaged bodies of structures cost neither time nor memory nor another
value."""

import random
import struct
import time
import tracemalloc

import pytest
from asyncua import ua
from asyncua.ua.ua_binary import (
    pack_uatype,
    variant_to_binary,
)

from opcua_gateway.data_types.standard_types import (
    Enumeration,
    Field,
    Kind,
    Structure,
    Subtype,
)
from opcua_gateway.data_types.structures import Types
from tests.unit.opcua_gateway.test_publish_decoder import V
from tests.unit.opcua_gateway.type_worlds import (
    BASE_DATA_TYPE,
    STRUCTURE,
    decode,
    decoded,
    extension_object,
    item,
    type_id,
)


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
        started = time.thread_time()
        published = decode(types, item(1, extension))
        assert time.thread_time() - started < 2
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
    started = time.thread_time()
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
    assert time.thread_time() - started < 60
