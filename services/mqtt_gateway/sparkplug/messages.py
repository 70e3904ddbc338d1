"""Topics of Sparkplug B edge nodes, what a host is told by them, and the request for a rebirth.
Pure; used by host.py, mapping.py and source.py."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

from aurelian.model.sample import Flag, Value, ValueType
from aurelian.pb import sparkplug_b_pb2 as pb

PREFIX = "spBv1.0"
CERTIFICATES = "$sparkplug/certificates/"
"""Where a Sparkplug aware broker keeps births, retained, each under its own topic."""

REBIRTH = "Node Control/Rebirth"


class Edge(NamedTuple):
    """An edge node's name."""

    group: str
    node: str


@dataclass(frozen=True, slots=True)
class Topic:
    """`spBv1.0/group/kind/node[/device]`."""

    kind: str
    edge: Edge
    device: str | None


@dataclass(frozen=True, slots=True)
class Measured:
    """One value of one metric; `time`: microseconds since 1970, None where there is none."""

    name: str
    value: Value
    type: ValueType
    time: int | None
    status: int
    flags: Flag


@dataclass(frozen=True, slots=True)
class Told:
    """Values of a device (None: of the node itself)."""

    edge: Edge
    device: str | None
    values: tuple[Measured, ...]


_NEVER_IN_TOPICS = frozenset("+#\0")

Columns = dict[ValueType, tuple[list[int], list[int], list[object], list[int]]]
"""Numbers by their type: place in the message, handle, value, and time in microseconds since 1970
or `NO_TIME` of `aurelian.edge.columns`."""


@dataclass(frozen=True, slots=True)
class Numbers:
    """Values of declared signals, of a node or one of its devices."""

    edge: Edge
    device: str | None
    columns: Columns


@dataclass(frozen=True, slots=True)
class Described:
    """A metric as its birth says it is; `datatype` by its name in the specification."""

    name: str
    alias: int | None
    datatype: str
    unit: str
    properties: dict[str, object]


@dataclass(frozen=True, slots=True)
class Born:
    """A node or a device speaks; `metrics`: what it has."""

    edge: Edge
    device: str | None
    metrics: tuple[Described, ...] = ()


@dataclass(frozen=True, slots=True)
class Died:
    """A device, or with device None the node with all `devices`, is silent from `time` on
    (microseconds, None: from now on)."""

    edge: Edge
    device: str | None
    devices: tuple[str, ...]
    reason: str
    time: int | None = None


@dataclass(frozen=True, slots=True)
class Stale:
    """Metrics of a device (None: of the node itself) with their last values, which count no more
    from `time` on (microseconds, None: from now on)."""

    edge: Edge
    device: str | None
    values: tuple[tuple[str, Value, ValueType], ...]
    time: int | None


@dataclass(frozen=True, slots=True)
class Irregular:
    """A node breaks a rule of the specification in a way that is understood all the same. `rule`:
    of a bounded set."""

    edge: Edge
    rule: str
    detail: str


@dataclass(frozen=True, slots=True)
class Rebirth:
    """Ask the node for its births again: `rebirth_command` to `spBv1.0/group/NCMD/node`."""

    edge: Edge
    reason: str


@dataclass(frozen=True, slots=True)
class Missing:
    """Messages were lost after `since` (microseconds, 0 unknown)."""

    edge: Edge
    since: int
    reason: str


@dataclass(frozen=True, slots=True)
class Refused:
    """A message, or `count` metrics of it, that could not be understood."""

    topic: str
    payload: bytes
    reason: str
    error_class: str
    count: int = 1


@dataclass(frozen=True, slots=True)
class Unreadable:
    """A value that contradicts its datatype. `time`: microseconds, None: it has none."""

    name: str
    reason: str
    time: int | None


@dataclass(frozen=True, slots=True)
class RefusedValues:
    """Values of one message (device None: of the node itself) that could not be understood."""

    topic: str
    payload: bytes
    edge: Edge
    device: str | None
    values: tuple[Unreadable, ...]


Action = (
    Told | Numbers | Born | Died | Stale | Irregular | Rebirth | Missing | Refused | RefusedValues
)


def parse_topic(topic: str) -> Topic | None:
    """The parts of an edge node's topic; None for any other (STATE, NCMD, a malformed one)."""
    parts = topic.split("/")
    if len(parts) not in (4, 5) or parts[0] != PREFIX:
        return None
    if not _NEVER_IN_TOPICS.isdisjoint(topic):
        return None  # a lying broker's; nothing could be asked of such a node
    kind = parts[2]
    if kind not in (
        ("NBIRTH", "NDEATH", "NDATA") if len(parts) == 4 else ("DBIRTH", "DDEATH", "DDATA")
    ):
        return None
    return Topic(kind, Edge(parts[1], parts[3]), parts[4] if len(parts) == 5 else None)


def rebirth_command(at: int) -> bytes:
    """The payload of an NCMD that asks for a rebirth: Boolean true, by name."""
    command = pb.Payload(timestamp=at // 1000)
    command.metrics.add(name=REBIRTH, timestamp=at // 1000, datatype=11, boolean_value=True)
    return command.SerializeToString()
