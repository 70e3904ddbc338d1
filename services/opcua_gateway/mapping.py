"""Nodes to signals and notifications to readings: what a value of a node means in the plant. Pure;
called by source.py."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from aurelian.edge.gateway import Reading
from aurelian.model.addresses import AddressError, NodeAddress, parse_address
from aurelian.model.evidence import UNCERTAIN_NO_COMMUNICATION
from aurelian.model.opcua_model import EventTime
from aurelian.model.plant import Plant, Unit
from aurelian.model.plant_parts import SignalModel
from aurelian.model.sample import Flag, Signal, Value, ValueType
from aurelian.model.source_model import SourceModel
from aurelian.model.status_codes import STATUS_CODES

BAD_NODE_ID_INVALID, BAD_NODE_ID_UNKNOWN = 0x80330000, 0x80340000
"""Status of an item whose node or namespace the server does not have, or has no more."""

OVERFLOW_BITS, OVERFLOW = 0x0C80, 0x0480
"""Of a status code: the bits, and what they are where values were lost before it."""

NO_COMMUNICATION = (
    STATUS_CODES["BadCommunicationError"],
    STATUS_CODES["BadNoCommunication"],
    STATUS_CODES["BadNotConnected"],
    STATUS_CODES["BadDeviceFailure"],
    STATUS_CODES["BadSensorFailure"],
    STATUS_CODES["BadOutOfService"],
    UNCERTAIN_NO_COMMUNICATION,
)
"""Status of a value whose machine the server does not reach."""


@dataclass(frozen=True, slots=True)
class Tag:
    """One node that is watched, and the signal that it is."""

    unit: Unit
    model: SignalModel
    signal: Signal
    address: NodeAddress


class Notification(NamedTuple):
    """One value of one monitored item, free of the protocol library's types.

    Attributes:
        handle: number of the tag, from 0.
        status: the raw 32-bit status code.
        source_time, server_time: microseconds since 1970; None where the server gave none.
        flags: what is known of it beside.
    """

    handle: int
    value: Value
    type: ValueType
    status: int
    source_time: int | None
    server_time: int | None
    flags: Flag = Flag.NONE


def overflowed(statuses: NDArray[np.uint32]) -> NDArray[np.bool_]:
    """(n,) whether the server's queue of an item lost values just before this one (part 4,
    7.39.1)."""
    found: NDArray[np.bool_] = (statuses & np.uint32(OVERFLOW_BITS)) == OVERFLOW
    return found


def without_overflow(statuses: NDArray[np.uint32]) -> NDArray[np.uint32]:
    """(n,) the same without saying that values were lost."""
    cleared = statuses & np.uint32(~0x80 & 0xFFFFFFFF)
    has_limits = (cleared & np.uint32(0x0300)) != 0  # what is there has the same InfoType
    found: NDArray[np.uint32] = np.where(
        has_limits, cleared, cleared & np.uint32(~0x0C00 & 0xFFFFFFFF)
    )
    return found


def tags_of(plant: Plant, source: SourceModel) -> list[Tag]:
    """The nodes that a source has to deliver, in the order of the plant model. Signals without an
    address are left out.

    Raises:
        AddressError: an address is unusable; the text names its signal.
    """
    tags = []
    for unit in plant.units():
        if unit.model.source != source.id:
            continue
        for signal, model in zip(unit.signals(), unit.model.signals, strict=True):
            if not model.address:
                continue
            try:
                tags.append(Tag(unit, model, signal, parse_address(model.address)))
            except AddressError as error:
                raise AddressError(f"signal {signal.path!r}: address {error}") from error
    return tags


def structured(tags: Sequence[Tag], nodes: Sequence[str | None]) -> list[tuple[int, str]]:
    """Handle and node id of those whose types are wanted: only a signal that is text or JSON
    can be a structure or the name of a number."""
    return [
        (handle, node)
        for handle, (tag, node) in enumerate(zip(tags, nodes, strict=True))
        if tag.model.type in (ValueType.TEXT, ValueType.JSON, ValueType.NULL) and node is not None
    ]


def to_reading(
    tag: Tag,
    notification: Notification,
    *,
    initial: bool,
    names: Mapping[int, str] | None = None,
    event_time: EventTime = "source",
) -> Reading:
    """A notification as a reading of its signal; `initial`: the first of this node since the
    subscription began; `names`: of the numbers, where its type is an enumeration.

    A value without source time counts at the server's; `event_time`: at which time each value does
    where it has one. A number of an enumeration stays a number,
    but where the signal is declared text it is the name, and where JSON code and name.
    """
    value, kind = notification.value, notification.type
    if names is not None:
        value, kind = _named(value, kind, tag.model.type, names)
    flags = notification.flags
    if initial:
        flags |= Flag.INITIAL
    source_time = notification.source_time
    if event_time == "gateway":
        flags |= Flag.AT_GATEWAY_TIME
    elif event_time == "server" and notification.server_time is not None:
        flags |= Flag.AT_SERVER_TIME
    elif source_time is None:
        source_time = notification.server_time
    return Reading(
        unit=tag.unit,
        model=tag.model,
        signal=tag.signal,
        line=tag.unit.line.path,
        value=value,
        type=kind,
        source_time=source_time,
        server_time=notification.server_time or 0,
        status=notification.status,
        flags=flags,
    )


def historical_reading(
    tag: Tag,
    notification: Notification,
    names: Mapping[int, str] | None = None,
    event_time: EventTime = "source",
) -> Reading:
    """A value out of the server's history as a reading of its signal; `names`, `event_time` as
    `to_reading`, but that it never counts at its receipt."""
    if event_time == "gateway":
        event_time = "source"
    reading = to_reading(tag, notification, initial=False, names=names, event_time=event_time)
    return replace(reading, flags=reading.flags | Flag.HISTORICAL)


def _named(
    value: Value, kind: ValueType, declared: ValueType, names: Mapping[int, str]
) -> tuple[Value, ValueType]:
    """The value as its signal is declared."""
    if kind is ValueType.INT64 and isinstance(value, int):
        if declared is ValueType.TEXT and names.get(value):
            return names[value], ValueType.TEXT
        if declared is ValueType.JSON:
            return _json(_coded(value, names)), ValueType.JSON
    elif kind is ValueType.JSON and declared is ValueType.JSON and isinstance(value, str):
        return _json(_coded(json.loads(value), names)), ValueType.JSON
    return value, kind


def _coded(value: object, names: Mapping[int, str]) -> object:
    match value:
        case int():
            return {"code": value, "name": names.get(value)}
        case list():
            return [_coded(each, names) for each in value]
    return value


def _json(value: object) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


def refused_reading(tag: Tag, status: int, at: int) -> Reading:
    """The one Bad sample of a node that the server refuses to watch; `at`: microseconds."""
    return Reading(
        unit=tag.unit,
        model=tag.model,
        signal=tag.signal,
        line=tag.unit.line.path,
        value=None,
        type=ValueType.NULL,
        source_time=at,
        server_time=0,
        status=status,
        flags=Flag.INITIAL,
    )
