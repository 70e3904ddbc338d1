"""JSON payloads to named values: bare values, value objects with time, unit and quality, flat and
nested objects. Pure; called by the decoders in payloads/."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass

from aurelian.model.sample import Flag, Value, ValueType
from mqtt_gateway import quality
from mqtt_gateway.times import Times

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
_MOST_NAME = 300
_WHOLE = (ValueType.JSON,)


class Unreadable(ValueError):
    """The payload cannot be used; the text says why."""


class NotJson(Unreadable):
    """Text, but no JSON."""

    def __init__(self, reason: str, text: str) -> None:
        super().__init__(reason)
        self.text = text


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
    times: Times,
    texts: bool = False,
    stream: str = "",
    received_at: int | None = None,
    time_member: str = "",
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
        times: reads times.
        texts: take a payload that is no JSON as a bare text.
        stream: what the clock's order belongs to, say the topic.
        received_at: microseconds since 1970, for times that could be in the future.
        time_member: a further member that carries the time of the whole payload, `a.b` where it
            stands deeper; a value too where it is declared.

    Raises:
        Unreadable: not UTF-8, not JSON, or nested too deeply.
    """
    try:
        content = parse_json(payload)
    except NotJson as error:
        if texts:
            return [Field("", error.text, ValueType.TEXT, None)]
        raise
    return read_content(
        content,
        declared=declared,
        times=times,
        stream=stream,
        received_at=received_at,
        time_member=time_member,
    )


def read_content(
    content: object,
    *,
    declared: Collection[str] | Mapping[str, ValueType] = (),
    times: Times,
    stream: str = "",
    received_at: int | None = None,
    time_member: str = "",
) -> list[Field | Broken]:
    """Read all values of what a payload was parsed to, as `read_members` does.

    Raises:
        Unreadable: nested too deeply.
    """
    known = declared if isinstance(declared, Mapping) else dict.fromkeys(declared, ValueType.NULL)
    reader = _Reader(known, times, stream, received_at)
    about = _About()
    if time_member and isinstance(content, dict):
        content, about = reader.timed(content, time_member)
    try:
        return list(reader.read("", content, about, 0))
    except RecursionError as error:
        raise Unreadable("nested too deeply") from error


def parse_json(payload: bytes) -> object:
    """A JSON payload as Python objects, for `read_content` and `flat_members`.

    Raises:
        NotJson: text that is no JSON.
        Unreadable: not UTF-8, nested too deeply, or an integer without end.
    """
    try:
        text = payload.decode()
    except UnicodeDecodeError as error:
        raise Unreadable(f"not UTF-8: {error.reason} at byte {error.start}") from error
    try:
        content = json.loads(text, parse_int=_integer, object_pairs_hook=_members)
    except RecursionError as error:
        raise Unreadable("nested too deeply") from error
    except ValueError as error:
        raise NotJson(f"not JSON: {error}", text) from error
    if isinstance(content, _TooLong):
        raise Unreadable(f"an integer of {len(content)} digits")
    return content


def flat_members(
    name: str,
    content: object,
    time: int | None = None,
    flags: Flag = Flag.NONE,
    *,
    declared: Mapping[str, ValueType] | None = None,
    depth: int = 0,
) -> Iterator[Field | Broken]:
    """A field for each value of an object, nested ones as `a.b`; nothing in it says anything of
    others. An object deeper than 32 levels, and one where JSON is `declared`, stays whole; of an
    array elements have fields of their own where one is declared (`a.0`)."""
    declared = declared or {}
    if depth <= _DEEPEST and declared.get(name) not in _WHOLE:
        if isinstance(content, dict):
            for member, value in content.items():
                yield from flat_members(
                    join_names(name, str(member)),
                    value,
                    time,
                    flags,
                    declared=declared,
                    depth=depth + 1,
                )
            return
        if isinstance(content, list) and f"{name}.0" in declared:
            for number, value in enumerate(content):
                yield make_field(f"{name}.{number}", value, time, 0, flags)
            return
    yield make_field(name, content, time, 0, flags)


def _members(pairs: list[tuple[str, object]]) -> dict[str, object]:
    members = dict(pairs)
    if len(members) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                members[key] = _REPEATED
            seen.add(key)
    return members


def _without(content: dict[str, object], name: str) -> dict[str, object]:
    return {key: each for key, each in content.items() if key != name}


def _integer(digits: str) -> object:
    return int(digits) if len(digits) <= _MAX_DIGITS else _TooLong(digits)


@dataclass(frozen=True, slots=True)
class _Reader:
    """Walks through one payload."""

    declared: Mapping[str, ValueType]
    times: Times
    stream: str
    received_at: int | None

    def timed(self, content: dict[str, object], name: str) -> tuple[dict[str, object], _About]:
        """An object without the member that says its time, and what that says."""
        first, _, rest = name.partition(".")
        whole = name if name in content else first
        inner = content.get(whole)
        if whole != name and isinstance(inner, dict) and rest in inner:
            found = inner[rest]
            left: dict[str, object] = {key: each for key, each in inner.items() if key != rest}
            shorter = {**content, whole: left} if left else _without(content, whole)
        elif whole == name and name in content:
            found, shorter = inner, _without(content, name)
        else:
            return content, _About()
        if isinstance(found, _Repeated):
            return content, _About()
        time, flags = self.times.read(found, f"{self.stream}\0", self.received_at)
        return content if name in self.declared else shorter, _About(time, 0, flags)

    def read(
        self, name: str, content: object, about: _About, depth: int
    ) -> Iterator[Field | Broken]:
        """The values of `content`, which stands under `name`."""
        here = self.declared.get(name)
        if not isinstance(content, dict) or here in _WHOLE or depth > _DEEPEST:
            yield make_field(name, content, about.time, about.status, about.flags)
            return
        keys = self._value_object_keys(name, content)
        if name and here is not None and keys is None:
            yield make_field(name, content, about.time, about.status, about.flags)
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
                else join_names(name, member)
            )
            yield from self.read(inner, value, about, depth + 1)

    def _value_object_keys(self, name: str, content: dict[str, object]) -> Collection[str] | None:
        """Whether `content` is one value with what is said of it: the members that name its
        signal, None where it is an object of several values."""
        if "value" not in content or join_names(name, "value") in self.declared:
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
        free = dict.fromkeys(key for key in content if join_names(name, key) not in self.declared)
        dropped: set[str] = set()
        key = next((key for key in TIME_KEYS if key in free), None)
        if key is not None:
            stream = f"{self.stream}\0{name}"
            time, flags = self.times.read(content[key], stream, self.received_at)
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


def make_field(
    name: str, value: object, time: int | None, status: int = 0, flags: Flag = Flag.NONE
) -> Field | Broken:
    """A value as a field: objects and arrays as JSON text, what cannot be kept as broken."""
    kind: ValueType
    match value:
        case _TooLong():
            return Broken(name, f"an integer of {len(value)} digits", "overflow", time)
        case _Repeated():
            return Broken(name, _REPEATED_SAYS, "repeated", time)
        case bool():
            kind = ValueType.BOOL
        case int():
            kind = ValueType.UINT64 if value >= 2**63 else ValueType.INT64
        case float():
            kind = ValueType.DOUBLE
        case str():
            kind = ValueType.TEXT
        case bytes():
            kind = ValueType.BYTES
        case None:
            kind = ValueType.NULL
        case _:
            try:
                value = json.dumps(_finite(value), ensure_ascii=False, separators=(",", ":"))
            except (RecursionError, ValueError) as error:
                reason = f"nested too deeply, or no JSON: {error}"
                return Broken(name, reason, "unreadable", time)
            kind = ValueType.JSON
    return Field(name, value, kind, time, status, flags)


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


def join_names(name: str, member: str) -> str:
    """`name.member`, or the member where there is no name.

    Cut where it is longer than any name that can be kept: a long one in front of thousands would
    fill the memory.
    """
    joined = f"{name}.{member}" if name else member
    return joined if len(joined) <= _MOST_NAME else joined[:_MOST_NAME]
