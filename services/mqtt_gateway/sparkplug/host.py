"""A Sparkplug B host application's view of its edge nodes: births, data, deaths, order, rebirths.
Pure; used by source.py.

Specification 3.0. Times are handed in: `now` is monotonic seconds, `at` microseconds since 1970.
"""

from __future__ import annotations

import random
from collections.abc import Iterator

from aurelian.model.sample import Flag
from mqtt_gateway.sparkplug.messages import (
    Action,
    Born,
    Died,
    Edge,
    Irregular,
    Missing,
    Rebirth,
    Refused,
    Topic,
)
from mqtt_gateway.sparkplug.node import NEVER, HandleOf, Held, Node
from mqtt_gateway.sparkplug.payload import UnreadablePayload, read_payload
from mqtt_gateway.sparkplug.rebirths import Budget, Wish
from mqtt_gateway.sparkplug.values import bd_seq

_HELD_AT_MOST = 128
_KEPT_AT_MOST = 1000
_LATE = 128
"""A given-up number this far behind the expected one is taken for one of the next round."""

_REBORN_WITHIN_S = 10.0
"""A device after its node; late messages of a session before come as long after a birth."""

_ANSWERS_WITHIN_S = 5.0
"""A node that lives, after it was asked for its births."""

_OLDEST_LATE_MS = 300_000
"""A message that is older by its own time is of a wrong clock, not of the session before."""

_DEATH = "the edge node's death certificate"


class Host:
    """All edge nodes of one source.

    Args:
        reorder_s: how long to wait for a missing sequence number; 0: not at all.
        ask_rebirth: False: never ask (another host does).
        strict: as `SparkplugModel.strict`.
        handle_of: of declared signals, whose ordinary values are columns then.
        chance: for the jitter of repeated requests.
    """

    def __init__(
        self,
        *,
        reorder_s: float = 3.0,
        ask_rebirth: bool = True,
        strict: bool = False,
        handle_of: HandleOf | None = None,
        chance: random.Random | None = None,
    ) -> None:
        self._reorder_s, self._ask_rebirth, self._strict = reorder_s, ask_rebirth, strict
        self._handle_of = handle_of
        self._nodes: dict[Edge, Node] = {}
        self._budget = Budget(chance or random.Random())

    def online(self) -> Iterator[tuple[Edge, str | None]]:
        """Nodes (device None) and devices that are born and not dead."""
        for node in self._nodes.values():
            if node.online:
                yield node.edge, None
                yield from ((node.edge, device) for device in sorted(node.devices))

    def held_since(self) -> int | None:
        """When the oldest message came that still waits for one before it, microseconds since
        1970; None: none waits."""
        waiting = [
            held.at
            for node in self._nodes.values()
            for those in (node.held, node.doubtful)
            if those
            for held in those.values()
        ]
        return min(waiting, default=None)

    def receive(self, topic: Topic, name: str, payload: bytes, now: float, at: int) -> list[Action]:
        """Take a message; `name` is its topic as text."""
        node = self._node(topic)
        try:
            message = read_payload(payload)
        except UnreadablePayload as error:
            actions: list[Action] = [_unreadable(name, payload, error)]
            # The topic alone says who died. If it was not so, the rebirth that is asked for shows.
            if topic.kind == "NDEATH":
                actions += self._end(node, "a death certificate that cannot be read")
            elif topic.kind == "DDEATH" and topic.device is not None:
                actions += self._device_death(node, topic.device, None)
            node.wish.want("a payload could not be read")
            return actions + self._requests(node, now)
        accepted = self._accept(node, Held(now, topic, name, message, payload, at))
        return [*accepted, *self._requests(node, now)]

    def receive_kept(
        self, topic: Topic, name: str, payload: bytes, now: float, at: int
    ) -> list[Action]:
        """Take a birth that a Sparkplug aware broker kept: names, types and aliases for the time
        until the node's next one, and values that were true once. Nobody is alive by it."""
        node = self._node(topic)
        if node.online or topic.kind not in ("NBIRTH", "DBIRTH"):
            return []
        try:
            message = read_payload(payload)
        except UnreadablePayload as error:
            return [_unreadable(name, payload, error)]
        found = Held(now, topic, name, message, payload, at)
        if topic.kind == "DBIRTH":
            if node.cold:
                return list(self._learn_kept(node, found))
            if len(node.kept) < _KEPT_AT_MOST:
                node.kept.append(found)  # its templates are in the node's birth
            return []
        kept = list(node.kept)
        node.reset()
        node.cold, node.bd_seq = True, bd_seq(message)
        return [each for part in (found, *kept) for each in self._learn_kept(node, part)]

    def tick(self, now: float) -> list[Action]:
        """Do what is due: give up waiting for a missing number, end devices that were not born
        again and nodes that are dead by all that is known, repeat requests."""
        actions: list[Action] = []
        for node in self._nodes.values():
            if node.doubtful:
                actions += self._take_unclaimed(node, now)
            if node.held and now - min(h.since for h in node.held.values()) >= self._reorder_s:
                actions += self._give_up_waiting(node)
            for device in [each for each, until in node.unborn.items() if now >= until]:
                del node.unborn[device]
                reason = "not born again with its node"
                actions.append(Died(node.edge, device, (device,), reason))
                actions += node.stale(device, None)
            if now >= node.dead_at:
                actions += self._end(node, f"{_DEATH}, of another number, and no sign of life")
            actions += self._requests(node, now)
        return actions

    def lose_all(self, reason: str) -> list[Action]:
        """The broker is gone: nothing is known of any node until its next birth (S5)."""
        for node in self._nodes.values():
            node.cold = False
            # What was asked on a connection before says nothing of the next: its births are due
            # at once, or values would be refused for as long as a repetition waits.
            node.wish = Wish()
        return [action for node in self._nodes.values() for action in self._end(node, reason)]

    def _node(self, topic: Topic) -> Node:
        node = self._nodes.get(topic.edge)
        if node is None:
            node = self._nodes[topic.edge] = Node(topic.edge, self._strict)
            if self._handle_of is not None:
                node.handle_of = self._handle_of
        return node

    def _accept(self, node: Node, found: Held) -> Iterator[Action]:
        kind = found.topic.kind
        if kind == "NBIRTH":
            yield from self._node_birth(node, found)
            return
        if kind == "NDEATH":
            yield from self._node_death(node, found)
            return
        has_number = found.message.HasField("seq")
        if node.cold and not node.online and has_number:
            node.online, node.cold = True, False
            node.expected = found.message.seq % 256
            yield Born(node.edge, None)
        if not node.online:
            yield from self._refuse(node, found, f"{kind} before the node's birth", "no_birth")
        elif not has_number:
            yield node.irregular("no-seq", f"{kind} without a sequence number")
            if self._strict:
                yield from self._refuse(node, found, f"{kind} without number", "no_seq")
            else:
                yield from self._apply(node, found)
        else:
            yield from self._order(node, found, found.message.seq % 256)

    def _order(self, node: Node, found: Held, number: int) -> Iterator[Action]:
        given_up = number in node.given_up and (node.expected - number) % 256 < _LATE
        if given_up or number in node.held:
            node.given_up.discard(number)
            yield from self._late(node, found)
            return
        if self._may_be_of_before(node, found):
            node.doubtful[number] = found
            return
        if (doubtful := node.doubtful.pop(number, None)) is not None:
            yield from self._refuse_old(node, doubtful)
        node.held[number] = found
        yield from self._release(node)
        if node.held and (self._reorder_s == 0 or len(node.held) >= _HELD_AT_MOST):
            yield from self._give_up_waiting(node)

    def _may_be_of_before(self, node: Node, found: Held) -> bool:
        """Whether a message is, by its time, of the node's session before: a broker may bring it
        after the new birth, and its number may be the one that is expected."""
        said = found.message.timestamp
        return (
            node.born_ms - _OLDEST_LATE_MS < said < node.born_ms
            and found.since - node.born_since < _REBORN_WITHIN_S
            and not all(each.is_historical for each in found.message.metrics)
        )

    def _take_unclaimed(self, node: Node, now: float) -> Iterator[Action]:
        """No other message had the number of one that seemed to be of the session before: it is of
        this one, and the node's clock goes wrong."""
        for number in [n for n, h in node.doubtful.items() if now - h.since >= self._reorder_s]:
            found = node.doubtful.pop(number)
            if self._reorder_s == 0 or (number - node.expected) % 256 >= _LATE:
                yield from self._refuse_old(node, found)
                continue
            yield node.irregular("time-before-birth", f"{found.topic.kind} {number}")
            node.held[number] = found
            yield from self._release(node)

    def _refuse_old(self, node: Node, found: Held) -> Iterator[Action]:
        reason = f"{found.topic.kind} {found.message.seq} is of before the node's birth"
        count = len(found.message.metrics) or 1
        yield Refused(found.name, found.payload, reason, "late", count)

    def _release(self, node: Node) -> Iterator[Action]:
        while (found := node.held.pop(node.expected, None)) is not None:
            node.given_up.discard(node.expected)
            node.whole_at, node.expected = found.at, (node.expected + 1) % 256
            yield from self._apply(node, found)

    def _late(self, node: Node, found: Held) -> Iterator[Action]:
        """A message whose number was given up, or is there: its data have times of their own, the
        rest is outdated; the expected number stays."""
        if found.topic.kind in ("NDATA", "DDATA"):
            yield from self._apply(node, found)
        else:
            reason = f"{found.topic.kind} {found.message.seq} was given up, or came twice"
            yield from self._refuse(node, found, reason, "late")

    def _refuse(self, node: Node, found: Held, reason: str, error_class: str) -> Iterator[Action]:
        """Reject a message and want a rebirth."""
        count = len(found.message.metrics) or 1
        yield Refused(found.name, found.payload, reason, error_class, count)
        node.wish.want(reason)

    def _give_up_waiting(self, node: Node) -> Iterator[Action]:
        first = min(node.held, key=lambda number: (number - node.expected) % 256)
        reason = f"sequence number {node.expected} did not come, {first} did"
        yield Missing(node.edge, node.whole_at, reason)
        node.wish.want(reason)
        while node.held:
            next_held = min(node.held, key=lambda number: (number - node.expected) % 256)
            node.given_up.update(
                (node.expected + n) % 256 for n in range((next_held - node.expected) % 256)
            )
            node.expected = next_held
            yield from self._release(node)

    def _end_waiting(self, node: Node) -> Iterator[Action]:
        """The session ends: what waits for a message before it counts without it."""
        if node.held:
            yield from self._give_up_waiting(node)
        for each in node.doubtful.values():
            yield from self._refuse_old(node, each)
        node.doubtful.clear()

    def _node_birth(self, node: Node, found: Held) -> Iterator[Action]:
        message, number = found.message, bd_seq(found.message)
        if node.bd_seq is not None and node.bd_seq != number:
            node.earlier.add(node.bd_seq)
        if number is not None:
            node.earlier.discard(number)
        # Of a node whose devices have connections of their own, their births may come first.
        early = {n: h for n, h in node.held.items() if h.message.timestamp >= message.timestamp > 0}
        node.held = {n: h for n, h in node.held.items() if n not in early}
        yield from self._end_waiting(node)
        node.reset()
        node.online, node.bd_seq = True, number
        node.born_ms, node.born_since, node.whole_at = message.timestamp, found.since, found.at
        node.expected = (message.seq + 1) % 256
        node.wish.granted(found.since)
        node.unborn = dict.fromkeys(node.devices, found.since + _REBORN_WITHIN_S)
        node.devices.clear()
        broken = list(node.learn(None, message))
        if message.seq:
            broken.append(node.irregular("nbirth-seq", f"sequence number {message.seq}"))
        if number is None:
            broken.append(node.irregular("nbirth-bdseq", "no bdSeq"))
        yield from broken
        yield Born(node.edge, None, node.describe(message))
        yield from node.values(None, found, Flag.INITIAL)
        for n, each in early.items():
            yield from self._order(node, each, n)

    def _learn_kept(self, node: Node, found: Held) -> Iterator[Action]:
        device = found.topic.device
        for _ in node.learn(device, found.message):
            pass  # it was told when the birth was new
        if device is not None:
            node.cold_devices.add(device)
        yield from node.values(device, found, Flag.INITIAL | Flag.RETAINED)

    def _node_death(self, node: Node, found: Held) -> Iterator[Action]:
        number = bd_seq(found.message)
        if found.message.HasField("seq"):
            yield node.irregular("ndeath-seq", "a sequence number")
        if number == node.bd_seq or (not self._strict and None in (number, node.bd_seq)):
            node.cold = False
            yield from self._end(node, _DEATH)
        elif node.online and not self._strict:
            yield from self._other_death(node, number)

    def _other_death(self, node: Node, number: int | None) -> Iterator[Action]:
        """A death certificate of another birth: that of a session before, which the broker brings
        late, or of a node that counts otherwise than the specification says."""
        assert number is not None and node.bd_seq is not None
        yield Irregular(node.edge, "ndeath-bdseq", f"{number} after a birth of {node.bd_seq}")
        ahead = 0 < (number - node.bd_seq) % 256 < _LATE
        if ahead and number not in node.earlier:
            yield from self._end(node, f"{_DEATH}, of number {number}")
        elif self._ask_rebirth:
            # A node that is alive answers.
            node.wish.want("a death certificate of another birth")
            node.in_doubt = True

    def _apply(self, node: Node, found: Held) -> Iterator[Action]:
        device = found.topic.device
        node.dead_at, node.in_doubt = NEVER, False
        match found.topic.kind:
            case "DBIRTH":
                assert device is not None
                node.forget(device)
                node.devices.add(device)
                node.all_devices.add(device)
                node.unborn.pop(device, None)
                yield from node.learn(device, found.message)
                yield Born(node.edge, device, node.describe(found.message))
                yield from node.values(device, found, Flag.INITIAL)
            case "DDEATH":
                assert device is not None
                said = found.message.timestamp * 1000
                yield from self._device_death(node, device, said or None)
            case kind if device is not None and device not in node.devices:
                if device not in node.cold_devices:
                    reason = f"{kind} before the device's birth, or after its death"
                    yield from self._refuse(node, found, reason, "no_birth")
                    return
                node.devices.add(device)
                node.all_devices.add(device)
                yield Born(node.edge, device)
                yield from node.values(device, found, Flag.NONE)
            case _:
                yield from node.values(device, found, Flag.NONE)

    def _device_death(self, node: Node, device: str, time: int | None) -> Iterator[Action]:
        waited = node.unborn.pop(device, None) is not None
        stale = list(node.stale(device, time))
        node.forget(device)
        node.cold_devices.discard(device)
        if device in node.devices or waited:
            node.devices.discard(device)
            yield Died(node.edge, device, (device,), "the device's death certificate", time)
            yield from stale

    def _end(self, node: Node, reason: str) -> Iterator[Action]:
        if node.online:
            yield from self._end_waiting(node)
            node.online = node.in_doubt = False
            node.dead_at = NEVER
            node.wish.reason = ""
            devices = tuple(sorted(node.all_devices))
            node.devices.clear()
            node.cold_devices.clear()
            node.unborn.clear()
            yield Died(node.edge, None, devices, reason)
            for device in (None, *devices):
                yield from node.stale(device, None)

    def _requests(self, node: Node, now: float) -> list[Action]:
        """The node's rebirth request if it is due."""
        if not self._ask_rebirth:
            node.wish.reason = ""
        if not self._budget.takes(node.wish, now):
            return []
        if node.in_doubt:
            node.dead_at = min(node.dead_at, now + _ANSWERS_WITHIN_S)
        return [Rebirth(node.edge, node.wish.reason)]


def _unreadable(name: str, payload: bytes, error: UnreadablePayload) -> Refused:
    return Refused(name, payload, str(error), "unreadable")
