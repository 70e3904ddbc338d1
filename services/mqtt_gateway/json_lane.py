"""Numbers of ordinary JSON messages as columns; every other message is left to mapping.py. Used by
source.py.

Ordinary: a bare number, a value object with nothing but a time, or a flat object of declared
numbers with at most a time among them. Both ways give the same values (test_json_lane.py).
"""

from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass, field

import numpy as np
import orjson

from aurelian.edge.columns import NO_TIME, Columns, Numbers, SignalTable
from aurelian.model.sample import MAX_EXACT_INT, ValueType
from mqtt_gateway.json_payload import TIME_KEYS
from mqtt_gateway.mapping import SignalMap
from mqtt_gateway.times import Times

_MOST_TOPICS = 100_000
_MOST_BYTES = 64 * 1024
"""A larger payload is looked at closely; so many members do not come at once all the time."""

_TIMES = frozenset(TIME_KEYS)
_MOST_SIGNED = 2**63 - 1


@dataclass(frozen=True, slots=True)
class Route:
    """What one topic's payloads are of.

    Attributes:
        bare: handle of the signal that a bare value is of; -1: of none that is declared.
        members: handles by member; only those whose place in the payload is at the top.
        stream: what the topic's times belong to.
    """

    bare: int
    members: dict[str, int]
    stream: str


@dataclass(slots=True)
class Collected:
    """Values of messages, in order: one list of each column, for doubles, integers, large integers
    and truths."""

    place: int = 0
    columns: dict[ValueType, tuple[list[int], list[int], list[object], list[int]]] = field(
        default_factory=dict
    )
    handles: set[int] = field(default_factory=set)

    def add(self, kind: ValueType, handle: int, value: object, time: int) -> None:
        """Take one value; `time`: microseconds since 1970 or `NO_TIME`."""
        found = self.columns.get(kind)
        if found is None:
            found = self.columns[kind] = [], [], [], []
        found[0].append(self.place)
        found[1].append(handle)
        found[2].append(value)
        found[3].append(time)
        self.place += 1
        self.handles.add(handle)

    def finish(self, table: SignalTable) -> Columns | None:
        """All of it; None: there is nothing."""
        if not self.place:
            return None
        numbers = []
        for kind, (place, handle, value, time) in self.columns.items():
            count = len(place)
            numbers.append(
                Numbers(
                    kind,
                    np.array(place, np.uint32),
                    np.array(handle, np.uint32),
                    np.array(value, _DTYPES[kind]),
                    np.zeros(count, np.uint32),
                    np.array(time, np.int64),
                    np.full(count, NO_TIME, np.int64),
                )
            )
        return Columns(table, tuple(numbers))


_DTYPES = {
    ValueType.DOUBLE: np.float64,
    ValueType.INT64: np.int64,
    ValueType.UINT64: np.uint64,
    ValueType.BOOL: np.bool_,
}

_KINDS = {float: ValueType.DOUBLE, int: ValueType.INT64, bool: ValueType.BOOL}


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
        not_of: Collection[int] = (),
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
        kind = _KINDS.get(type(content))
        bare = route.bare
        if kind is None or bare < 0 or bare in not_of or _is_doubtful(content, kind):
            return False
        if kind is ValueType.INT64 and content > _MOST_SIGNED:
            kind = ValueType.UINT64
        into.add(kind, bare, content, NO_TIME)
        return True

    def _read_members(
        self,
        route: Route,
        content: dict[str, object],
        payload: bytes,
        into: Collected,
        not_of: Collection[int],
        received_at: int | None,
    ) -> bool:
        # A member that stands twice is refused where somebody looks: then there is a colon more.
        if payload.count(b":") != len(content):
            return False
        members, time, found = route.members, NO_TIME, []
        for key, value in content.items():
            handle = members.get(key, -1)
            if handle < 0:
                if key in _TIMES:
                    continue
                # One value with its time.
                if (
                    key != "value"
                    or route.bare < 0
                    or not _TIMES.issuperset(content.keys() - {key})
                ):
                    return False
                handle = route.bare
            kind = _KINDS.get(type(value))
            if kind is None or handle in not_of or _is_doubtful(value, kind):
                return False
            if kind is ValueType.INT64 and value > _MOST_SIGNED:  # type: ignore[operator]
                kind = ValueType.UINT64
            found.append((kind, handle, value))
        for key in TIME_KEYS:
            if key in content and key not in members:
                given = content[key]
                if type(given) is not int and type(given) is not float:
                    return False
                read = self._times.number(given, route.stream, received_at)
                if read is None or not -(2**62) < read < 2**62:
                    return False
                time = read
                break
        for kind, handle, value in found:
            into.add(kind, handle, value, time)
        return bool(found)

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


def _is_doubtful(value: object, kind: ValueType) -> bool:
    """Whether a double may be an integer that was too large for the parser."""
    return kind is ValueType.DOUBLE and abs(value) >= MAX_EXACT_INT  # type: ignore[arg-type]
