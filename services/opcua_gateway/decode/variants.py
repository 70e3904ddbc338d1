"""Reads one Variant of any type from the wire: what publish_decoder.py does not know itself.

asyncua decodes single elements, structures.py the structures; what leads to them (arrays,
dimensions, Variants in Variants, lengths) is read here, as asyncua trusts lengths that the bytes do
not have.
"""

from __future__ import annotations

import struct
from math import prod
from typing import TYPE_CHECKING

from asyncua import ua
from asyncua.ua.ua_binary import nodeid_from_binary, unpack_uatype

if TYPE_CHECKING:
    from opcua_gateway.data_types.structures import Types

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

_SPARE_VALUES, _VALUES_A_BYTE, _MOST_VALUES = 1000, 4, 400_000
"""Inside one structure. More would not fit into the JSON text that the outbox takes."""

FIXED = {1: "?", 2: "b", 3: "B", 4: "h", 5: "H", 6: "i", 7: "I", 8: "q", 9: "Q", 10: "f", 11: "d"}
"""Letter of `struct` of each type whose arrays are read at once."""


class Reader:
    """Bytes from a position to an end, in the shape of asyncua's Buffer, which it is given
    instead: a Buffer goes backwards on a negative length.

    Attributes:
        data: all bytes of the message.
        position, end: what is left of them.
        types: the structures that are read to their fields; None: none, all stay bytes.
    """

    __slots__ = ("_budget", "data", "end", "position", "types")

    def __init__(self, data: bytes, position: int, end: int, types: Types | None = None) -> None:
        self.data, self.position, self.end, self.types = data, position, end, types
        self._budget = min(_SPARE_VALUES + _VALUES_A_BYTE * (end - position), _MOST_VALUES)

    def __len__(self) -> int:
        return self.end - self.position

    def read(self, size: int) -> bytes:
        """The next bytes. Raises ValueError where there are not so many."""
        start = self.position
        self.skip(size)
        return self.data[start : self.position]

    def skip(self, size: int) -> None:
        """Go on. Raises ValueError where there are not so many bytes."""
        if not 0 <= size <= self.end - self.position:
            raise ValueError(f"{size} bytes are said, {self.end - self.position} are there")
        self.position += size

    def copy(self, size: int = -1) -> Reader:
        """A reader of the next bytes, which stay to be read here."""
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

    def spend(self, values: int) -> None:
        """Count the values inside structures, which may have no bytes, so that a few bytes do not
        become millions of them. Raises ValueError beyond what the bytes can mean."""
        self._budget -= values
        if self._budget < 0:
            raise ValueError("too many values for so few bytes")


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
        value = read_element(reader, kind, level)
    else:
        value = _read_array(reader, kind, level)
    if encoding & _DIMENSIONS:
        count = reader.length(4)
        sizes = struct.unpack(f"<{count}i", reader.read(4 * count)) if count > 0 else ()
        if isinstance(value, list):
            value = shaped(value, sizes)
    return value, kind


def _read_array(reader: Reader, kind: ua.VariantType, level: int) -> list[object] | None:
    if kind == ua.VariantType.Null:  # its elements have no bytes, whatever their number says
        reader.skip(4)
        return None
    letter = FIXED.get(kind)
    if letter is None:
        count = reader.length()
        return None if count < 0 else [read_element(reader, kind, level) for _ in range(count)]
    width = struct.calcsize("<" + letter)
    count = reader.length(width)
    return (
        None if count < 0 else list(struct.unpack(f"<{count}{letter}", reader.read(width * count)))
    )


def read_element(reader: Reader, kind: ua.VariantType, level: int) -> object:
    """One value of a built-in type, as asyncua has it; of a structure its fields, or an
    ExtensionObject with its bytes. Raises any of `UNREADABLE`."""
    match kind:
        case ua.VariantType.ExtensionObject:
            return _read_structure(reader, level)
        case ua.VariantType.DataValue:
            return _read_data_value(reader, level)
        case ua.VariantType.Variant:
            return read_variant(reader, level + 1)[0]
        case _:
            return unpack_uatype(kind, reader)


def shaped(flat: list[object], sizes: tuple[int, ...]) -> list[object]:
    """Nested lists as the dimensions say; flat where they do not fit the number of elements or are
    more than `MOST_LEVELS`, which JSON could not be made of."""
    if not 0 < len(sizes) <= MOST_LEVELS or min(sizes) <= 0 or prod(sizes) != len(flat):
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


def _read_structure(reader: Reader, level: int) -> object:
    """A structure's fields, or an ExtensionObject with its bytes where its type is not known or
    they do not fit the type: its length says where the next value begins."""
    if level > MOST_LEVELS:
        raise ValueError(f"more than {MOST_LEVELS} structures in each other")
    type_id = nodeid_from_binary(reader)
    encoding = reader.read(1)[0]
    types = reader.types if encoding & 0x01 else None
    if not type_id.Identifier:
        type_id = ua.NodeId()
    if not encoding & 0x03:
        return ua.ExtensionObject(TypeId=type_id)
    length = reader.length()
    start = reader.position
    if length < 0 and types is not None and types.knows(type_id):
        # Old servers leave the length out: the body ends where its type says.
        body = Reader(reader.data, start, reader.end, types)
        found: object = types.read_open(type_id, body, level + 1)
        reader.position = body.position
        return found
    reader.skip(max(length, 0))
    if types is not None and type_id.Identifier:
        body = Reader(reader.data, start, reader.position, types)
        fields = types.read(type_id, body, level + 1)
        if fields is not None:
            return fields
    body_bytes = reader.data[start : reader.position] if type_id.Identifier else None
    return ua.ExtensionObject(TypeId=type_id, Body=body_bytes)
