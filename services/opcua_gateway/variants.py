"""Reads one Variant of any type from the wire: what publish_decoder.py does not know itself.

asyncua decodes single elements and structures; what leads to them (arrays, dimensions, Variants in
Variants, lengths) is read here, as asyncua trusts lengths that the bytes do not have.
"""

from __future__ import annotations

import re
import struct
from contextlib import suppress
from dataclasses import fields, is_dataclass
from functools import cache
from math import prod

from asyncua import ua
from asyncua.ua.ua_binary import from_binary, nodeid_from_binary, unpack_uatype

UNREADABLE = (
    ua.UaError,
    ValueError,
    TypeError,
    KeyError,
    IndexError,
    AttributeError,
    OverflowError,
    AssertionError,
    RecursionError,
    struct.error,
)
"""What decoders raise on bytes that they cannot follow."""

MOST_LEVELS = 100
"""Variants in Variants that are followed (part 6, 5.2.2.16 asks for 100)."""

_ARRAY, _DIMENSIONS = 0x80, 0x40

_FIXED = {1: "?", 2: "b", 3: "B", 4: "h", 5: "H", 6: "i", 7: "I", 8: "q", 9: "Q", 10: "f", 11: "d"}
"""Letter of `struct` of each type whose arrays are read at once."""


class Reader:
    """Bytes from a position to an end, in the shape of asyncua's Buffer, which it is given
    instead: a Buffer goes backwards on a negative length.

    Attributes:
        data: all bytes of the message.
        position, end: what is left of them.
        guarded: refuse what asyncua, inside a structure, would answer with more memory than there
            are bytes: Variants that are arrays of Null or have dimensions, and further structures.
    """

    __slots__ = ("_maybe_variant", "data", "end", "guarded", "position")

    def __init__(self, data: bytes, position: int, end: int, *, guarded: bool = False) -> None:
        self.data, self.position, self.end, self.guarded = data, position, end, guarded
        self._maybe_variant = 0

    def __len__(self) -> int:
        return self.end - self.position

    def read(self, size: int) -> bytes:
        """The next bytes. Raises ValueError where there are not so many."""
        start = self.position
        self.skip(size)
        found = self.data[start : self.position]
        if self.guarded:
            self._guard(found)
        return found

    def skip(self, size: int) -> None:
        """Go on. Raises ValueError where there are not so many bytes."""
        if not 0 <= size <= self.end - self.position:
            raise ValueError(f"{size} bytes are said, {self.end - self.position} are there")
        self.position += size

    def copy(self, size: int = -1) -> Reader:
        """A reader of the next bytes, which stay to be read here."""
        if self.guarded:
            raise ValueError("a structure inside another one")
        stop = self.end if size < 0 else min(self.end, self.position + size)
        return Reader(self.data, self.position, stop)

    def length(self, width: int = 1) -> int:
        """An Int32 that counts things of at least `width` bytes; -1: there is none.

        Raises:
            ValueError: the bytes do not have as many.
        """
        (count,) = struct.unpack("<i", self.read(4))
        if count < -1 or count * width > len(self):
            raise ValueError(f"a length of {count}, {len(self)} bytes are left")
        return int(count)

    def _guard(self, found: bytes) -> None:
        """A Variant's byte, then the length of its array: see `guarded`. Another field that looks
        the same costs nothing but that its structure is kept as bytes."""
        first = self._maybe_variant
        self._maybe_variant = found[0] if len(found) == 1 else 0
        if len(found) == 4 and first & _ARRAY and (first & _DIMENSIONS or not first & 0x3F):
            raise ValueError("an array of Null or with dimensions inside a structure")


def read_variant(reader: Reader, level: int = 0) -> tuple[object, ua.VariantType]:
    """A Variant's content and type, as asyncua's Variant has them.

    Raises:
        any of `UNREADABLE`: where the next value begins is not known then.
    """
    if level > MOST_LEVELS:
        raise ValueError(f"more than {MOST_LEVELS} Variants in each other")
    encoding = reader.read(1)[0]
    number = encoding & 0x3F
    if number > 31:
        raise ValueError(f"there is no type {number}")
    # Part 6, 5.2.2.16: 26 to 31 may come some day and are read as ByteString until then.
    kind = ua.VariantType(number) if number <= 25 else ua.VariantType.ByteString
    if not encoding & _ARRAY:
        if number == ua.VariantType.Variant:
            return read_variant(reader, level + 1)
        value = _read_element(reader, kind, level)
    else:
        value = _read_array(reader, kind, level)
    if encoding & _DIMENSIONS:
        count = reader.length(4)
        sizes = struct.unpack(f"<{count}i", reader.read(4 * count)) if count > 0 else ()
        if isinstance(value, list):
            value = _shaped(value, sizes)
    return value, kind


def _read_array(reader: Reader, kind: ua.VariantType, level: int) -> list[object] | None:
    if kind == ua.VariantType.Null:  # its elements have no bytes, whatever their number says
        reader.skip(4)
        return None
    letter = _FIXED.get(kind)
    if letter is None:
        count = reader.length()
        return None if count < 0 else [_read_element(reader, kind, level) for _ in range(count)]
    width = struct.calcsize("<" + letter)
    count = reader.length(width)
    return (
        None if count < 0 else list(struct.unpack(f"<{count}{letter}", reader.read(width * count)))
    )


def _read_element(reader: Reader, kind: ua.VariantType, level: int) -> object:
    match kind:
        case ua.VariantType.ExtensionObject:
            return _read_structure(reader)
        case ua.VariantType.DataValue:
            return _read_data_value(reader, level)
        case ua.VariantType.Variant:
            return read_variant(reader, level + 1)[0]
        case _:
            return unpack_uatype(kind, reader)


def _shaped(flat: list[object], sizes: tuple[int, ...]) -> list[object]:
    """Nested lists as the dimensions say; flat where they do not fit the number of elements."""
    if not sizes or min(sizes) <= 0 or prod(sizes) != len(flat):
        return flat
    for size in reversed(sizes[1:]):
        flat = [flat[start : start + size] for start in range(0, len(flat), size)]
    return flat


def _read_data_value(reader: Reader, level: int) -> ua.DataValue:
    """A DataValue as value. asyncua has its fields in another order than part 6, 5.2.2.17: there
    the picoseconds follow their time."""
    mask = reader.read(1)[0]
    found: dict[str, object] = {}
    if mask & 0x01:
        value, kind = read_variant(reader, level + 1)
        is_array = value is None or isinstance(value, list)
        found["Value"] = ua.Variant(value, kind, is_array=is_array)
    for bit, name, field in (
        (0x02, "StatusCode", ua.VariantType.StatusCode),
        (0x04, "SourceTimestamp", ua.VariantType.DateTime),
        (0x10, "SourcePicoseconds", ua.VariantType.UInt16),
        (0x08, "ServerTimestamp", ua.VariantType.DateTime),
        (0x20, "ServerPicoseconds", ua.VariantType.UInt16),
    ):
        if mask & bit:
            found[name] = unpack_uatype(field, reader)
    return ua.DataValue(**found)


def _read_structure(reader: Reader) -> object:
    """A structure, or an ExtensionObject with its bytes where its type is not known or they do not
    fit the type: its length says where the next value begins."""
    type_id = nodeid_from_binary(reader)
    encoding = reader.read(1)[0]
    known = ua.extension_objects_by_typeid.get(type_id)
    is_binary = bool(encoding & 0x01)
    if not type_id.Identifier:
        type_id = ua.NodeId()
    if not encoding & 0x03:
        return ua.ExtensionObject(TypeId=type_id)
    length = reader.length()
    if length < 0 and is_binary and known is not None and not _has_endless_list(known):
        # Old servers leave the length out: the body ends where its type says.
        body = Reader(reader.data, reader.position, reader.end, guarded=_is_open(known))
        found: object = from_binary(known, body)
        reader.position = body.position
        return found
    start = reader.position
    reader.skip(max(length, 0))
    if is_binary and known is not None and not _has_endless_list(known):
        body = Reader(reader.data, start, reader.position, guarded=_is_open(known))
        with suppress(*UNREADABLE):
            return from_binary(known, body)
    body_bytes = reader.data[start : reader.position] if type_id.Identifier else None
    return ua.ExtensionObject(TypeId=type_id, Body=body_bytes)


@cache
def _has_endless_list(known: type) -> bool:
    """Whether asyncua would make elements of no bytes, as many as a length says."""
    return any("list[type[" in str(field.type) for field in fields(known))


@cache
def _is_open(known: type) -> bool:
    """Whether a structure can hold what its type does not say: Variants and further structures."""
    return _reaches_open(known, set())


def _reaches_open(known: type, seen: set[type]) -> bool:
    seen.add(known)
    for field in fields(known):
        for name in re.findall(r"\w+", str(field.type)):
            if name in {"Variant", "DataValue", "ExtensionObject", "DiagnosticInfo", "type", "Any"}:
                return True
            inner = getattr(ua, name, None)
            if (
                isinstance(inner, type)
                and is_dataclass(inner)
                and inner not in seen
                and _reaches_open(inner, seen)
            ):
                return True
    return False
