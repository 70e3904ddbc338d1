"""OPC UA without a server: node ids, types, status, message numbers, acknowledgements, and the
walls of the settings."""

import json
import math
import uuid
from datetime import UTC, datetime, timedelta
from pathlib import Path

import numpy as np
import pytest
from asyncua import ua
from asyncua.ua.ua_binary import struct_to_binary
from hypothesis import given
from hypothesis import strategies as st

from aurelian.model.plant import Plant
from aurelian.model.sample import Flag, ValueType
from opcua_gateway.decode.notifications import decode_publish, to_value
from opcua_gateway.mapping import (
    AddressError,
    Notification,
    overflowed,
    parse_address,
    tags_of,
    to_reading,
)
from opcua_gateway.message_numbers import (
    LAST,
    VALUES_ON_THE_WAY,
    Acknowledgements,
    Sequence,
    Window,
    advance,
)
from opcua_gateway.settings import OpcuaGatewaySettings
from opcua_gateway.sources import make_sources
from opcua_gateway.units_heard import UnitsHeard
from tests.source_alone import taking
from tests.waiting import until

EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def make_plant(
    url: str = "opc.tcp://127.0.0.1:4840", address: str = "nsu=urn:press;s=Force", **source: object
) -> Plant:
    return Plant.model_validate(
        {
            "company": {"id": "pilot-x", "name": "Pilot X"},
            "site": "north",
            "time_zone": "UTC",
            "sources": [{"id": "press-opcua", "kind": "opcua", "url": url, **source}],
            "areas": [
                {
                    "name": "forming",
                    "lines": [
                        {
                            "name": "line-1",
                            "products": [{"id": "cup", "ideal_cycle_s": 2}],
                            "units": [
                                {
                                    "name": "press",
                                    "source": "press-opcua",
                                    "signals": [
                                        {"name": "force", "address": address},
                                        {"name": "parts", "address": "ns=2;i=7"},
                                    ],
                                },
                                {
                                    "name": "oven",
                                    "source": "press-opcua",
                                    "signals": [{"name": "heat", "address": "s=Heat"}],
                                },
                            ],
                        }
                    ],
                }
            ],
        }
    )


def notification(handle: int = 0, status: int = 0, **changes: object) -> Notification:
    values = {"value": 1.0, "type": ValueType.DOUBLE, "source_time": 5, "server_time": 6} | changes
    return Notification(handle=handle, status=status, **values)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "namespaces", "node"),
    [
        ("nsu=urn:press;s=Press.Force", ["", "urn:server", "urn:press"], "ns=2;s=Press.Force"),
        (
            "nsu=urn:press;s=Press.Force",
            ["", "urn:server", "urn:extra", "urn:press"],
            "ns=3;s=Press.Force",
        ),
        ("nsu=urn:press;s=Press.Force", [""], None),
        ("ns=4;i=1001", [""], "ns=4;i=1001"),
        ("i=2258", [""], "ns=0;i=2258"),
        ("nsu=urn:a;s=odd;name=1", ["", "urn:a"], "ns=1;s=odd;name=1"),
        ("nsu=urn:a%3Bb%25;s=x", ["", "urn:a;b%"], "ns=1;s=x"),
        ("nsu=urn:a%3bb;s=x", ["", "urn:a;b"], "ns=1;s=x"),
        # As it stands it comes first: not everybody escapes.
        ("nsu=http://a/%25b;s=x", ["http://a/%b", "http://a/%25b"], "ns=1;s=x"),
        ("nsu=http://a/%20b;s=x", ["", "http://a/%20b"], "ns=1;s=x"),
        ("nsu=urn:größe b;s= Maß ", ["", "urn:größe b"], "ns=1;s= Maß "),
        ("ns=1;b=AP8=", [""], "ns=1;b=0x00ff"),
        ("ns=1;b=0xABCD==", [""], "ns=1;b=0xd3100108"),
        (
            "ns=1;g=09087e75-8e5e-499b-954f-f2a9603db28a",
            [""],
            "ns=1;g=09087e75-8e5e-499b-954f-f2a9603db28a",
        ),
    ],
)
def test_a_namespace_is_found_by_its_uri_wherever_the_server_has_it(
    text: str, namespaces: list[str], node: str | None
) -> None:
    assert parse_address(text).node_id(namespaces) == node
    assert node is None or ua.NodeId.from_string(node)


@pytest.mark.parametrize(
    "text", ["", "Press.Force", "ns=x;s=a", "ns=1;i=abc", "ns=1;i=-1", "g=no-guid", "b=%%", "s="]
)
def test_an_unusable_address_is_refused_with_its_signal(text: str) -> None:
    with pytest.raises(AddressError):
        parse_address(text)
    if text:
        with pytest.raises(ValueError, match="pilot-x/north/forming/line-1/press/force"):
            make_plant(address=text)


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("opc.tcp://user:word@127.0.0.1:4840", "`password_file`"),
        ("opc.tcp://host:99999", "a port is 0 to 65535"),
        ("opc.tcp://::1:4840", "in brackets"),
        (" opc.tcp://host:4840", "a space stands before"),
        ("opc.tcp://ho\x00st:4840", "cannot be seen"),
        ("opc.tcp://ho\tst:4840", "cannot be seen"),
        ("opc.tcp://host:4840/\u202ea", "cannot be seen"),
        ("opc.tcp://a..b:4840", "can be no host"),
        (f"opc.tcp://{64 * 'a'}:4840", "can be no host"),
        ("opc.tcp://host:4840?x", "no place in an address"),
        ("http://127.0.0.1:4840", "no address of kind opcua"),
        ("opc.tcp://127.0.0.1", "names no port"),
    ],
)
def test_an_unusable_address_of_a_server_is_refused(url: str, why: str) -> None:
    with pytest.raises(ValueError, match=why):
        make_plant(url)


@pytest.mark.parametrize("url", ["opc.tcp://10.0.0.7:4840", "opc.tcp://machine.example:4840"])
async def test_a_server_beyond_loopback_without_security_costs_its_source_alone(
    tmp_path: Path, url: str
) -> None:
    plants = [make_plant(url, security={"policy": "None"}), make_plant("opc.tcp://127.0.0.1:4840")]
    refused, other = make_sources(OpcuaGatewaySettings(state=tmp_path), plants)
    assert other.model.refused_in_clear(()) == ""
    async with taking(refused) as taken:
        await until(lambda: bool(taken), "why the source is not spoken to")
    (event,) = taken[0].events
    assert "would speak to it in the clear" in event.death.reason
    assert "AURELIAN_OPCUA_INSECURE_HOSTS" in event.death.reason


@pytest.mark.parametrize("security", [{}, {"security": {"policy": "None"}}])
def test_a_closed_test_network_may_be_named(
    tmp_path: Path, security: dict[str, dict[str, str]]
) -> None:
    for name in ("pilot", "Pilot"):
        settings = OpcuaGatewaySettings(opcua_insecure_hosts=(name,), state=tmp_path)
        (source,) = make_sources(settings, [make_plant("opc.tcp://pilot:4840", **security)])
        assert source.model.security_in((name,)).policy == "None"
        assert source.model.refused_in_clear((name,)) == ""


def test_a_server_beyond_loopback_is_secured_where_nothing_is_said(tmp_path: Path) -> None:
    settings = OpcuaGatewaySettings(state=tmp_path)
    (source,) = make_sources(settings, [make_plant("opc.tcp://plc:4840")])
    security = source.model.security_in(())
    assert (security.policy, security.mode, security.trust) == ("best", "SignAndEncrypt", "list")


@pytest.mark.parametrize(
    ("value", "kind", "found", "type"),
    [
        (True, ua.VariantType.Boolean, True, ValueType.BOOL),
        (-128, ua.VariantType.SByte, -128, ValueType.INT64),
        (255, ua.VariantType.Byte, 255, ValueType.INT64),
        (-(2**63), ua.VariantType.Int64, -(2**63), ValueType.INT64),
        (2**64 - 1, ua.VariantType.UInt64, 2**64 - 1, ValueType.UINT64),
        (1.5, ua.VariantType.Float, 1.5, ValueType.DOUBLE),
        (math.inf, ua.VariantType.Double, math.inf, ValueType.DOUBLE),
        ("Größe", ua.VariantType.String, "Größe", ValueType.TEXT),
        ("\udcff", ua.VariantType.String, b"\xff", ValueType.BYTES),
        (b"\x00\xff", ua.VariantType.ByteString, b"\x00\xff", ValueType.BYTES),
        (
            datetime(2026, 1, 5, 6, 0, 0, 1500, tzinfo=UTC),
            ua.VariantType.DateTime,
            "2026-01-05T06:00:00.001500Z",
            ValueType.TEXT,
        ),
        (
            uuid.UUID(int=1),
            ua.VariantType.Guid,
            "00000000-0000-0000-0000-000000000001",
            ValueType.TEXT,
        ),
        (ua.LocalizedText("auf", "de"), ua.VariantType.LocalizedText, "auf", ValueType.TEXT),
        (ua.QualifiedName("a", 2), ua.VariantType.QualifiedName, "2:a", ValueType.TEXT),
        (ua.NodeId("x", 2), ua.VariantType.NodeId, "ns=2;s=x", ValueType.TEXT),
        (ua.StatusCode(0x80310000), ua.VariantType.StatusCode, 0x80310000, ValueType.INT64),
        (None, ua.VariantType.Null, None, ValueType.NULL),
        (None, ua.VariantType.String, None, ValueType.NULL),
        ([1.5, math.nan, -math.inf], ua.VariantType.Double, "[1.5,null,null]", ValueType.JSON),
        ([[1, 2], [3, 2**60]], ua.VariantType.Int64, f"[[1,2],[3,{2**60}]]", ValueType.JSON),
        ([b"\x01"], ua.VariantType.ByteString, '["AQ=="]', ValueType.JSON),
    ],
)
def test_every_type_has_a_place(
    value: object, kind: ua.VariantType, found: object, type: ValueType
) -> None:
    assert to_value(value, kind) == (found, type)


def test_a_structure_is_json_by_its_members_and_an_unknown_one_keeps_its_bytes() -> None:
    known, _ = to_value(ua.Range(Low=1.0, High=math.nan), ua.VariantType.ExtensionObject)
    assert json.loads(str(known)) == {"Low": 1.0, "High": None}
    unknown, _ = to_value(
        ua.ExtensionObject(ua.NodeId(77, 3), b"\x01"), ua.VariantType.ExtensionObject
    )
    assert json.loads(str(unknown)) == {"type_id": "ns=3;i=77", "body": "AQ=="}


def response(items: list[ua.MonitoredItemNotification], sequence: int = 5) -> bytes:
    message = ua.PublishResponse()
    message.Parameters.SubscriptionId = 9
    message.Parameters.AvailableSequenceNumbers = [4, 5]
    message.Parameters.NotificationMessage.SequenceNumber = sequence
    if items:
        message.Parameters.NotificationMessage.NotificationData = [
            ua.DataChangeNotification(MonitoredItems=items)
        ]
    return struct_to_binary(message)


def item(handle: int, value: ua.DataValue) -> ua.MonitoredItemNotification:
    return ua.MonitoredItemNotification(ClientHandle=handle, Value=value)


@given(
    st.lists(
        st.tuples(
            st.integers(0, 2**32 - 1),
            st.one_of(
                st.floats(allow_nan=False).map(lambda v: ua.Variant(v, ua.VariantType.Double)),
                st.integers(-(2**63), 2**63 - 1).map(lambda v: ua.Variant(v, ua.VariantType.Int64)),
                st.text(st.characters(codec="utf-8")).map(
                    lambda v: ua.Variant(v, ua.VariantType.String)
                ),
                st.binary().map(lambda v: ua.Variant(v, ua.VariantType.ByteString)),
            ),
            st.sampled_from([0, 0x40000000, 0x80310000, 0x00000480]),
            st.one_of(
                st.none(),
                st.datetimes(datetime(1700, 1, 1), datetime(2400, 1, 1)).map(
                    lambda t: t.replace(tzinfo=UTC)
                ),
            ),
        ),
        max_size=8,
    )
)
def test_what_a_server_encodes_comes_out_as_it_went_in(
    rows: list[tuple[int, ua.Variant, int, datetime | None]],
) -> None:
    items = [
        item(handle, ua.DataValue(value, ua.StatusCode(status), SourceTimestamp=time))
        for handle, value, status, time in rows
    ]
    published = decode_publish(ua.utils.Buffer(response(items)))
    assert (published.subscription, published.sequence, published.available) == (9, 5, (4, 5))
    assert published.keep_alive == (not items)
    assert [(n.handle, n.value, n.status, n.source_time) for n in published.notifications] == [
        (
            handle,
            value.Value,
            status,
            None if time is None else (time - EPOCH) // timedelta(microseconds=1),
        )
        for handle, value, status, time in rows
    ]


@pytest.mark.parametrize("none", [datetime(1601, 1, 1, tzinfo=UTC), datetime(9999, 12, 31)])
def test_the_ends_of_the_calendar_say_that_there_is_no_time(none: datetime) -> None:
    """node-opcua sends the last one as the server's time of every value."""
    value = ua.DataValue(ua.Variant(1.0), SourceTimestamp=none, ServerTimestamp=none)
    (found,) = decode_publish(ua.utils.Buffer(response([item(1, value)]))).notifications
    assert (found.source_time, found.server_time) == (None, None)


def test_a_value_that_cannot_be_decoded_costs_none_before_it_and_keeps_its_bytes() -> None:
    good = item(1, ua.DataValue(ua.Variant(1.0, ua.VariantType.Double)))
    whole = response([good, good])
    broken = whole.replace(
        bytes([11]) + b"\x00\x00\x00\x00\x00\x00\xf0\x3f", bytes([63]) + b"\xff" * 8
    )
    start = whole.index(b"\x00\x00\xf0\x3f") + 4
    published = decode_publish(ua.utils.Buffer(whole[:start] + broken[start:]))
    assert [n.value for n in published.notifications] == [1.0]
    assert published.unreadable
    assert "notification 2 of message 5" in published.why


@pytest.mark.parametrize(
    ("status", "overflow"),
    [(0x480, True), (0x40000480, True), (0x80, False), (0x400, False), (0, False)],
)
def test_an_overflow_of_the_servers_queue_is_seen_in_the_status(
    status: int, overflow: bool
) -> None:
    assert overflowed(np.array([status], np.uint32)).tolist() == [overflow]


def test_a_reading_keeps_status_and_times_and_has_the_servers_time_without_a_source_time() -> None:
    plant = make_plant()
    tag = tags_of(plant, plant.sources[0])[0]
    reading = to_reading(tag, notification(status=0x80310000), initial=True)
    assert (reading.status, reading.source_time, reading.server_time, reading.flags) == (
        0x80310000,
        5,
        6,
        Flag.INITIAL,
    )
    assert reading.line == "pilot-x/north/forming/line-1"
    assert to_reading(tag, notification(source_time=None), initial=False).source_time == 6


def test_a_unit_is_silent_when_all_its_nodes_lost_communication_and_only_then() -> None:
    plant = make_plant()
    tags = tags_of(plant, plant.sources[0])
    units = UnitsHeard(tags)
    press, oven = tags[0].unit.id, tags[2].unit.id

    def update(*statuses: tuple[int, int]) -> tuple[list[str], list[str]]:
        handles, codes = zip(*statuses, strict=True)
        return units.update(np.array(handles, np.uint32), np.array(codes, np.uint32))

    assert update((0, 0x80310000)) == ([], [])
    assert update((1, 0x80310000), (2, 0)) == ([press], [])
    assert units.heard == [oven]
    assert update((1, 0x80050001)) == ([], [])
    assert update((1, 0)) == ([], [press])
    assert units.all_heard
    assert update((1, 0x80310000), (1, 0)) == ([], [])
    assert update((1, 0), (1, 0x80310000)) == ([press], [])


def test_numbers_go_from_the_last_to_one_and_never_to_zero() -> None:
    sequence = Sequence(LAST)
    assert sequence.observe(LAST, keep_alive=False).fresh
    assert sequence.expected == 1
    assert sequence.observe(1, keep_alive=False) == sequence.observe(2, keep_alive=False)


@pytest.mark.parametrize("numbers", [(0, 1, 2), (LAST - 1, LAST, 0, 1)])
def test_a_message_with_number_zero_is_fresh_and_no_other_is_lost(numbers: tuple[int, ...]) -> None:
    sequence = Sequence(numbers[0] or 1)
    for number in numbers:
        seen = sequence.observe(number, keep_alive=False)
        assert (seen.fresh, seen.missing, seen.skipped) == (True, (), 0)
    assert not sequence.observe(0, keep_alive=True).fresh


def test_a_keep_alive_shows_what_was_lost_before_it() -> None:
    sequence = Sequence(7)
    assert sequence.observe(9, keep_alive=True).missing == (7, 8)
    assert sequence.observe(9, keep_alive=False).fresh


def test_a_message_that_was_seen_is_not_fresh() -> None:
    sequence = Sequence(1)
    assert [sequence.observe(n, keep_alive=False).fresh for n in (1, 2, 1, 2, 3)] == [
        True,
        True,
        False,
        False,
        True,
    ]


@pytest.mark.parametrize("wrong", [2 + 512, 2 + 2**20, LAST // 3])
def test_after_a_number_that_was_damaged_the_right_ones_count(wrong: int) -> None:
    """They were taken for messages that had come already, for as long as the number was ahead."""
    sequence = Sequence(1)
    assert [sequence.observe(n, keep_alive=False).fresh for n in (1, wrong)] == [True, True]
    assert [sequence.observe(n, keep_alive=False).fresh for n in (3, 4, 3)] == [True, True, False]
    assert sequence.observe(7, keep_alive=False).missing == (5, 6)


def test_a_keep_alive_that_is_overtaken_by_its_message_takes_nothing_back() -> None:
    sequence = Sequence(5)
    assert sequence.observe(5, keep_alive=False).fresh
    assert not sequence.observe(5, keep_alive=True).fresh
    assert sequence.expected == 6


@given(st.integers(1, LAST), st.lists(st.integers(1, 5), max_size=30))
def test_seen_and_missing_numbers_together_are_all_numbers(start: int, steps: list[int]) -> None:
    sequence, number, known = Sequence(start), advance(start, -1), []
    for step in steps:
        number = advance(number, step)
        seen = sequence.observe(number, keep_alive=False)
        known += [*seen.missing, number]
    assert known == [advance(start, n) for n in range(len(known))]


def test_messages_are_acknowledged_once_when_stored_and_the_window_closes_while_they_wait() -> None:
    window = Window(2)
    book, other = Acknowledgements(window), Acknowledgements(window)
    book.delivered(1, 5)
    book.delivered(1, 5)
    assert window.room.is_set()
    other.delivered(1, 5)
    assert not window.room.is_set()
    other.stored(1)
    other.stored(1)
    book.delivered(2, 5)
    assert not window.room.is_set()
    book.repeated(2)
    assert book.take() == []
    book.stored(1)
    assert window.room.is_set()
    book.put_back(book.take())
    book.stored(2)
    assert book.take() == [1, 2]


def test_the_private_parts_of_asyncua_that_the_gateway_leans_on_are_there(tmp_path: Path) -> None:
    from asyncua import Client

    client = Client("opc.tcp://127.0.0.1:4840")
    session = client.uaclient.session
    assert callable(session._send_request) and callable(session.ensure_publish_loop)
    assert callable(session.restore_authentication_token) and hasattr(client, "_policy_ids")
    assert hasattr(client.uaclient._make_protocol()._connection, "_limits")


def test_the_window_is_of_values_too() -> None:
    window = Window(64)
    book = Acknowledgements(window)
    book.delivered(1, VALUES_ON_THE_WAY - 1)
    assert window.room.is_set()
    book.delivered(2, 1)
    assert not window.room.is_set()
    book.stored(2)
    assert window.room.is_set()
