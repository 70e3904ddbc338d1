"""The events of an EventNotificationList, each as the values of its select clauses. Pure; called by
notifications.py."""

from __future__ import annotations

from dataclasses import dataclass

from asyncua import ua

from opcua_gateway.decode.publish_decoder import Damage
from opcua_gateway.decode.variants import UNREADABLE, Reader, read_variant

_MOST_FIELDS = 10_000


@dataclass(frozen=True, slots=True)
class EventFields:
    """One event.

    Attributes:
        handle: of its monitored item.
        values: content and type for each select clause, as asyncua's Variant has them.
        data: as it was on the wire.
    """

    handle: int
    values: tuple[tuple[object, ua.VariantType], ...]
    data: bytes


def read_events(block: Reader, into: list[EventFields]) -> None:
    """Read the events of a block. A Variant has no length, so that one that cannot be read costs
    those behind it.

    Raises:
        Damage: not all of them are there; those before it were taken.
    """
    start = block.position
    try:
        for _ in range(max(block.length(8), 0)):
            start = block.position
            handle = int.from_bytes(block.read(4), "little")
            count = max(block.length(), 0)
            if count > _MOST_FIELDS:
                raise ValueError(f"an event of {count} fields")
            values = tuple(read_variant(block) for _ in range(count))
            into.append(EventFields(handle, values, block.data[start : block.position]))
    except UNREADABLE as error:
        raise Damage(start, f"event {len(into) + 1}: {error!r}") from error
