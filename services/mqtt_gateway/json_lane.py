"""Numbers of ordinary JSON messages as columns; every other message is left to message_map.py. Used
by json_messages.py.

Ordinary: a bare number, a value object with nothing but a time, or a flat object of declared
numbers with at most a time among them. Both ways give the same values (test_json_lane.py).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass
from typing import Any

import orjson

from aurelian.edge.columns import NO_TIME, SignalTable
from aurelian.model.sample import MAX_EXACT_INT, ValueType
from mqtt_gateway.collected import Collected
from mqtt_gateway.json_payload import TIME_KEYS
from mqtt_gateway.mapping import SignalMap
from mqtt_gateway.times import Times

_MOST_TOPICS = 100_000
_MOST_BYTES = 64 * 1024
"""A larger payload is looked at closely; so many members do not come at once all the time."""

_TIMES = frozenset(TIME_KEYS)
_MOST_SIGNED = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Shape:
    """What the members of an object are, by place: machines send the same ones each time.

    Attributes:
        keys: of the object.
        others: places of the members that are no values: times.
        time: place of the time among the members; -1: there is none.
        handles: of the values, in order.
    """

    keys: tuple[str, ...]
    others: tuple[int, ...]
    time: int
    handles: tuple[int, ...]


@dataclass(slots=True)
class Route:
    """What one topic's payloads are of.

    Attributes:
        bare: handle of the signal that a bare value is of; -1: of none that is declared.
        members: handles by member; only those whose place in the payload is at the top.
        stream: what the topic's times belong to.
        shape: of the object that came last.
    """

    bare: int
    members: dict[str, int]
    stream: str
    shape: Shape | None = None


class JsonLane:
    """Reads the ordinary messages of one source. `place_of`: unit and signal (empty: it names none)
    of a topic; None: it has no payload of JSON."""

    def __init__(
        self,
        owner: str,
        signals: SignalMap,
        times: Times,
        place_of: Callable[[str], tuple[str, str] | None],
    ) -> None:
        self._times, self._place_of = times, place_of
        entries, self._handles = signals.declared_entries()
        self.table = SignalTable(owner, entries)
        self._addresses: dict[str, list[str]] = {}
        for unit, address in self._handles:
            self._addresses.setdefault(unit, []).append(address)
        self._routes: dict[bytes, Route | None] = {}

    def read(
        self,
        topic: bytes,
        payload: bytes,
        into: Collected,
        not_of: Set[int] = frozenset(),
        received_at: int | None = None,
    ) -> bool:
        """Take a message's values; False: it is not ordinary, or has a value of one of the handles
        `not_of`, and nothing was taken."""
        try:
            route = self._routes[topic]
        except KeyError:
            route = self._learn(topic)
        if route is None or len(payload) > _MOST_BYTES:
            return False
        try:
            content = orjson.loads(payload)
        except orjson.JSONDecodeError:
            return False
        if type(content) is dict:
            return self._read_members(route, content, payload, into, not_of, received_at)
        bare = route.bare
        if bare < 0 or bare in not_of:
            return False
        return _take(into, (bare,), (content,), NO_TIME)

    def _read_members(
        self,
        route: Route,
        content: dict[str, object],
        payload: bytes,
        into: Collected,
        not_of: Set[int],
        received_at: int | None,
    ) -> bool:
        # A member that stands twice is refused where somebody looks: then there is a colon more.
        if payload.count(b":") != len(content):
            return False
        shape, keys = route.shape, tuple(content)
        if shape is None or shape.keys != keys:
            shape = route.shape = _shape_of(route, keys)
            if shape is None:
                return False
        if not_of and not not_of.isdisjoint(shape.handles):
            return False
        values, time = list(content.values()), NO_TIME
        if shape.time >= 0:
            given = values[shape.time]
            if type(given) is not int and type(given) is not float:
                return False
            read = self._times.number(given, route.stream, received_at)
            if read is None or not -(2**62) < read < 2**62:
                return False
            time = read
        for place in shape.others:
            del values[place]
        return _take(into, shape.handles, values, time)

    def _learn(self, topic: bytes) -> Route | None:
        if len(self._routes) >= _MOST_TOPICS:
            self._routes.clear()
        route = self._routes[topic] = self._route_of(topic)
        return route

    def _route_of(self, topic: bytes) -> Route | None:
        try:
            text = topic.decode()
        except UnicodeDecodeError:
            return None
        place = self._place_of(text)
        if place is None:
            return None
        unit, prefix = place
        below = f"{prefix}." if prefix else ""
        members = {
            address.removeprefix(below): self._handles[unit, address]
            for address in self._addresses.get(unit, ())
            if address.startswith(below)
        }
        bare = self._handles.get((unit, prefix or "value"), -1)
        if bare >= 0 and self.table.kind[bare] == ValueType.JSON:
            return None  # an object is its value
        if any("." in each for each in members) or "fields" in members:
            # What stands deeper is found by its whole name, which may be a member's here too.
            members = {name: handle for name, handle in members.items() if "." not in name}
        if prefix and any(each in members for each in ("value", *TIME_KEYS)):
            return None
        return Route(bare, members, f"{text}\0")


def _shape_of(route: Route, keys: tuple[str, ...]) -> Shape | None:
    """What members are; None: not all of them are known."""
    members, handles, others = route.members, [], []
    for place, key in enumerate(keys):
        handle = members.get(key, -1)
        if handle < 0 and key in _TIMES:
            others.append(place)
            continue
        if handle < 0:
            # One value with its time.
            if key != "value" or route.bare < 0 or not _TIMES.issuperset({*keys} - {key}):
                return None
            handle = route.bare
        handles.append(handle)
    if not handles:
        return None
    times = (keys.index(key) for key in TIME_KEYS if key in keys and key not in members)
    return Shape(keys, tuple(reversed(others)), next(times, -1), tuple(handles))


def _take(into: Collected, handles: Sequence[int], values: Sequence[object], time: int) -> bool:
    """Take values of one object; False: one is no ordinary number, and nothing was taken."""
    types = set(map(type, values))
    kind = _kind_of_all(values, *types) if len(types) == 1 else None
    if kind is not None:
        into.add(kind, handles, values, time)
        return True
    kinds = [_kind_of_all((value,), type(value)) or _kind_of_large(value) for value in values]
    if None in kinds:
        return False
    for kind, handle, value in zip(kinds, handles, values, strict=True):
        assert kind is not None
        into.add(kind, (handle,), (value,), time)
    return True


def _kind_of_all(values: Sequence[Any], kind: type) -> ValueType | None:
    """The type of values of one Python type; None: some need a closer look."""
    if kind is float:
        # A large double may be an integer that was too large for the parser.
        is_sure = min(values) > -MAX_EXACT_INT and max(values) < MAX_EXACT_INT
        return ValueType.DOUBLE if is_sure else None
    if kind is int:
        return ValueType.INT64 if max(values) <= _MOST_SIGNED else None
    return ValueType.BOOL if kind is bool else None


def _kind_of_large(value: object) -> ValueType | None:
    return ValueType.UINT64 if type(value) is int else None
