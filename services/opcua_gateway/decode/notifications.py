"""Publish and Republish responses to plain notifications; called by publishing.py and session.py,
once per message.

The frame is read here, the items by publish_decoder.py. Damage costs what stands behind it in its
block, no more.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass

import numpy as np
from asyncua import ua
from asyncua.ua.ua_binary import nodeid_from_binary
from numpy.typing import NDArray

from aurelian.edge.columns import NO_TIME, Numbers
from aurelian.model.sample import Flag, ValueType
from opcua_gateway.data_types.structures import Types
from opcua_gateway.decode.events import EventFields, read_events
from opcua_gateway.decode.publish_decoder import Damage, Items
from opcua_gateway.decode.response_header import open_response
from opcua_gateway.decode.values import to_value
from opcua_gateway.decode.variants import UNREADABLE, Reader
from opcua_gateway.mapping import Notification

__all__ = [
    "NO_TIME",
    "Numbers",
    "Published",
    "Undecodable",
    "decode_publish",
    "decode_republish",
    "to_value",
]

_STANDARD = Types()


class Undecodable(ValueError):
    """A Publish response whose head cannot be read, so that nothing of it can be used."""


@dataclass(frozen=True, slots=True)
class Published:
    """One Publish response, or one republished message.

    Attributes:
        available: numbers of messages that the server can still send again.
        keep_alive: carries nothing; `sequence` is then that of the next message.
        numbers: the values that are numbers or bools, as columns, one entry a type at most; none
            where they are few.
        others: all other values, in order.
        other_places: position of each of `others` among all values of the message, from 0.
        ended: the server's reason for ending the subscription, None while it lives.
        unreadable: bytes whose notifications could not be decoded, with `why`.
        published_at: PublishTime as on the wire, 100 ns since 1601; one message has one, however
            often it is sent. 0: the server gives none.
        events: in order.
    """

    subscription: int
    sequence: int
    available: tuple[int, ...]
    keep_alive: bool
    numbers: tuple[Numbers, ...] = ()
    others: tuple[Notification, ...] = ()
    other_places: tuple[int, ...] = ()
    ended: int | None = None
    unreadable: bytes = b""
    why: str = ""
    published_at: int = 0
    events: tuple[EventFields, ...] = ()

    def __len__(self) -> int:
        return len(self.others) + sum(map(len, self.numbers)) + len(self.events)

    def number(self, handle: int) -> int | None:
        """The last value of an item that is an Int32, None: there is none."""
        for other in reversed(self.others):
            if other.handle == handle and other.type is ValueType.INT64:
                return other.value if isinstance(other.value, int) else None
        for each in self.numbers:
            if each.type is ValueType.INT64:
                found = each.values[each.handle == handle]
                if len(found):
                    return int(found[-1])
        return None

    def source_time(self, handle: int) -> int | None:
        """Microseconds since 1970 of the value that `number` gives; None: it has none."""
        for other in reversed(self.others):
            if other.handle == handle and other.type is ValueType.INT64:
                return other.source_time
        for each in self.numbers:
            if each.type is ValueType.INT64:
                found = each.source_time[each.handle == handle]
                if len(found):
                    return None if found[-1] == NO_TIME else int(found[-1])
        return None

    def heads(self) -> tuple[NDArray[np.uint32], NDArray[np.uint32], NDArray[np.int64]]:
        """(n,) handle, status and source time (`NO_TIME`: none) of all values, in the order of the
        message."""
        others = self.others
        times = [NO_TIME if each.source_time is None else each.source_time for each in others]
        if not self.numbers:
            return (
                np.array([each.handle for each in others], np.uint32),
                np.array([each.status for each in others], np.uint32),
                np.array(times, np.int64),
            )
        place = np.concatenate(
            [np.array(self.other_places, np.uint32), *(each.place for each in self.numbers)]
        )
        order = np.argsort(place, kind="stable")
        handle = [np.array([each.handle for each in others], np.uint32)]
        status = [np.array([each.status for each in others], np.uint32)]
        handle += [each.handle for each in self.numbers]
        status += [each.status for each in self.numbers]
        source = [np.array(times, np.int64), *(each.source_time for each in self.numbers)]
        return (
            np.concatenate(handle)[order],
            np.concatenate(status)[order],
            np.concatenate(source)[order],
        )

    @property
    def notifications(self) -> tuple[Notification, ...]:
        """All values one by one, in the order of the message; made anew on each call, slow where
        there are columns."""
        if not self.numbers:
            return self.others
        found = dict(zip(self.other_places, self.others, strict=True))
        for numbers in self.numbers:
            for place, handle, value, status, source, server in numbers.rows():
                found[place] = Notification(handle, value, numbers.type, status, source, server)
            if numbers.flags is not None:
                for place, flags in zip(
                    numbers.place.tolist(), numbers.flags.tolist(), strict=True
                ):
                    found[place] = found[place]._replace(flags=Flag(flags))
        return tuple(found[place] for place in sorted(found))


def decode_publish(body: ua.utils.Buffer, types: Types = _STANDARD) -> Published:
    """Read a PublishResponse, structures of `types` to their fields. A notification that cannot be
    decoded costs those after it in its block, no others.

    Raises:
        Undecodable: the head is broken.
        ua.UaStatusCodeError: the service result is Bad.
    """
    try:
        reader = open_response(body)
        subscription = _uint32(reader)
        count = max(reader.length(4), 0)
        available = struct.unpack(f"<{count}I", reader.read(4 * count))
        reader.skip(1)  # MoreNotifications
        return _decode_message(reader, subscription, available, types)
    except ua.UaStatusCodeError:
        raise
    except UNREADABLE as error:
        raise Undecodable(f"head of a Publish response: {error!r}") from error


def decode_republish(
    body: ua.utils.Buffer, subscription: int, types: Types = _STANDARD
) -> Published:
    """Read a RepublishResponse of a subscription. Raises as `decode_publish`."""
    try:
        return _decode_message(open_response(body), subscription, (), types)
    except ua.UaStatusCodeError:
        raise
    except UNREADABLE as error:
        raise Undecodable(f"head of a Republish response: {error!r}") from error


def _decode_message(
    reader: Reader, subscription: int, available: tuple[int, ...], types: Types
) -> Published:
    sequence = _uint32(reader)
    published_at, blocks = struct.unpack("<qi", reader.read(12))
    items = Items(reader.data, types)
    events: list[EventFields] = []
    ended: int | None = None
    unreadable: list[bytes] = []
    why = ""
    for _ in range(blocks):
        damaged_at, block_end = reader.position, reader.end
        try:
            kind = nodeid_from_binary(reader)
            reader.skip(1)  # encoding: a binary body
            (length,) = struct.unpack("<i", reader.read(4))
            if length < 0:
                raise ValueError(f"a block of length {length}")
            # A block may say that it is longer than the message: its items may still be there.
            block_end = min(reader.position + length, reader.end)
            block = Reader(reader.data, reader.position, block_end)
            damaged_at = reader.position
            match kind.Identifier:
                case ua.ObjectIds.DataChangeNotification_Encoding_DefaultBinary:
                    (count,) = struct.unpack("<i", block.read(4))
                    items.read(block.position, block_end, count)
                case ua.ObjectIds.EventNotificationList_Encoding_DefaultBinary:
                    read_events(Reader(block.data, block.position, block_end, types), events)
                case ua.ObjectIds.StatusChangeNotification_Encoding_DefaultBinary:
                    ended = _uint32(block)
            if length > len(reader):
                raise ValueError(f"a block of length {length}, {len(reader)} bytes are left")
        except UNREADABLE as error:
            if isinstance(error, Damage):
                damaged_at = error.position
            # Where nothing is left to keep, the message shows what was missing.
            unreadable.append(reader.data[damaged_at:block_end] or reader.data)
            why = f"notification {items.count + 1} of message {sequence}: {error}"
            if block_end == reader.end:
                break
        reader.position = block_end
    return Published(
        subscription,
        sequence,
        available,
        blocks <= 0,
        *items.values(),
        ended,
        b"".join(unreadable),
        why,
        published_at,
        tuple(events),
    )


def _uint32(reader: Reader) -> int:
    (found,) = struct.unpack("<I", reader.read(4))
    return int(found)
