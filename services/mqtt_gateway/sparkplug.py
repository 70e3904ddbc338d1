"""A Sparkplug B host application's view of its edge nodes: births, data, deaths, order, rebirths.
Pure; used by sparkplug_source.py.

Specification 3.0. Times are handed in: `now` is monotonic seconds, `at` microseconds since 1970.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from google.protobuf.message import DecodeError

from aurelian.model.sample import BAD, GOOD, Flag, Value, ValueType
from aurelian.pb import sparkplug_b_pb2 as pb
from mqtt_gateway.sparkplug_values import Undecodable, to_name, to_value

PREFIX = "spBv1.0"
REBIRTH = "Node Control/Rebirth"
UNCERTAIN_LAST_USABLE = 0x40900000
"""Status of a metric whose property Quality says stale (500)."""

_NOT_DATA = ("bdSeq", "Node Control/", "Device Control/")
_HELD_AT_MOST = 128
_FIRST_WAIT_S, _LONGEST_WAIT_S = 5.0, 300.0
_REBORN_WITHIN_S = 10.0
_REBIRTHS_PER_S = 10


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


@dataclass(frozen=True, slots=True)
class Born:
    """A node or a device speaks."""

    edge: Edge
    device: str | None


@dataclass(frozen=True, slots=True)
class Died:
    """A device, or with device None the node with all `devices`, is silent from now on."""

    edge: Edge
    device: str | None
    devices: tuple[str, ...]
    reason: str


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


Action = Told | Born | Died | Rebirth | Missing | Refused


def parse_topic(topic: str) -> Topic | None:
    """The parts of an edge node's topic; None for any other (STATE, NCMD, a malformed one)."""
    parts = topic.split("/")
    if len(parts) not in (4, 5) or parts[0] != PREFIX:
        return None
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


class _Known(NamedTuple):
    device: str | None
    name: str
    datatype: int


class _Held(NamedTuple):
    since: float
    topic: Topic
    name: str
    message: pb.Payload
    payload: bytes
    at: int


@dataclass(slots=True)
class _Node:
    edge: Edge
    online: bool = False
    bd_seq: int | None = None
    expected: int = 0
    heard_at: int = 0
    metrics: dict[tuple[str | None, str], _Known] = field(default_factory=dict)
    aliases: dict[int, _Known] = field(default_factory=dict)
    devices: set[str] = field(default_factory=set)
    unborn: dict[str, float] = field(default_factory=dict)
    held: dict[int, _Held] = field(default_factory=dict)
    wanted: str = ""
    ask_at: float = 0.0
    wait_s: float = _FIRST_WAIT_S


class Host:
    """All edge nodes of one source.

    Args:
        reorder_s: how long to wait for a missing sequence number; 0: not at all.
        ask_rebirth: False: never ask (another host does).
        chance: for the jitter of repeated requests.
    """

    def __init__(
        self,
        *,
        reorder_s: float = 3.0,
        ask_rebirth: bool = True,
        chance: random.Random | None = None,
    ) -> None:
        self._reorder_s, self._ask_rebirth = reorder_s, ask_rebirth
        self._chance = chance or random.Random()
        self._nodes: dict[Edge, _Node] = {}
        self._asked: list[float] = []

    def online(self) -> Iterator[tuple[Edge, str | None]]:
        """Nodes (device None) and devices that are born and not dead."""
        for node in self._nodes.values():
            if node.online:
                yield node.edge, None
                yield from ((node.edge, device) for device in sorted(node.devices))

    def receive(self, topic: Topic, name: str, payload: bytes, now: float, at: int) -> list[Action]:
        """Take a message; `name` is its topic as text."""
        node = self._nodes.setdefault(topic.edge, _Node(topic.edge))
        try:
            message = pb.Payload.FromString(payload)
        except DecodeError as error:
            actions: list[Action] = [
                Refused(name, payload, f"not a Sparkplug B payload: {error}", "unreadable")
            ]
            self._want(node, "a payload could not be read")
            return actions + self._requests(node, now)
        actions = list(self._accept(node, _Held(now, topic, name, message, payload, at)))
        node.heard_at = at
        return actions + self._requests(node, now)

    def tick(self, now: float) -> list[Action]:
        """Do what is due: give up waiting for a missing number, end devices that were not born
        again, repeat requests."""
        actions: list[Action] = []
        for node in self._nodes.values():
            if (
                node.held
                and now - min(held.since for held in node.held.values()) >= self._reorder_s
            ):
                actions += self._give_up_waiting(node)
            for device in [each for each, until in node.unborn.items() if now >= until]:
                del node.unborn[device]
                actions.append(Died(node.edge, device, (device,), "not born again with its node"))
            actions += self._requests(node, now)
        return actions

    def lose_all(self, reason: str) -> list[Action]:
        """The broker is gone: nothing is known of any node until its next birth (S5)."""
        return [action for node in self._nodes.values() for action in self._end(node, reason)]

    def _accept(self, node: _Node, found: _Held) -> Iterator[Action]:
        kind = found.topic.kind
        if kind == "NBIRTH":
            yield from self._node_birth(node, found)
        elif kind == "NDEATH":
            bd_seq = _bd_seq(found.message)
            if bd_seq is None or bd_seq == node.bd_seq:
                yield from self._end(node, "the edge node's death certificate")
        elif not node.online:
            yield Refused(
                found.name,
                found.payload,
                f"{kind} before the node's birth",
                "no_birth",
                len(found.message.metrics) or 1,
            )
            self._want(node, f"{kind} before NBIRTH")
        elif not found.message.HasField("seq"):
            yield from self._apply(node, found)
        else:
            number = found.message.seq % 256
            node.held[number] = found
            yield from self._release(node)
            if node.held and (self._reorder_s == 0 or len(node.held) >= _HELD_AT_MOST):
                yield from self._give_up_waiting(node)

    def _release(self, node: _Node) -> Iterator[Action]:
        while (found := node.held.pop(node.expected, None)) is not None:
            node.expected = (node.expected + 1) % 256
            yield from self._apply(node, found)

    def _give_up_waiting(self, node: _Node) -> Iterator[Action]:
        first = min(node.held, key=lambda number: (number - node.expected) % 256)
        reason = f"sequence number {node.expected} did not come, {first} did"
        yield Missing(node.edge, node.heard_at, reason)
        self._want(node, reason)
        while node.held:
            node.expected = min(node.held, key=lambda number: (number - node.expected) % 256)
            yield from self._release(node)

    def _node_birth(self, node: _Node, found: _Held) -> Iterator[Action]:
        node.online = True
        node.bd_seq = _bd_seq(found.message)
        node.expected = (found.message.seq + 1) % 256
        node.metrics.clear()
        node.aliases.clear()
        node.held.clear()
        node.wanted = ""
        if found.since - node.ask_at > 60:
            node.wait_s = _FIRST_WAIT_S
        node.unborn = dict.fromkeys(node.devices, found.since + _REBORN_WITHIN_S)
        node.devices.clear()
        self._learn(node, None, found.message)
        yield Born(node.edge, None)
        yield from self._values(node, None, found, Flag.INITIAL)

    def _apply(self, node: _Node, found: _Held) -> Iterator[Action]:
        device = found.topic.device
        match found.topic.kind:
            case "DBIRTH":
                assert device is not None
                for alias in [a for a, known in node.aliases.items() if known.device == device]:
                    del node.aliases[alias]
                for key in [key for key in node.metrics if key[0] == device]:
                    del node.metrics[key]
                node.devices.add(device)
                node.unborn.pop(device, None)
                self._learn(node, device, found.message)
                yield Born(node.edge, device)
                yield from self._values(node, device, found, Flag.INITIAL)
            case "DDEATH":
                assert device is not None
                node.unborn.pop(device, None)
                if device in node.devices:
                    node.devices.discard(device)
                    yield Died(node.edge, device, (device,), "the device's death certificate")
            case _:
                yield from self._values(node, device, found, Flag.NONE)

    def _learn(self, node: _Node, device: str | None, message: pb.Payload) -> None:
        for metric in message.metrics:
            if metric.name:
                known = _Known(device, to_name(metric.name), metric.datatype)
                node.metrics[device, known.name] = known
                if metric.HasField("alias"):
                    node.aliases[metric.alias] = known

    def _values(
        self, node: _Node, device: str | None, found: _Held, flags: Flag
    ) -> Iterator[Action]:
        values, unknown, broken = [], 0, ""
        for metric in found.message.metrics:
            known = node.aliases.get(metric.alias) if metric.HasField("alias") else None
            if known is None and metric.name:
                known = node.metrics.get((device, to_name(metric.name)))
            if known is None or known.device != device:
                unknown += 1
                continue
            if known.name.startswith(_NOT_DATA):
                continue
            try:
                value, kind = to_value(metric, metric.datatype or known.datatype)
            except Undecodable as error:
                broken = f"metric {known.name!r}: {error}"
                continue
            values.append(
                Measured(
                    known.name,
                    value,
                    kind,
                    _time(metric, found.message),
                    _status(metric),
                    flags | _flags(metric),
                )
            )
        if values:
            yield Told(node.edge, device, tuple(values))
        if broken:
            yield Refused(found.name, found.payload, broken, "type")
        if unknown:
            reason = f"{unknown} metrics were in no birth"
            yield Refused(found.name, found.payload, reason, "unknown_metric", unknown)
            self._want(node, reason)

    def _end(self, node: _Node, reason: str) -> Iterator[Action]:
        if node.online:
            node.online = False
            node.wanted = ""
            devices = tuple(sorted(node.devices | set(node.unborn)))
            node.devices.clear()
            node.unborn.clear()
            node.held.clear()
            yield Died(node.edge, None, devices, reason)

    def _want(self, node: _Node, reason: str) -> None:
        if self._ask_rebirth:
            node.wanted = node.wanted or reason

    def _requests(self, node: _Node, now: float) -> list[Action]:
        """The node's rebirth request if it is due: each waits twice as long as the one before, and
        there is a limit for all."""
        self._asked = [each for each in self._asked if now - each < 1.0]
        if not node.wanted or now < node.ask_at or len(self._asked) >= _REBIRTHS_PER_S:
            return []
        self._asked.append(now)
        node.ask_at = now + node.wait_s * self._chance.uniform(1.0, 1.25)
        node.wait_s = min(node.wait_s * 2, _LONGEST_WAIT_S)
        return [Rebirth(node.edge, node.wanted)]


def _bd_seq(message: pb.Payload) -> int | None:
    for metric in message.metrics:
        if metric.name == "bdSeq" and metric.WhichOneof("value") in ("int_value", "long_value"):
            return int(metric.long_value or metric.int_value)
    return None


def _time(metric: pb.Payload.Metric, message: pb.Payload) -> int | None:
    if metric.HasField("timestamp"):
        return metric.timestamp * 1000
    return message.timestamp * 1000 if message.HasField("timestamp") else None


def _flags(metric: pb.Payload.Metric) -> Flag:
    flags = Flag.HISTORICAL if metric.is_historical else Flag.NONE
    return flags | Flag.TRANSIENT if metric.is_transient else flags


def _status(metric: pb.Payload.Metric) -> int:
    """The property Quality: 0 bad, 192 good, 500 stale."""
    if not metric.HasField("properties"):
        return GOOD
    for key, found in zip(metric.properties.keys, metric.properties.values, strict=False):
        if key == "Quality":
            return {0: BAD, 500: UNCERTAIN_LAST_USABLE}.get(
                found.int_value or found.long_value, GOOD
            )
    return GOOD
