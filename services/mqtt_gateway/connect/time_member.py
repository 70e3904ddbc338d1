"""Which member of JSON payloads says their time, where it has none of the names that are known.
Pure; used by the ladder and by the proposals."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from mqtt_gateway.connect.clock import Stamp
from mqtt_gateway.json_payload import TIME_KEYS, Unreadable, parse_json
from mqtt_gateway.payloads import cbor
from mqtt_gateway.times import to_time

_NEAR_US = 15 * 3_600_000_000
"""So far from now a time may be: a local one may be taken for one of any other zone."""

_STANDS_US = 3_000_000
"""What stays the same for longer while values come is when something began, or will be."""

_SHORTEST, _SHORTEST_NUMBER, _LONGEST = 16, 10, 40
_MOST_MEMBERS = 100
_MOST_TOPICS = 1000
_MOST_STAMPS = 30


@dataclass(slots=True)
class _Member:
    """One member of one topic. `stamps`: its last ones; `is_time`: all were times near now."""

    first: object
    first_at: int
    is_time: bool = True
    changed: bool = False
    last_at: int = 0
    stamps: list[Stamp] = field(default_factory=list)

    @property
    def may_be(self) -> bool:
        return self.is_time and (self.changed or self.last_at - self.first_at < _STANDS_US)


class TimeMembers:
    """What the payloads of some topics have that looks like a time."""

    def __init__(self) -> None:
        self._topics: dict[str, dict[str, _Member]] = {}
        self._named = False

    def take(self, topic: str, payload: bytes, at: int) -> None:
        """Look at a payload that was new at `at`, microseconds since 1970."""
        content: object = None
        with suppress(Unreadable):
            content = parse_json(payload)
        if content is None:
            with suppress(Unreadable):
                content = cbor.to_plain(payload)
        if not isinstance(content, Mapping):
            return
        if topic not in self._topics and len(self._topics) >= _MOST_TOPICS:
            return
        members = self._topics.setdefault(topic, {})
        for name, value in _flat(content):
            read = _near(value, at)
            own = name.rpartition(".")[2]
            # Deeper a `time` may as well be how long something took.
            self._named = self._named or (own in TIME_KEYS and (own == name or read is not None))
            member = members.get(name)
            if member is None:
                if len(members) >= _MOST_MEMBERS:
                    continue
                member = members[name] = _Member(value, at)
            member.is_time = member.is_time and read is not None
            member.changed = member.changed or value != member.first
            member.last_at = at
            if member.is_time:
                member.stamps = [*member.stamps[1 - _MOST_STAMPS :], Stamp(value, read, at)]

    @property
    def found(self) -> str:
        """The one member that says the time, `a.b` where it stands deeper; empty: there is none,
        or more than one, or one by a name that is known."""
        names = {n for each in self._topics.values() for n, found in each.items() if found.may_be}
        return names.pop() if len(names) == 1 and not self._named else ""

    @property
    def stamps(self) -> list[Stamp]:
        """The times that it said."""
        name = self.found
        found = [each[name].stamps for each in self._topics.values() if name in each]
        return [stamp for stamps in found for stamp in stamps]


def _flat(content: Mapping[object, object]) -> Iterable[tuple[str, object]]:
    """Members, and those of objects in it; a name with a dot names no member alone."""
    for key, value in content.items():
        if not isinstance(key, str) or "." in key:
            continue
        if not isinstance(value, Mapping):
            yield key, value
            continue
        for inner, each in value.items():
            if isinstance(inner, str) and "." not in inner:
                yield f"{key}.{inner}", each


def _near(value: object, at: int) -> int | None:
    """A value as a time near one; None: it is none."""
    if isinstance(value, str):
        shortest = _SHORTEST_NUMBER if value.isdigit() else _SHORTEST
        if not shortest <= len(value) <= _LONGEST:
            return None
    elif isinstance(value, bool) or not isinstance(value, int | float):
        return None
    read = to_time(value)
    return read if read is not None and abs(read - at) <= _NEAR_US else None
