"""Nodes to signals and notifications to readings: what a value of a node means in the plant. Pure;
called by source.py."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from aurelian.edge.gateway import Reading
from aurelian.model.addresses import AddressError, NodeAddress, parse_address
from aurelian.model.evidence import UNCERTAIN_NO_COMMUNICATION
from aurelian.model.plant import Plant, Unit
from aurelian.model.plant_parts import SignalModel
from aurelian.model.sample import Flag, Signal, Value, ValueType
from aurelian.model.source_model import SourceModel

BAD_NODE_ID_INVALID, BAD_NODE_ID_UNKNOWN = 0x80330000, 0x80340000
"""Status of an item whose node or namespace the server does not have, or has no more."""

_NO_COMMUNICATION = frozenset(
    {
        0x80050000,  # BadCommunicationError
        0x80310000,  # BadNoCommunication
        0x808A0000,  # BadNotConnected
        0x808B0000,  # BadDeviceFailure
        0x808C0000,  # BadSensorFailure
        0x808D0000,  # BadOutOfService
        UNCERTAIN_NO_COMMUNICATION,
    }
)


@dataclass(frozen=True, slots=True)
class Tag:
    """One node that is watched, and the signal that it is."""

    unit: Unit
    model: SignalModel
    signal: Signal
    address: NodeAddress


@dataclass(frozen=True, slots=True)
class Notification:
    """One value of one monitored item, free of the protocol library's types.

    Attributes:
        handle: number of the tag, from 0.
        status: the raw 32-bit status code.
        source_time, server_time: microseconds since 1970; None where the server gave none.
    """

    handle: int
    value: Value
    type: ValueType
    status: int
    source_time: int | None
    server_time: int | None

    @property
    def overflow(self) -> bool:
        """True where the server's queue of this item lost values just before this one (part 4,
        7.39.1)."""
        return self.status & 0x0C80 == 0x0480


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


def to_reading(tag: Tag, notification: Notification, *, initial: bool) -> Reading:
    """A notification as a reading of its signal; `initial`: the first of this node since the
    subscription began.

    A value without source time counts at the server's.
    """
    return Reading(
        unit=tag.unit,
        model=tag.model,
        signal=tag.signal,
        line=tag.unit.line.path,
        value=notification.value,
        type=notification.type,
        source_time=notification.server_time
        if notification.source_time is None
        else notification.source_time,
        server_time=notification.server_time or 0,
        status=notification.status,
        flags=Flag.INITIAL if initial else Flag.NONE,
    )


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


class UnitsHeard:
    """Which units a server really hears: one whose every node has a status of lost communication is
    silent.

    A server may stand in front of many machines; its own keep-alive says nothing of a machine whose
    cable is out.
    """

    def __init__(self, tags: Sequence[Tag]) -> None:
        self._tags = tags
        self._silent_nodes: dict[str, set[int]] = {tag.unit.id: set() for tag in tags}
        self._nodes = {
            unit: sum(tag.unit.id == unit for tag in tags) for unit in self._silent_nodes
        }
        self._silent: set[str] = set()

    @property
    def heard(self) -> list[str]:
        """Ids of the units that are heard."""
        return [unit for unit in self._nodes if unit not in self._silent]

    @property
    def all_heard(self) -> bool:
        """True while no unit is silent."""
        return not self._silent

    def update(self, notifications: Iterable[Notification]) -> tuple[list[str], list[str]]:
        """Take new statuses; return the units that fell silent and those that are heard again."""
        touched: dict[str, None] = {}
        for notification in notifications:
            unit = self._tags[notification.handle].unit.id
            if notification.status & 0xFFFF0000 in _NO_COMMUNICATION:
                self._silent_nodes[unit].add(notification.handle)
            else:
                self._silent_nodes[unit].discard(notification.handle)
            touched[unit] = None
        now = {unit for unit in touched if len(self._silent_nodes[unit]) == self._nodes[unit]}
        fell = [unit for unit in touched if unit in now and unit not in self._silent]
        back = [unit for unit in touched if unit not in now and unit in self._silent]
        self._silent = (self._silent | now) - set(back)
        return fell, back
