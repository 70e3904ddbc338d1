"""Events from their bytes, and what their fields mean."""

from __future__ import annotations

import json
import struct
from datetime import UTC, datetime

import pytest
from asyncua import ua
from asyncua.ua.ua_binary import struct_to_binary, variant_to_binary
from hypothesis import given
from hypothesis import strategies as st

from opcua_gateway.alarms.event import Unusable, to_alarm
from opcua_gateway.alarms.fields import EventField, event_filter, standard
from opcua_gateway.decode.events import EventFields
from opcua_gateway.decode.notifications import decode_publish

FIELDS = standard()
NAMESPACES = ("http://opcfoundation.org/UA/", "urn:me", "urn:maker;x")


def fields(**given: object) -> EventFields:
    """An event of `FIELDS`, `/` written as `__`."""
    named = {name.replace("__", "/"): value for name, value in given.items()}
    values = [named.pop(each.key, None) for each in FIELDS]
    assert not named
    return EventFields(1, tuple((value, ua.Variant(value).VariantType) for value in values), b"")


HOT = {
    "EventId": b"\x01\x02",
    "EventType": ua.NodeId(7, 2),
    "SourceNode": ua.NodeId("a;b=1", 2),
    "Time": datetime(2026, 1, 5, 6, 0, 0, 7, UTC),
    "Message": ua.LocalizedText("hot"),
    "Severity": 800,
    "ConditionId": ua.NodeId("c", 1),
    "ConditionName": "over",
    "Retain": True,
}


def block(kind: int, body: bytes, length: int | None = None) -> bytes:
    head = struct.pack("<BBHB", 1, 0, kind, 1)
    return head + struct.pack("<i", len(body) if length is None else length) + body


def message(*blocks: bytes) -> ua.utils.Buffer:
    """A PublishResponse with these notifications."""
    header = struct.pack("<BBH", 1, 0, 829) + struct.pack("<qIIBiHB", 0, 1, 0, 0, -1, 0, 0)
    head = struct.pack("<IiBIqi", 5, 0, 0, 9, 0, len(blocks))
    return ua.utils.Buffer(header + head + b"".join(blocks) + struct.pack("<ii", 0, 0))


def values(handle: int, value: float) -> bytes:
    """A DataChangeNotification of one Double."""
    return block(811, struct.pack("<iIBBdi", 1, handle, 1, 11, value, -1))


def event_list(*events: list[ua.Variant], handle: int = 3) -> bytes:
    body = struct.pack("<i", len(events))
    for each in events:
        body += struct.pack("<Ii", handle, len(each)) + b"".join(map(variant_to_binary, each))
    return block(916, body)


def test_events_and_values_of_one_message_are_both_read() -> None:
    event = [ua.Variant(b"id"), ua.Variant(ua.NodeId(2041)), ua.Variant(5, ua.VariantType.UInt16)]
    found = decode_publish(message(values(1, 0.5), event_list(event, event), values(2, 1.5)))
    assert [each.values[0][0] for each in found.events] == [b"id", b"id"]
    assert found.events[0].handle == 3 and found.events[0].values[2] == (5, ua.VariantType.UInt16)
    assert [each.value for each in found.notifications] == [0.5, 1.5]
    assert len(found) == 4 and not found.unreadable


def test_a_broken_event_costs_those_behind_it_in_its_block_alone() -> None:
    good, bad = [ua.Variant(b"good")], [ua.Variant(b"bad!")]
    whole = event_list(good, bad, good).replace(b"\x04\0\0\0bad!", b"\xff\xff\xff\x7fbad!")
    found = decode_publish(message(values(1, 0.5), whole, values(2, 1.5), event_list(good)))
    assert [each.values[0][0] for each in found.events] == [b"good", b"good"]
    assert [each.value for each in found.notifications] == [0.5, 1.5]
    assert b"bad!" in found.unreadable and "event 2" in found.why


@given(st.binary(max_size=300))
def test_no_bytes_of_an_event_list_cost_what_stands_in_other_blocks(body: bytes) -> None:
    found = decode_publish(message(values(1, 0.5), block(916, body), values(2, 1.5)))
    assert [each.value for each in found.notifications] == [0.5, 1.5]


def test_an_alarm_has_the_names_of_part_9() -> None:
    found = to_alarm(
        FIELDS,
        fields(
            **HOT,
            ActiveState__Id=True,
            AckedState__Id=False,
            SuppressedState__Id=True,
            ShelvingState__CurrentState=ua.LocalizedText("TimedShelved"),
            EnabledState__Id=True,
            BranchId=ua.NodeId(),
        ),
        NAMESPACES,
    )
    assert (found.code, found.message, found.severity) == ("over", "hot", 800)
    assert (found.condition, found.branch) == ("nsu=urn:me;s=c", "")
    assert (found.event_type, found.source_node) == (
        "nsu=urn:maker;x;i=7",
        "nsu=urn:maker;x;s=a;b=1",
    )
    assert (found.active, found.retain, found.acked, found.shelved) == (True, True, False, True)
    assert found.suppressed and not found.HasField("confirmed")
    assert found.event_id == b"\x01\x02" and found.source_time == 1_767_592_800_000_007


@pytest.mark.parametrize(
    ("given_", "active", "retain"),
    [
        ({"ActiveState/Id": True}, True, True),
        ({"ActiveState/Id": False}, False, True),
        ({}, True, True),  # a condition that is no alarm
        ({"ActiveState/Id": True, "Retain": False}, True, False),
        ({"ActiveState/Id": True, "Retain": None}, True, True),
        ({"ActiveState/Id": False, "Retain": None, "AckedState/Id": False}, False, True),
        ({"ActiveState/Id": False, "Retain": None, "AckedState/Id": True}, False, False),
        ({"ActiveState/Id": True, "EnabledState/Id": False}, False, False),
        ({"ActiveState/Id": ua.StatusCode(0x80990000), "Retain": False}, False, False),
        ({"ConditionId": None, "ActiveState/Id": True}, False, False),
    ],
)
def test_what_is_active_and_of_interest(
    given_: dict[str, object], active: bool, retain: bool
) -> None:
    named = {name.replace("/", "__"): value for name, value in (HOT | given_).items()}
    found = to_alarm(FIELDS, fields(**named), NAMESPACES)
    assert (found.active, found.retain) == (active, retain)


def test_an_event_without_an_id_is_known_by_what_it_says() -> None:
    one, same, other = (
        to_alarm(FIELDS, fields(**HOT | {"EventId": None, "Severity": severity}), NAMESPACES)
        for severity in (1, 1, 2)
    )
    assert one.event_id == same.event_id != other.event_id and len(one.event_id) == 16


def test_what_cannot_be_used_says_why() -> None:
    with pytest.raises(Unusable, match="of which type"):
        to_alarm(FIELDS, fields(EventId=b"1"), NAMESPACES)
    with pytest.raises(Unusable, match="it has 1 fields"):
        to_alarm(FIELDS, EventFields(1, ((b"1", ua.VariantType.ByteString),), b""), NAMESPACES)


def test_a_makers_fields_are_json_of_a_bounded_size() -> None:
    own = [
        EventField(name, "ns=2;i=1", (f"2:{name}",), own=True)
        for name in ("Big", "Nan", "Bytes", "List", "Node", "Bad", "Nothing", "Odd\0")
    ]
    found = (
        ("x" * 50_000, ua.VariantType.String),
        (float("nan"), ua.VariantType.Double),
        (b"\xff", ua.VariantType.ByteString),
        ([1, 2], ua.VariantType.Int32),
        (ua.NodeId(3, 1), ua.VariantType.NodeId),
        (ua.StatusCode(0x80BF0000), ua.VariantType.StatusCode),
        (None, ua.VariantType.Null),
        ("a\0\udcff", ua.VariantType.String),
    )
    event = fields(**HOT)
    made = to_alarm([*FIELDS, *own], EventFields(1, (*event.values, *found), b""), NAMESPACES)
    assert json.loads(made.fields) == {
        "Big": "(too long)",
        "Nan": None,
        "Bytes": "ff",
        "List": [1, 2],
        "Node": "ns=1;i=3",
        "Odd\\x00": "6100ff",
    }
    made.SerializeToString()


def test_the_filter_asks_for_each_field_and_refers_forward_alone() -> None:
    asked = event_filter(FIELDS, where=True)
    assert len(asked.SelectClauses) == len(FIELDS)
    nodes = [each for each in asked.SelectClauses if not each.BrowsePath]
    assert [each.AttributeId for each in nodes] == [ua.AttributeIds.NodeId]
    for number, element in enumerate(asked.WhereClause.Elements):
        for operand in element.FilterOperands:
            if isinstance(operand, ua.ElementOperand):
                assert number < operand.Index < len(asked.WhereClause.Elements)
    assert not event_filter(FIELDS, where=False).WhereClause.Elements
    assert struct_to_binary(asked)
