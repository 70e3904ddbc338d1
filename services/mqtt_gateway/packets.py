"""PUBLISH packets out of the bytes that a broker sent. Pure; used by wire.py.

MQTT 3.1.1 section 3.3, MQTT 5 section 3.3. Everything else is left to paho, which takes 25 µs for a
packet with properties; these are nearly all packets that come, and their properties say nothing
that we use.
"""

from __future__ import annotations

from typing import NamedTuple

PUBLISH = 3
"""Type of the packet, upper half of its first byte."""

_MORE = 0x80
_MOST_LENGTH_BYTES = 4


class Malformed(ValueError):
    """A packet that no broker may send; the text says why. The connection cannot go on: where the
    next packet begins is not known any more."""


class Arrived(NamedTuple):
    """A received message.

    Attributes:
        topic: as bytes, as they came: they may be no UTF-8.
        payload: of any length.
        number: packet identifier to acknowledge; 0: QoS 0.
        retained: the broker's last known value, not a new message.
        again: the broker says that it may have sent it before (DUP).
        at: microseconds since 1970, when it was read.
    """

    topic: bytes
    payload: bytes
    number: int
    retained: bool
    again: bool
    at: int


def length_at(data: bytes, at: int) -> tuple[int, int] | None:
    """A variable byte integer: its value and where it ends; None: there is not all of it.

    Raises:
        Malformed: it goes on after its fourth byte.
    """
    value = shift = 0
    for place in range(at, min(at + _MOST_LENGTH_BYTES, len(data))):
        byte = data[place]
        value |= (byte & 0x7F) << shift
        if byte < _MORE:
            return value, place + 1
        shift += 7
    if len(data) - at >= _MOST_LENGTH_BYTES:
        raise Malformed("a length of more than four bytes")
    return None


def publish_at(
    data: bytes, first: int, at: int, end: int, received_at: int, *, v5: bool
) -> Arrived:
    """The message of a PUBLISH packet.

    Args:
        first: the packet's first byte.
        at, end: of what follows its length.

    Raises:
        Malformed: it contradicts itself, or its QoS is none that was asked for.
    """
    if end - at < 2:
        raise Malformed("a PUBLISH packet without a topic")
    begin = at + 2
    stop = begin + (data[at] << 8 | data[at + 1])
    topic = data[begin:stop]
    number = 0
    if first & 0x06:
        if first & 0x04:
            raise Malformed(f"a message of QoS {first >> 1 & 3}; QoS 1 was asked for")
        if stop + 2 > end:
            raise Malformed("a PUBLISH packet that ends before its identifier")
        number = data[stop] << 8 | data[stop + 1]
        if not number:
            raise Malformed("a message of QoS 1 without an identifier")
        stop += 2
    if v5:
        if stop < end and not data[stop]:
            stop += 1
        else:
            found = length_at(data[:end], stop)
            if found is None:
                raise Malformed("a PUBLISH packet that ends before its properties")
            stop = found[0] + found[1]
    if stop > end:
        raise Malformed("a PUBLISH packet that is longer than it says")
    if not topic:
        # Aliases of topics (MQTT 5) are used only where the client offers them; we do not.
        raise Malformed("a message without a topic")
    return Arrived(topic, data[stop:end], number, first & 1 != 0, first & 8 != 0, received_at)
