"""PUBLISH packets, beside paho's own decoder and by hand (MQTT 5, 3.3)."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from paho.mqtt.client import _packet
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from mqtt_gateway.packets import Arrived, Malformed, length_at, publish_at

topics = st.binary(min_size=1, max_size=300)


def body(topic: bytes, payload: bytes, number: int, properties: bytes | None) -> bytes:
    made = len(topic).to_bytes(2) + topic
    if number:
        made += number.to_bytes(2)
    return made + (properties or b"") + payload


@st.composite
def properties(draw: st.DrawFn) -> bytes:
    made = Properties(PacketTypes.PUBLISH)
    if draw(st.booleans()):
        made.MessageExpiryInterval = draw(st.integers(0, 2**32 - 1))
    if draw(st.booleans()):
        made.ContentType = draw(st.text("abc/ü", max_size=90))
    for _ in range(draw(st.integers(0, 3))):
        made.UserProperty = draw(st.tuples(st.text("kä", max_size=40), st.text("vö", max_size=40)))
    return bytes(made.pack())


@given(topics, st.binary(max_size=300), st.integers(0, 65535), st.booleans(), properties())
def test_a_message_is_what_paho_reads(
    topic: bytes, payload: bytes, number: int, retained: bool, more: bytes
) -> None:
    first = 0x30 | (0x0A if number else 0) | retained
    for version, given_ in (
        (MQTTProtocolVersion.MQTTv5, more),
        (MQTTProtocolVersion.MQTTv311, b""),
    ):
        packet = body(topic, payload, number, given_)
        wanted = _packet.decode_publish(first, packet, version)
        data = b"before" + packet + b"behind"
        is_v5 = version == MQTTProtocolVersion.MQTTv5
        found = publish_at(data, first, 6, 6 + len(packet), 7, v5=is_v5)
        assert found == Arrived(
            wanted.topic, wanted.payload, wanted.mid, wanted.retain, wanted.dup, 7
        )


@given(st.binary(max_size=40), st.integers(0, 15), st.booleans())
@example(b"\x00\x01a\x00", 2, True)
@example(b"\xff\xff", 0, False)
def test_any_bytes_are_a_message_or_malformed(data: bytes, flags: int, v5: bool) -> None:
    try:
        found = publish_at(data, 0x30 | flags, 0, len(data), 0, v5=v5)
    except Malformed as error:
        assert str(error)
    else:
        assert found.topic and len(found.topic) + len(found.payload) <= len(data)


@pytest.mark.parametrize(
    ("data", "found"),
    [
        (b"\x00", (0, 1)),
        (b"\x7f", (127, 1)),
        (b"\x80\x01", (128, 2)),
        (b"\xff\xff\xff\x7f", (268_435_455, 4)),
        (b"\x80", None),
        (b"", None),
    ],
)
def test_lengths(data: bytes, found: tuple[int, int] | None) -> None:
    """Table 1-1 of the specification."""
    assert length_at(data, 0) == found


def test_a_length_ends_after_its_fourth_byte() -> None:
    with pytest.raises(Malformed, match="four bytes"):
        length_at(b"\x80\x80\x80\x80\x01", 0)
