"""A Sparkplug B host application's view of its edge nodes: births, data, deaths, order, rebirths.
Pure; used by source.py.

Specification 3.0. Times are handed in: `now` is monotonic seconds, `at` microseconds since 1970.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import NamedTuple

from google.protobuf.message import DecodeError

from aurelian.model.sample import Flag, ValueType
from aurelian.pb import sparkplug_b_pb2 as pb
from mqtt_gateway.sparkplug.messages import (
    Action,
    Born,
    Died,
    Edge,
    Measured,
    Missing,
    Rebirth,
    Refused,
    RefusedValues,
    Told,
    Topic,
    Unreadable,
)
from mqtt_gateway.sparkplug.values import (
    Undecodable,
    bd_seq,
    flags_of,
    quality_of,
    time_of,
    to_name,
    to_value,
)

_CONTROLS = ("Node Control/", "Device Control/")
_HELD_AT_MOST = 128
_LATE = 128
"""A given-up number this far behind the expected one is taken for one of the next round."""

_FIRST_WAIT_S, _LONGEST_WAIT_S = 5.0, 300.0
_REBORN_WITHIN_S = 10.0
_REBIRTHS_PER_S = 10


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
    given_up: set[int] = field(default_factory=set)
    all_devices: set[str] = field(default_factory=set)
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
            # The topic alone says who died. If it was not so, the rebirth that is asked for shows.
            if topic.kind == "NDEATH":
                actions += self._end(node, "a death certificate that cannot be read")
            elif topic.kind == "DDEATH" and topic.device is not None:
                actions += self._device_death(node, topic.device)
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
            number = bd_seq(found.message)
            if number is None or node.bd_seq is None or number == node.bd_seq:
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
            if number in node.given_up and (node.expected - number) % 256 < _LATE:
                node.given_up.discard(number)
                yield from self._late(node, found)
                return
            node.held[number] = found
            yield from self._release(node)
            if node.held and (self._reorder_s == 0 or len(node.held) >= _HELD_AT_MOST):
                yield from self._give_up_waiting(node)

    def _release(self, node: _Node) -> Iterator[Action]:
        while (found := node.held.pop(node.expected, None)) is not None:
            node.given_up.discard(node.expected)
            node.expected = (node.expected + 1) % 256
            yield from self._apply(node, found)

    def _late(self, node: _Node, found: _Held) -> Iterator[Action]:
        """A message whose number was given up: its data have times of their own, the rest is
        outdated; the expected number stays."""
        if found.topic.kind in ("NDATA", "DDATA"):
            yield from self._apply(node, found)
        else:
            reason = f"{found.topic.kind} {found.message.seq} came after it was given up"
            count = len(found.message.metrics) or 1
            yield Refused(found.name, found.payload, reason, "late", count)
            self._want(node, reason)

    def _give_up_waiting(self, node: _Node) -> Iterator[Action]:
        first = min(node.held, key=lambda number: (number - node.expected) % 256)
        reason = f"sequence number {node.expected} did not come, {first} did"
        yield Missing(node.edge, node.heard_at, reason)
        self._want(node, reason)
        while node.held:
            next_held = min(node.held, key=lambda number: (number - node.expected) % 256)
            node.given_up.update(
                (node.expected + n) % 256 for n in range((next_held - node.expected) % 256)
            )
            node.expected = next_held
            yield from self._release(node)

    def _node_birth(self, node: _Node, found: _Held) -> Iterator[Action]:
        node.online = True
        node.bd_seq = bd_seq(found.message)
        node.expected = (found.message.seq + 1) % 256
        node.metrics.clear()
        node.aliases.clear()
        node.held.clear()
        node.given_up.clear()
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
                _forget(node, device)
                node.devices.add(device)
                node.all_devices.add(device)
                node.unborn.pop(device, None)
                self._learn(node, device, found.message)
                yield Born(node.edge, device)
                yield from self._values(node, device, found, Flag.INITIAL)
            case "DDEATH":
                assert device is not None
                yield from self._device_death(node, device)
            case _ if device is not None and device not in node.devices:
                reason = f"{found.topic.kind} before the device's birth, or after its death"
                count = len(found.message.metrics) or 1
                yield Refused(found.name, found.payload, reason, "no_birth", count)
                self._want(node, reason)
            case _:
                yield from self._values(node, device, found, Flag.NONE)

    def _device_death(self, node: _Node, device: str) -> Iterator[Action]:
        waited = node.unborn.pop(device, None) is not None
        _forget(node, device)
        if device in node.devices or waited:
            node.devices.discard(device)
            yield Died(node.edge, device, (device,), "the device's death certificate")

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
        values, unknown, broken = [], 0, []
        for metric in found.message.metrics:
            known = node.aliases.get(metric.alias) if metric.HasField("alias") else None
            if known is None and metric.name:
                known = node.metrics.get((device, to_name(metric.name)))
            if known is None or known.device != device:
                unknown += 1
                continue
            if known.name == "bdSeq" or known.name.startswith(_CONTROLS):
                continue
            try:
                value, kind = to_value(metric, metric.datatype or known.datatype)
            except Undecodable as error:
                at = time_of(metric, found.message)
                broken.append(Unreadable(known.name, f"metric {known.name[:60]!r}: {error}", at))
                continue
            time, status, said = time_of(metric, found.message), *quality_of(metric)
            more = flags | flags_of(metric)
            values.append(Measured(known.name, value, kind, time, status, more))
            if said is not None:
                name = f"{known.name}/Quality"
                values.append(Measured(name, said, ValueType.TEXT, time, status, more))
        if values:
            yield Told(node.edge, device, tuple(values))
        if broken:
            yield RefusedValues(found.name, found.payload, node.edge, device, tuple(broken))
        if unknown:
            reason = f"{unknown} metrics were in no birth"
            yield Refused(found.name, found.payload, reason, "unknown_metric", unknown)
            self._want(node, reason)

    def _end(self, node: _Node, reason: str) -> Iterator[Action]:
        if node.online:
            node.online = False
            node.wanted = ""
            devices = tuple(sorted(node.all_devices))
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


def _forget(node: _Node, device: str) -> None:
    """Forget what a device's birth said: its next data need a new one."""
    for alias in [a for a, known in node.aliases.items() if known.device == device]:
        del node.aliases[alias]
    for key in [key for key in node.metrics if key[0] == device]:
        del node.metrics[key]
