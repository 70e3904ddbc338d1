"""The decoder of Publish responses against asyncua's decoder of single Variants, against bytes
written by hand, and against damaged bytes."""

import math
import random
import struct
import time
import tracemalloc
import uuid
from datetime import UTC, datetime
from unittest.mock import patch

import pytest
from asyncua import ua
from asyncua.ua.ua_binary import struct_to_binary, variant_from_binary, variant_to_binary
from hypothesis import given, settings
from hypothesis import strategies as st

from aurelian.model.sample import Value, ValueType
from opcua_gateway.decode import publish_decoder
from opcua_gateway.decode.notifications import Published, Undecodable, decode_publish, to_value
from opcua_gateway.decode.publish_decoder import FEWEST_IN_COLUMNS
from opcua_gateway.mapping import Notification

V = ua.VariantType
TICKS_1970 = 116_444_736_000_000_000

TEXTS = st.text(st.characters(codec="utf-8"), max_size=6)
TIMES = st.datetimes(datetime(1602, 1, 1), datetime(9000, 1, 1)).map(
    lambda t: t.replace(tzinfo=UTC)
)
NODE_IDS = st.builds(ua.NodeId, st.integers(0, 2**16 - 1), st.integers(0, 200))
SCALARS: dict[ua.VariantType, st.SearchStrategy[object]] = {
    V.Boolean: st.booleans(),
    V.SByte: st.integers(-(2**7), 2**7 - 1),
    V.Byte: st.integers(0, 2**8 - 1),
    V.Int16: st.integers(-(2**15), 2**15 - 1),
    V.UInt16: st.integers(0, 2**16 - 1),
    V.Int32: st.integers(-(2**31), 2**31 - 1),
    V.UInt32: st.integers(0, 2**32 - 1),
    V.Int64: st.integers(-(2**63), 2**63 - 1),
    V.UInt64: st.integers(0, 2**64 - 1),
    V.Float: st.floats(width=32),
    V.Double: st.floats(),
    V.String: TEXTS,
    V.DateTime: TIMES,
    V.Guid: st.uuids(),
    V.ByteString: st.binary(max_size=6),
    V.XmlElement: TEXTS.map(ua.XmlElement),
    V.NodeId: NODE_IDS,
    V.ExpandedNodeId: NODE_IDS.map(
        lambda n: ua.ExpandedNodeId(n.Identifier, n.NamespaceIndex, NamespaceUri="urn:x")
    ),
    V.StatusCode: st.integers(0, 2**32 - 1).map(ua.StatusCode),
    V.QualifiedName: st.builds(ua.QualifiedName, TEXTS, st.integers(0, 9)),
    V.LocalizedText: TEXTS.map(ua.LocalizedText),
    V.ExtensionObject: st.one_of(
        st.builds(ua.Range, st.floats(), st.floats()),
        st.binary(min_size=1).map(lambda b: ua.ExtensionObject(ua.NodeId(77, 3), b)),
    ),
    V.DataValue: st.floats().map(lambda v: ua.DataValue(ua.Variant(v, V.Double))),
    V.Variant: st.integers(0, 9).map(lambda v: ua.Variant(v, V.Int32)),
    V.DiagnosticInfo: TEXTS.map(lambda text: ua.DiagnosticInfo(AdditionalInfo=text)),
}
FORMS = ("scalar", "array", "matrix", "null array")


@st.composite
def encoded_variants(draw: st.DrawFn) -> bytes:
    kind = draw(st.sampled_from([V.Null, *SCALARS]))
    if kind is V.Null:
        return b"\0"
    form = draw(st.sampled_from(FORMS))
    match form:
        case "scalar":
            value = draw(SCALARS[kind])
            if kind is V.Variant:
                return bytes([V.Variant]) + variant_to_binary(value)
            return variant_to_binary(ua.Variant(value, kind))
        case "array":
            values = draw(st.lists(SCALARS[kind], max_size=3))
            return variant_to_binary(ua.Variant(values, kind, is_array=True))
        case "matrix":
            rows = draw(st.lists(st.tuples(*[SCALARS[kind]] * 2).map(list), min_size=1, max_size=3))
            return variant_to_binary(ua.Variant(rows, kind))
    return variant_to_binary(ua.Variant(None, kind, is_array=True))


TICKS = st.one_of(
    st.integers(-(2**63), 2**63 - 1),
    st.integers(TICKS_1970, TICKS_1970 + 2 * 10**16),
    st.sampled_from([0, 2**63 - 1, 315_360_000_000_000, 315_359_999_999_999]),
)
ITEMS = st.tuples(
    st.integers(0, 2**32 - 1), st.integers(0, 63), encoded_variants(),
    st.integers(0, 2**32 - 1), TICKS, TICKS, st.integers(0, 9999),
)  # fmt: skip
Item = tuple[int, int, bytes, int, int, int, int]


def encode_item(item: Item) -> bytes:
    """Part 6, 5.2.2.17, by hand: asyncua has the picoseconds in another place."""
    handle, mask, variant, status, source, server, pico = item
    parts = [struct.pack("<IB", handle, mask), variant if mask & 1 else b""]
    parts.append(struct.pack("<I", status) if mask & 2 else b"")
    parts.append(struct.pack("<q", source) if mask & 4 else b"")
    parts.append(struct.pack("<H", pico) if mask & 16 else b"")
    parts.append(struct.pack("<q", server) if mask & 8 else b"")
    parts.append(struct.pack("<H", pico) if mask & 32 else b"")
    return b"".join(parts)


def expected_of(item: Item) -> Notification:
    handle, mask, variant, status, source, server, _ = item
    value: Value = None
    kind = ValueType.NULL
    if mask & 1:
        found = variant_from_binary(ua.utils.Buffer(variant))
        value, kind = to_value(found.Value, found.VariantType)
    return Notification(
        handle,
        value,
        kind,
        status if mask & 2 else 0,
        microseconds(source) if mask & 4 else None,
        microseconds(server) if mask & 8 else None,
    )


def microseconds(ticks: int) -> int | None:
    year = ua.uatypes.win_epoch_to_datetime(ticks).year
    return None if year <= 1601 or year >= 9999 else (ticks - TICKS_1970) // 10


def block(items: list[bytes]) -> bytes:
    body = struct.pack("<i", len(items)) + b"".join(items) + b"\xff" * 4
    return extension(811, body)


def extension(number: int, body: bytes) -> bytes:
    return struct.pack("<BBHBi", 1, 0, number, 1, len(body)) + body


def response(*blocks: bytes) -> bytes:
    message = ua.PublishResponse()
    message.Parameters.SubscriptionId = 9
    message.Parameters.NotificationMessage.SequenceNumber = 5
    whole = struct_to_binary(message)  # ends: no blocks, no results, no diagnostics
    return whole[:-12] + struct.pack("<i", len(blocks)) + b"".join(blocks) + whole[-8:]


def decode(data: bytes) -> Published:
    return decode_publish(ua.utils.Buffer(data))


def comparable(found: Notification) -> tuple[object, ...]:
    value = "NaN" if isinstance(found.value, float) and math.isnan(found.value) else found.value
    return (
        found.handle,
        type(value),
        value,
        found.type,
        found.status,
        found.source_time,
        (found.server_time),
    )


EVENTS = struct_to_binary(ua.EventNotificationList(Events=[ua.EventFieldList(1, [ua.Variant(1)])]))


@settings(deadline=None, max_examples=300)
@given(
    st.lists(st.lists(ITEMS, max_size=6), max_size=3),
    st.booleans(),
    st.integers(1, 90),
    st.sampled_from([0, FEWEST_IN_COLUMNS]),
)
def test_every_type_and_mask_comes_out_as_asyncua_decodes_it(
    blocks: list[list[Item]], mixed: bool, times: int, fewest_in_columns: int
) -> None:
    if blocks and blocks[0]:
        blocks[0] = [blocks[0][0]] * times + blocks[0]  # a run
    encoded = [block([encode_item(item) for item in items]) for items in blocks]
    if mixed:
        encoded[1:1] = [extension(916, EVENTS), extension(820, struct.pack("<IB", 0x800D0000, 0))]
    with patch.object(publish_decoder, "FEWEST_IN_COLUMNS", fewest_in_columns):
        published = decode(response(*encoded))
    assert (published.unreadable, published.why) == (b"", "")
    assert published.ended == (0x800D0000 if mixed else None)
    assert published.keep_alive == (not encoded)
    wanted = [comparable(expected_of(item)) for items in blocks for item in items]
    assert [comparable(each) for each in published.notifications] == wanted
    for numbers in published.numbers:
        assert list(numbers.place) == sorted(numbers.place)


def test_a_message_written_by_hand_from_part_6_is_read() -> None:
    data = bytes.fromhex(
        "01 00 3d03"  # PublishResponse, i=829
        "0000000000000000 01000000 00000000 00 ffffffff 000000"  # ResponseHeader
        "07000000 01000000 03000000 00"  # subscription 7, one available: 3, no more
        "03000000 0000000000000000 01000000"  # sequence 3, publish time, one block
        "01 00 2b03 01 42000000"  # DataChangeNotification, i=811, 66 bytes
        "03000000"
        "01000000 1f 0b 000000000000f83f 00000040"  # Double 1.5, Uncertain
        "07 80 3e d5 de b1 9d 01  e703  00 80 3e d5 de b1 9d 01"  # 1970 + 7 ticks, 999 ps; 1970
        "02000000 03 00 00000580"  # null, Bad
        "03000000 01 0c 02000000 6f6b"  # text
        "ffffffff"  # no diagnostics
        "00000000 00000000"
    )
    published = decode(data)
    assert (published.subscription, published.available, published.sequence) == (7, (3,), 3)
    assert not published.why
    assert published.notifications == (
        Notification(1, 1.5, ValueType.DOUBLE, 0x40000000, 0, 0),
        Notification(2, None, ValueType.NULL, 0x80050000, None, None),
        Notification(3, "ok", ValueType.TEXT, 0, None, None),
    )


def test_a_structure_that_does_not_fit_its_type_is_kept_as_bytes_and_costs_nothing_else() -> None:
    type_id = ua.typeid_by_extension_objects[ua.Range].Identifier
    body = struct.pack("<BBHBi", 1, 0, type_id, 1, 3) + b"abc"
    broken = struct.pack("<IBB", 1, 1, 22) + body
    good = struct.pack("<IBBd", 2, 1, 11, 2.0)
    published = decode(response(block([broken, good])))
    assert [each.value for each in published.notifications] == [
        f'{{"type_id":"i={type_id}","body":"YWJj"}}',
        2.0,
    ]
    assert not published.unreadable


GOOD = struct.pack("<IBBdIqq", 1, 15, 11, 1.0, 0, TICKS_1970, TICKS_1970)
HUGE = struct.pack("<i", 2**31 - 1)


@pytest.mark.parametrize(
    "variant",
    [
        *(bytes([0x80 | kind]) + HUGE for kind in range(26)),
        *(bytes([kind]) + HUGE for kind in (12, 15)),
        bytes([0xC6]) + struct.pack("<iiiii", 1, 5, 2, 1_000_000, 1),
        bytes([0x18]) * 5000,
        b"\x0c" + struct.pack("<i", -5),
    ],
)
def test_a_length_that_the_bytes_do_not_have_costs_no_memory_and_nothing_before_it(
    variant: bytes,
) -> None:
    data = response(block([GOOD, struct.pack("<IB", 2, 1) + variant, GOOD]), block([GOOD]))
    decode(data)  # caches
    tracemalloc.start()
    started = time.thread_time()
    published = decode(data)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 1_000_000
    assert time.thread_time() - started < 1
    handles = [each.handle for each in published.notifications]
    assert handles[0] == 1 and handles[-1] == 1 and len(handles) >= 2


def test_damaged_bytes_never_crash_or_hang_and_cost_nothing_before_the_damage() -> None:
    rng = random.Random(1)
    variants = [
        variant_to_binary(ua.Variant(value, kind))
        for value, kind in [
            (1.5, V.Double), ("text", V.String), ([1, 2], V.Int32), ([["a", "b"]], V.String),
            (ua.Range(1, 2), V.ExtensionObject), (uuid.UUID(int=5), V.Guid),
            ([ua.Variant(1, V.Int32)], V.Variant), (ua.LocalizedText("x"), V.LocalizedText),
            (ua.LiteralOperand(ua.Variant([1])), V.ExtensionObject),
            (ua.DataValue(ua.Variant(1.0)), V.DataValue), (True, V.Boolean),
        ]
    ]  # fmt: skip
    items = [
        encode_item((n, 15, variant, 0, TICKS_1970 + n, TICKS_1970, 0))
        for n, variant in enumerate(variants * 3)
    ]
    whole = response(block(items), block([GOOD]))
    wanted = [comparable(each) for each in decode(whole).notifications]
    starts = [whole.index(items[0])]
    for item in items:
        starts.append(starts[-1] + len(item))
    deadline = time.monotonic() + 60
    for turn in range(3000):
        at = rng.randrange(len(whole))
        if turn % 3 == 0:
            broken = whole[:at]
        elif turn % 3 == 1:
            broken = whole[:at] + rng.randbytes(rng.choice([1, 4])) + whole[at + 4 :]
        else:
            broken = whole[:at] + HUGE + whole[at + 4 :]
        try:
            published = decode(broken)
        except (Undecodable, ua.UaStatusCodeError):
            assert at < starts[0]
            continue
        intact = sum(start <= at for start in starts[1:]) if at >= starts[0] else 0
        found = [comparable(each) for each in published.notifications]
        assert found[:intact] == wanted[:intact]
        if turn % 3 == 0 and starts[0] <= at < starts[-1]:
            assert published.unreadable and published.why
    assert time.monotonic() < deadline
