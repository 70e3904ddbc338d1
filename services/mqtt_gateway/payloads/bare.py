"""Payload `bare`: one value as plain text. Its helpers read texts and words for other decoders."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace

from aurelian.model.sample import Flag, ValueType
from mqtt_gateway.json_payload import Broken, Field, NotJson, Unreadable, make_field, parse_json
from mqtt_gateway.payloads.contract import Context, Message, Part

_NUMBER = re.compile(r"[+-]?(?:[0-9]+(?:\.[0-9]*)?|\.[0-9]+)(?:[eE][+-]?[0-9]+)?")
_MOST_DIGITS = 4_000
_TRUE = frozenset({"true", "on", "yes", "1"})
_FALSE = frozenset({"false", "off", "no", "0"})
_NO_NUMBERS = {"nan": float("nan"), "inf": float("inf"), "-inf": float("-inf")}


def decode(message: Message, context: Context) -> Sequence[Part]:
    """A number, `true` or `false`, or a text, in quotes or not; the topic names the signal."""
    address = message.places.get("signal", "")
    kind = context.declared(context.unit).get(address or "value")
    if kind is ValueType.BYTES:
        return (Part([Field(address, message.payload, ValueType.BYTES, None)]),)
    return (Part([field_of_text(address, text_of(message.payload), kind)]),)


def text_of(payload: bytes) -> str:
    """A payload as text.

    Raises:
        Unreadable: not UTF-8.
    """
    try:
        return payload.decode()
    except UnicodeDecodeError as error:
        raise Unreadable(f"not UTF-8: {error.reason} at byte {error.start}") from error


def json_or_text(payload: bytes) -> object:
    """A payload as JSON, or as the text that it is.

    Raises:
        Unreadable: neither.
    """
    try:
        return parse_json(payload)
    except NotJson as error:
        return error.text


def object_of(payload: bytes) -> dict[str, object]:
    """A payload that must be a JSON object.

    Raises:
        Unreadable: it is none.
    """
    content = parse_json(payload)
    if not isinstance(content, dict):
        raise Unreadable(f"a JSON object is expected, not {type(content).__name__}")
    return content


def field_of_text(
    name: str,
    text: str,
    kind: ValueType | None,
    time: int | None = None,
    flags: Flag = Flag.NONE,
) -> Field | Broken:
    """The value that a text is, as its declared type wants it; None: by its look."""
    word = text.strip()
    if kind is ValueType.TEXT:
        return make_field(name, _unquoted(text), time, 0, flags)
    if kind is ValueType.JSON:
        return _json(name, text, time, flags)
    lower = word.casefold()
    if kind is ValueType.BOOL and lower in _TRUE | _FALSE:
        return make_field(name, lower in _TRUE, time, 0, flags)
    if _NUMBER.fullmatch(word):
        if len(word) > _MOST_DIGITS:
            return Broken(name, f"a number of {len(word)} characters", "overflow", time)
        is_whole = word.lstrip("+-").isdigit()
        return make_field(name, int(word) if is_whole else float(word), time, 0, flags)
    if kind is not None and kind.is_number and lower in _NO_NUMBERS:
        return make_field(name, _NO_NUMBERS[lower], time, 0, flags)
    if lower in ("true", "false"):
        return make_field(name, lower == "true", time, 0, flags)
    return make_field(name, _unquoted(text), time, 0, flags)


def with_words(
    members: Iterable[Field | Broken], declared: Mapping[str, ValueType]
) -> Iterator[Field | Broken]:
    """Members whose `ON`, `off`, `yes` and the like are truth values where those are declared."""
    for each in members:
        if isinstance(each, Field) and each.type is ValueType.TEXT:
            word = str(each.value).casefold()
            if declared.get(each.name) is ValueType.BOOL and word in _TRUE | _FALSE:
                each = replace(each, value=word in _TRUE, type=ValueType.BOOL)
        yield each


def _json(name: str, text: str, time: int | None, flags: Flag) -> Field | Broken:
    try:
        return make_field(name, parse_json(text.encode()), time, 0, flags)
    except (Unreadable, UnicodeEncodeError):
        return make_field(name, text, time, 0, flags)


def _unquoted(text: str) -> object:
    word = text.strip()
    if len(word) > 1 and word[0] == word[-1] == '"':
        try:
            return parse_json(word.encode())
        except (Unreadable, UnicodeEncodeError):
            return text
    return text
