"""What a decoder of payloads gets and gives. Used by all decoders and by message_map.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import TypeVar

from aurelian.model.mqtt_payloads import TopicModel
from aurelian.model.sample import Flag, ValueType
from mqtt_gateway.json_payload import Broken, Field
from mqtt_gateway.times import Times

_MOST_KNOWN = 10_000

T = TypeVar("T")


class Presence(Enum):
    """What a message says of a device."""

    ONLINE = "online"
    OFFLINE = "offline"  # it said goodbye, or sleeps
    LOST = "lost"  # the broker or the product's hub misses it


@dataclass(frozen=True, slots=True)
class DeviceState:
    """That a device is there, or not.

    Attributes:
        reason: in the device's own words.
        everyone: it is said of every device that these topics speak for (say, by their hub).
    """

    presence: Presence
    reason: str
    everyone: bool = False


@dataclass(frozen=True, slots=True)
class Part:
    """What a message says of one device.

    Attributes:
        members: its values; names are addresses as the plant file has them.
        unit: the device; None: the one of the topic.
        state: None: nothing of that.
        is_aside: understood, and no value by nature (a command, a description).
    """

    members: Sequence[Field | Broken] = ()
    unit: str | None = None
    state: DeviceState | None = None
    is_aside: bool = False


ASIDE = (Part(is_aside=True),)
"""Nothing of a machine."""


@dataclass(frozen=True, slots=True)
class Message:
    """What was published.

    Attributes:
        places: what the template of its topic found.
    """

    topic: str
    payload: bytes
    places: Mapping[str, str] = field(default_factory=dict)

    @property
    def rest(self) -> str:
        """The levels behind the machine's: those of `#` or `{signal}`, else the last one."""
        found = self.places.get("signal")
        return self.topic.rpartition("/")[2] if found is None else found.strip("/")


@dataclass(frozen=True, slots=True)
class Memory:
    """What one source's devices said of themselves (say, types of values), bounded: the oldest is
    forgotten first."""

    known: dict[str, object] = field(default_factory=dict)

    def put(self, key: str, value: object) -> None:
        """Remember."""
        if key not in self.known and len(self.known) >= _MOST_KNOWN:
            del self.known[next(iter(self.known))]
        self.known[key] = value

    def get(self, key: str, kind: type[T]) -> T | None:
        """What was remembered; None: nothing of that type."""
        found = self.known.get(key)
        return found if isinstance(found, kind) else None


@dataclass(frozen=True, slots=True)
class Context:
    """What is known beside the message.

    Attributes:
        unit: what the topic calls its device; empty: it names none.
        declared: types by address that the plant file has for a device.
        times: reads times.
        entry: the plant file's entry with the topic.
        memory: what the source's devices said before.
        received_at: microseconds since 1970; None: not known.
    """

    unit: str
    declared: Callable[[str], Mapping[str, ValueType]]
    times: Times
    entry: TopicModel
    memory: Memory
    received_at: int | None = None

    def time(self, found: object, stream: str) -> tuple[int | None, Flag]:
        """A time of a payload, see `Times.read`."""
        return self.times.read(found, stream, self.received_at)


Decoder = Callable[[Message, Context], Sequence[Part]]
"""Reads one message. No I/O; the same message with the same context gives the same parts.

Raises:
    Unreadable: the payload is not what it should be; the text says why.
"""
