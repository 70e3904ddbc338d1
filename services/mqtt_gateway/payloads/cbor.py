"""Payload `cbor`: CBOR (RFC 8949), read as the JSON that it stands for. The only importer of cbor2.

Byte strings stay bytes; inside of arrays they are hexadecimal text. Tagged times are ISO 8601,
other tags what they enclose. References to other parts of the payload, which let a few bytes stand
for millions, are refused, and so are maps whose keys are no text (but for SenML).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import date
from decimal import Decimal
from io import BytesIO
from typing import Any

import cbor2

from mqtt_gateway.json_payload import Unreadable, read_content
from mqtt_gateway.payloads.contract import Context, Message, Part
from mqtt_gateway.payloads.plain_json import below, under

_DEEPEST = 64
_REFUSED = (5, 25, 28, 29, 30, 256)
"""Big floats and fractions, which can be without end; references."""

_PLAIN = (32, 33, 34, 35, 36, 37, 258, 260, 261)
"""Tags whose content is taken as it stands: addresses, regular expressions, MIME, sets."""

_MOST_EXPONENT = 400


def decode(message: Message, context: Context) -> Sequence[Part]:
    """Read it as `json` would read the same content."""
    prefix = message.places.get("signal", "")
    members = read_content(
        to_plain(message.payload),
        declared=below(prefix, context.declared(context.unit)),
        times=context.times,
        stream=message.topic,
        received_at=context.received_at,
        time_member=context.entry.time_member,
    )
    return (Part(under(prefix, members)),)


def to_plain(payload: bytes, *, number_keys: bool = False) -> object:
    """A payload as the objects that JSON would give, and bytes.

    Args:
        payload: one item; nothing may follow it.
        number_keys: keys may be integers, which stay so.

    Raises:
        Unreadable: no such CBOR.
    """
    hooks: dict[int, Callable[[Any, bool], Any]] = dict.fromkeys(_REFUSED, _refuse)
    hooks |= dict.fromkeys(_PLAIN, _content)
    if number_keys:
        hooks |= dict.fromkeys((2, 3), _refuse)
    stream = BytesIO(payload)
    try:
        decoder = cbor2.CBORDecoder(
            stream,
            max_depth=_DEEPEST,
            allow_duplicate_keys=False,
            strict_hashable_types=not number_keys,
            semantic_decoders=hooks,
        )
        content = decoder.decode()
        if stream.tell() != len(payload):
            raise Unreadable(f"{len(payload) - stream.tell()} bytes behind its end")
        return _plain(content, inside=False, number_keys=number_keys)
    except Unreadable:
        raise
    except (cbor2.CBORError, ValueError, TypeError, ArithmeticError, RecursionError) as error:
        raise Unreadable(f"not CBOR that can be read: {error}"[:300]) from error


def _refuse(content: object, _: bool) -> object:
    raise Unreadable("a reference, a big float or a fraction, none of which is read")


def _content(content: object, _: bool) -> object:
    return content


def _plain(content: object, *, inside: bool, number_keys: bool) -> object:
    match content:
        case dict():
            return {
                key if number_keys and isinstance(key, int) else _key(key): _plain(
                    value, inside=inside, number_keys=number_keys
                )
                for key, value in content.items()
            }
        case list() | tuple() | set() | frozenset():
            return [_plain(each, inside=True, number_keys=number_keys) for each in content]
        case bytes():
            return content.hex() if inside and not number_keys else content
        case None | bool() | int() | float() | str():
            return content
        case date():
            return content.isoformat()
        case Decimal():
            exponent = content.as_tuple().exponent
            if not isinstance(exponent, int) or abs(exponent) > _MOST_EXPONENT:
                raise Unreadable("a decimal fraction beyond a double")
            return float(content)
        case cbor2.CBORTag():
            return _plain(content.value, inside=inside, number_keys=number_keys)
    return None  # undefined, or a simple value that stands for nothing here


def _key(key: object) -> str:
    if isinstance(key, bytes):
        return key.hex()
    if not isinstance(key, str):
        raise Unreadable(f"a key of a map that is no text but {type(key).__name__}")
    return key
