"""JSON payloads to named values: bare values, value objects with time, unit and quality, flat and
nested objects. Pure; called by mapping.py."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

from aurelian.model.sample import Flag, Value, ValueType
from mqtt_gateway import quality
from mqtt_gateway.local_time import LocalClock

TIME_KEYS = ("ts", "timestamp", "timestamp_ms", "time")
"""Members that carry the time of an object, in order of preference, unless the plant model declares
them as signals."""

QUALITY_KEYS = ("quality", "quality_code", "qualitycode")
"""Members, in any case, that carry the quality of an object's values."""

UNIT_KEYS = ("unit", "units", "uom")
NAME_KEYS = ("name", "tag", "signal", "metric")
"""Members of a value object that may name its signal; they do where that signal is declared."""

_DEEPEST = 32
_MAX_DIGITS = 4_000
_WHOLE = (ValueType.JSON,)


class Unreadable(ValueError):
    """The payload is no JSON that can be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Field:
    """One value of a payload.

    Attributes:
        name: members on the way to it, joined by dots; "" for a bare value.
        time: microseconds since 1970; None where the payload gives none that can be read.
        status: OPC UA status code, from the quality beside the value.
        flags: TIME_AMBIGUOUS where a local time may have been another one.
    """

    name: str
    value: Value
    type: ValueType
    time: int | None
    status: int = 0
    flags: Flag = Flag.NONE


@dataclass(frozen=True, slots=True)
class Broken:
    """One member of a payload that cannot be a value; the others are not touched by it."""

    name: str
    reason: str
    error_class: str
    time: int | None = None


@dataclass(frozen=True, slots=True)
class _About:
    """What an object says of the values in it."""

    time: int | None = None
    status: int = 0
    flags: Flag = Flag.NONE


class _TooLong(str):
    """An integer of so many digits that reading it would take long."""


class _Repeated:
    """In place of a member that its object has more than once: which one counts is not said."""


_REPEATED = _Repeated()
_REPEATED_SAYS = "the member stands more than once in its object"


def read_members(
    payload: bytes,
    *,
    declared: Collection[str] | Mapping[str, ValueType] = (),
    clock: LocalClock,
    texts: bool = False,
    stream: str = "",
    received_at: int | None = None,
) -> list[Field | Broken]:
    """Read all values of a payload.

    - `12.5`, `true`, `"open"`, `null`, `[1, 2]`: one field without a name.
    - `{"value": 12.5, "ts": …, "unit": …, "quality": "bad"}`: the same with its time and status.
      A quality that is not known makes it Uncertain, and is kept as `quality`.
    - `{"ts": …, "fields": {…}}` and any other object: a field for each member, nested ones as
      `a.b`. A known quality beside them is the status of all of them.
    - A member that stands twice in its object is broken, whatever its values; the others stay. Of
      a time they then have none, of a quality they are Uncertain.

    Args:
        payload: UTF-8 bytes.
        declared: names that the plant model knows, with their types where they matter: an object
            there stays whole where JSON is declared or it has no `value`, and a time, quality or
            unit key is a value.
        clock: reads times without a zone, in order of arrival.
        texts: take a payload that is no JSON as a bare text.
        stream: what the clock's order belongs to, say the topic.
        received_at: microseconds since 1970, for times that could be in the future.

    Raises:
        Unreadable: not UTF-8, not JSON, or nested too deeply.
    """
    try:
        text = payload.decode()
    except UnicodeDecodeError as error:
        raise Unreadable(f"not UTF-8: {error.reason} at byte {error.start}") from error
    known = declared if isinstance(declared, Mapping) else dict.fromkeys(declared, ValueType.NULL)
    reader = _Reader(known, clock, stream, received_at)
    try:
        content = json.loads(text, parse_int=_integer, object_pairs_hook=_members)
        if isinstance(content, _TooLong):
            raise Unreadable(f"an integer of {len(content)} digits")
        return list(reader.read("", content, _About(), 0))
    except RecursionError as error:
        raise Unreadable("nested too deeply") from error
    except Unreadable:
        raise
    except ValueError as error:
        if texts:
            return [Field("", text, ValueType.TEXT, None)]
        raise Unreadable(f"not JSON: {error}") from error


def to_time(found: object, zone: tzinfo = UTC) -> int | None:
    """A time as microseconds since 1970, or None where it cannot be read.

    Numbers are seconds, milliseconds, microseconds or nanoseconds by their magnitude (below 1e11,
    1e14, 1e17, above); texts are such numbers, or ISO 8601, in `zone` where they name none.
    """
    if isinstance(found, bool):
        return None
    if isinstance(found, str):
        try:
            return to_time(float(found) if "." in found else int(found))
        except ValueError:
            return _from_iso(found, LocalClock(zone), "", None)[0]
    if isinstance(found, int):
        size = abs(found)
        if size < 10**11:
            return found * 1_000_000
        if size < 10**14:
            return found * 1_000
        return found if size < 10**17 else found // 1_000
    if isinstance(found, float) and math.isfinite(found):
        magnitude = abs(found)
        scale = (
            1e6
            if magnitude < 1e11
            else 1e3
            if magnitude < 1e14
            else 1.0
            if magnitude < 1e17
            else 1e-3
        )
        return round(found * scale)
    return None


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                members[key] = _REPEATED
            seen.add(key)
    return members


def _integer(digits: str) -> object:
    return int(digits) if len(digits) <= _MAX_DIGITS else _TooLong(digits)


def _from_iso(
    text: str, clock: LocalClock, stream: str, received_at: int | None
) -> tuple[int | None, Flag]:
    try:
        found = clock.resolve(datetime.fromisoformat(text), stream, received_at)
    except (ValueError, OverflowError):
        return None, Flag.NONE
    return found.us, Flag.TIME_AMBIGUOUS if found.ambiguous else Flag.NONE


@dataclass(frozen=True, slots=True)
class _Reader:
    """Walks through one payload."""

    declared: Mapping[str, ValueType]
    clock: LocalClock
    stream: str
    received_at: int | None

    def read(
        self, name: str, content: object, about: _About, depth: int
    ) -> Iterator[Field | Broken]:
        """The values of `content`, which stands under `name`."""
        here = self.declared.get(name)
        if not isinstance(content, dict) or here in _WHOLE or depth > _DEEPEST:
            yield _field(name, content, about)
            return
        keys = self._value_object_keys(name, content)
        if name and here is not None and keys is None:
            yield _field(name, content, about)
            return
        members, about = self._about(name, content, about, is_value=keys is not None)
        if keys is not None:
            named = next((str(content[key]) for key in keys if key in content), name)
            yield from self.read(named, members.pop("value"), about, depth + 1)
            name = named
            members = {key: each for key, each in members.items() if key not in keys}
        for member, value in members.items():
            inner = (
                name
                if not name and member == "fields" and isinstance(value, dict)
                else _join(name, member)
            )
            yield from self.read(inner, value, about, depth + 1)

    def _value_object_keys(self, name: str, content: dict[str, object]) -> Collection[str] | None:
        """Whether `content` is one value with what is said of it: the members that name its
        signal, None where it is an object of several values."""
        if "value" not in content or _join(name, "value") in self.declared:
            return None
        naming = [
            key
            for key in NAME_KEYS
            if not name and isinstance(content.get(key), str) and content[key] in self.declared
        ][:1]
        if naming or name in self.declared:
            return naming
        others = {key.casefold() for key in content} - {"value"}
        return naming if others <= {*TIME_KEYS, *QUALITY_KEYS, *UNIT_KEYS} else None

    def _about(
        self, name: str, content: dict[str, object], about: _About, *, is_value: bool
    ) -> tuple[dict[str, object], _About]:
        """The members that are values, and what the others say of them."""
        time, status, flags = about.time, about.status, about.flags
        free = dict.fromkeys(key for key in content if _join(name, key) not in self.declared)
        dropped: set[str] = set()
        key = next((key for key in TIME_KEYS if key in free), None)
        if key is not None:
            time, flags = self._time(content[key], f"{self.stream}\0{name}")
            dropped.update(each for each in TIME_KEYS if content.get(each) is not _REPEATED)
        for key in free:
            if key.casefold() in QUALITY_KEYS:
                repeated = content[key] is _REPEATED
                said = None if repeated else quality.of_json(content[key])
                if said is not None:
                    dropped.add(key)
                    status = said
                elif is_value or repeated:
                    status = quality.UNCERTAIN
            elif is_value and key.casefold() in UNIT_KEYS and isinstance(content[key], str):
                dropped.add(key)
        members = {
            key: value for key, value in content.items() if key not in dropped or key not in free
        }
        return members, _About(time, status, flags)

    def _time(self, found: object, stream: str) -> tuple[int | None, Flag]:
        if isinstance(found, str):
            try:
                float(found)
            except ValueError:
                return _from_iso(found, self.clock, stream, self.received_at)
        return to_time(found), Flag.NONE


def _field(name: str, value: object, about: _About) -> Field | Broken:
    kind: ValueType
    match value:
        case _TooLong():
            return Broken(name, f"an integer of {len(value)} digits", "overflow", about.time)
        case _Repeated():
            return Broken(name, _REPEATED_SAYS, "repeated", about.time)
        case bool():
            kind = ValueType.BOOL
        case int():
            kind = ValueType.UINT64 if value >= 2**63 else ValueType.INT64
        case float():
            kind = ValueType.DOUBLE
        case str():
            kind = ValueType.TEXT
        case None:
            kind = ValueType.NULL
        case _:
            try:
                value = json.dumps(_finite(value), ensure_ascii=False, separators=(",", ":"))
            except (RecursionError, ValueError) as error:
                reason = f"nested too deeply, or no JSON: {error}"
                return Broken(name, reason, "unreadable", about.time)
            kind = ValueType.JSON
    return Field(name, value, kind, about.time, about.status, about.flags)


def _finite(value: object) -> object:
    match value:
        case _TooLong():
            raise ValueError(f"an integer of {len(value)} digits")
        case _Repeated():
            raise ValueError(_REPEATED_SAYS)
        case float():
            return value if math.isfinite(value) else None
        case list():
            return [_finite(each) for each in value]
        case dict():
            return {key: _finite(each) for key, each in value.items()}
    return value


def _join(name: str, member: str) -> str:
    return f"{name}.{member}" if name else member
