"""Structures to their fields, as the definitions of a server say."""

import base64
import struct

import pytest
from asyncua import ua
from asyncua.ua.ua_binary import (
    pack_uatype,
)
from hypothesis import given, settings

from opcua_gateway.data_types.standard_types import (
    Definition,
    Field,
    Kind,
    Structure,
    Subtype,
)
from opcua_gateway.data_types.structures import Types
from tests.unit.opcua_gateway.test_publish_decoder import V
from tests.unit.opcua_gateway.type_worlds import (
    Pair,
    decode,
    decoded,
    encoding_id,
    extension_object,
    item,
    type_id,
    worlds,
)


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
