"""JSON payloads to named values: bare values, value objects, flat and nested objects. Pure; called
by mapping.py."""

from __future__ import annotations

import json
import math
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, tzinfo

from aurelian.model.sample import Value, ValueType
from aurelian.model.time import to_us

TIME_KEYS = ("ts", "timestamp", "timestamp_ms", "time")
"""Members that carry the time of an object, in order of preference, unless the plant model declares
them as signals."""


class Unreadable(ValueError):
    """The payload is no JSON that can be used; the text says why."""


@dataclass(frozen=True, slots=True)
class Field:
    """One value of a payload.

    Attributes:
        name: members on the way to it, joined by dots; "" for a bare value.
        time: microseconds since 1970; None where the payload gives none that can be read.
    """

    name: str
    value: Value
    type: ValueType
    time: int | None


def read_fields(
    payload: bytes, *, declared: Collection[str] = (), zone: tzinfo = UTC, texts: bool = False
) -> list[Field]:
    """Read all values of a payload.

    - `12.5`, `true`, `"open"`, `null`, `[1, 2]`: one field without a name.
    - `{"value": 12.5, "ts": …}`: the same with its time.
    - `{"ts": …, "fields": {…}}` and any other object: a field for each member, nested ones as
      `a.b`.

    Args:
        payload: UTF-8 bytes.
        declared: names that the plant model knows: an object there stays whole, and a time key is a
            value.
        zone: of times without one.
        texts: take a payload that is no JSON as a bare text.

    Raises:
        Unreadable: not UTF-8, not JSON, or nested too deeply.
    """
    try:
        text = payload.decode()
    except UnicodeDecodeError as error:
        raise Unreadable(f"not UTF-8: {error.reason} at byte {error.start}") from error
    try:
        content = json.loads(text)
        return list(_fields("", content, None, frozenset(declared), zone))
    except RecursionError as error:
        raise Unreadable("nested too deeply") from error
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
            return _from_iso(found, zone)
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


def _from_iso(text: str, zone: tzinfo) -> int | None:
    try:
        when = datetime.fromisoformat(text)
        return to_us(when if when.tzinfo else when.replace(tzinfo=zone))
    except (ValueError, OverflowError):
        return None


def _fields(
    name: str, content: object, time: int | None, declared: frozenset[str], zone: tzinfo
) -> Iterator[Field]:
    if not isinstance(content, dict) or (name and name in declared):
        yield _field(name, content, time)
        return
    for key in TIME_KEYS:
        if key in content and _join(name, key) not in declared:
            time = to_time(content[key], zone)
            content = {
                member: value
                for member, value in content.items()
                if member not in TIME_KEYS or _join(name, member) in declared
            }
            break
    if set(content) == {"value"} and _join(name, "value") not in declared:
        yield from _fields(name, content["value"], time, declared, zone)
        return
    for member, value in content.items():
        inner = (
            name
            if not name and member == "fields" and isinstance(value, dict)
            else _join(name, member)
        )
        yield from _fields(inner, value, time, declared, zone)


def _field(name: str, value: object, time: int | None) -> Field:
    match value:
        case bool():
            return Field(name, value, ValueType.BOOL, time)
        case int():
            return Field(name, value, ValueType.UINT64 if value >= 2**63 else ValueType.INT64, time)
        case float():
            return Field(name, value, ValueType.DOUBLE, time)
        case str():
            return Field(name, value, ValueType.TEXT, time)
        case None:
            return Field(name, None, ValueType.NULL, time)
    return Field(
        name,
        json.dumps(_finite(value), ensure_ascii=False, separators=(",", ":")),
        ValueType.JSON,
        time,
    )


def _finite(value: object) -> object:
    match value:
        case float():
            return value if math.isfinite(value) else None
        case list():
            return [_finite(each) for each in value]
        case dict():
            return {key: _finite(each) for key, each in value.items()}
    return value


def _join(name: str, member: str) -> str:
    return f"{name}.{member}" if name else member
