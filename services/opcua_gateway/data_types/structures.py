"""Structures of the wire to their fields, by the definitions of their types (part 3, 8.47 to 8.52;
part 6, 5.2.5 to 5.2.8). Pure; called by variants.py, filled by type_definitions.py.

A type is kept for one server and one session: two servers may have other types under one id.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Mapping
from math import prod

from asyncua import ua

from opcua_gateway.data_types.standard_types import (
    DECIMAL,
    ENUMERATION,
    STRUCTURE,
    Definition,
    Enumeration,
    Field,
    Kind,
    Structure,
    Subtype,
    standard_types,
)
from opcua_gateway.decode.variants import (
    FIXED,
    MOST_LEVELS,
    UNREADABLE,
    Reader,
    read_element,
    shaped,
)

_Read = Callable[[Reader, int], object]
"""Reads one value; the number says how deep it lies."""

_ABSTRACT = {24, 26, 27, 28}
"""BaseDataType, Number, Integer, UInteger: the value says its type itself, as a Variant."""

_UINT32 = struct.Struct("<I")


class UnknownType(ValueError):
    """There is no definition of a type.

    Attributes:
        data_type: its id.
    """

    def __init__(self, data_type: ua.NodeId) -> None:
        super().__init__(f"there is no definition of type {data_type.to_string()}")
        self.data_type = data_type


class Types:
    """The types of one server, and the standard ones where it has no definition of them.

    `on_unknown` is called for each value with an unknown type, with the id of its encoding or data
    type; `on_failure` for each structure that stays bytes for another reason, with the id and why.
    """

    def __init__(
        self,
        on_unknown: Callable[[ua.NodeId], None] = lambda _: None,
        on_failure: Callable[[ua.NodeId, str], None] = lambda _, __: None,
    ) -> None:
        self._on_unknown, self._on_failure = on_unknown, on_failure
        self._definitions: dict[ua.NodeId, Definition] = {}
        self._encodings: dict[ua.NodeId, ua.NodeId] = {}
        self._readers: dict[ua.NodeId, _Read] = {}

    def define(self, data_type: ua.NodeId, definition: Definition) -> None:
        """Take the server's definition of a data type."""
        self._definitions[data_type] = definition
        self._readers.clear()

    def name_encoding(self, encoding: ua.NodeId, data_type: ua.NodeId) -> None:
        """Take the id that stands before structures of a data type on the wire."""
        self._encodings[encoding] = data_type

    def knows(self, type_id: ua.NodeId) -> bool:
        """Whether structures with this id of an encoding, or of a data type, have a definition."""
        try:
            return isinstance(self._resolve(self._data_type_of(type_id)), Structure)
        except UnknownType:
            return False

    def has(self, type_id: ua.NodeId) -> bool:
        """Whether a data type, or the one that an encoding is of, is built in or defined."""
        data_type = self._data_type_of(type_id)
        return is_built_in(data_type) or self._find(data_type) is not None

    def names_of(self, data_type: ua.NodeId) -> Mapping[int, str] | None:
        """The names of an enumeration's numbers; None: it is none."""
        try:
            found = self._resolve(data_type)
        except UnknownType:
            return None
        return found.names if isinstance(found, Enumeration) else None

    def read(self, type_id: ua.NodeId, body: Reader, level: int) -> dict[str, object] | None:
        """The fields of a structure whose body is all of `body`; None: it cannot be read."""
        data_type = self._data_type_of(type_id)
        try:
            found = self._reader_of(data_type)(body, level)
            if len(body):
                raise ValueError(f"{len(body)} bytes are left behind its fields")
        except UnknownType as error:
            self._on_unknown(type_id if error.data_type == data_type else error.data_type)
        except UNREADABLE as error:
            self._on_failure(type_id, str(error) or type(error).__name__)
        else:
            if isinstance(found, dict):
                return found
            self._on_failure(type_id, "its type is no structure")
        return None

    def read_open(self, type_id: ua.NodeId, body: Reader, level: int) -> object:
        """The fields of a structure without length: it ends where its type says.

        Raises:
            any of `UNREADABLE`: where it ends is not known.
        """
        return self._reader_of(self._data_type_of(type_id))(body, level)

    def _data_type_of(self, type_id: ua.NodeId) -> ua.NodeId:
        found = self._encodings.get(type_id) or standard_types().encodings.get(type_id)
        return type_id if found is None else found

    def _find(self, data_type: ua.NodeId) -> Definition | None:
        return self._definitions.get(data_type) or standard_types().definitions.get(data_type)

    def _resolve(self, data_type: ua.NodeId) -> Structure | Enumeration | int:
        """What a type is, or the number of the built-in type that it is a subtype of.

        Raises:
            UnknownType: it, or a type above it, has no definition.
        """
        found = data_type
        for _ in range(MOST_LEVELS):
            if is_built_in(found):
                return int(found.Identifier)
            definition = self._find(found)
            match definition:
                case None:
                    break
                case Subtype(parent):
                    found = parent
                case Enumeration(_, parent):
                    return definition if self._is_int32(parent) else self._resolve(parent)
                case Structure():
                    return definition
        raise UnknownType(found)

    def _is_int32(self, parent: ua.NodeId) -> bool:
        """Whether an enumeration's parent leaves it an Int32: an option set has its own width."""
        for _ in range(MOST_LEVELS):
            definition = self._find(parent)
            if parent == ENUMERATION or is_built_in(parent) or definition is None:
                break
            parent = definition.parent
        return parent == ENUMERATION or not is_built_in(parent)

    def _reader_of(self, data_type: ua.NodeId) -> _Read:
        found = self._readers.get(data_type)
        if found is None:
            found = self._readers[data_type] = self._make(data_type)
        return found

    def _make(self, data_type: ua.NodeId) -> _Read:
        resolved = self._resolve(data_type)
        match resolved:
            case Structure():
                return self._structure(resolved)
            case Enumeration():
                return _enumeration(resolved)
        if resolved == STRUCTURE.Identifier and data_type not in (STRUCTURE, DECIMAL):
            raise UnknownType(data_type)  # its fields stand here without a type before them
        if resolved in _ABSTRACT:
            return _element(ua.VariantType.Variant)
        return _element(ua.VariantType(resolved))

    def _structure(self, definition: Structure) -> _Read:
        read: _Read | None = None

        def read_first(reader: Reader, level: int) -> object:
            # Its fields are looked up when a value comes: a structure may have itself within.
            nonlocal read
            if read is None:
                read = self._fields_reader(definition)
            if level > MOST_LEVELS:
                raise ValueError(f"more than {MOST_LEVELS} structures in each other")
            return read(reader, level + 1)

        return read_first

    def _fields_reader(self, definition: Structure) -> _Read:
        fields = self._all_fields(definition, 0)
        names = [each.name for each in fields]
        if len(set(names)) < len(names):
            raise ValueError("two of its fields have one name")
        parts = [(each.name, self._field(each)) for each in fields]
        if definition.is_union:
            return _union(parts)
        if definition.kind is Kind.WITH_OPTIONAL:
            return _with_optional(parts, [each.optional for each in fields])
        return _sequence(parts)

    def _all_fields(self, definition: Structure, level: int) -> tuple[Field, ...]:
        """The fields of a structure with those of its supertypes, which the definition has first
        (part 3, 8.48), except where a server leaves them out."""
        own = definition.fields
        base = self._find(definition.parent)
        if definition.is_union or not isinstance(base, Structure) or level > MOST_LEVELS:
            return own
        inherited = self._all_fields(base, level + 1)
        if [each.name for each in own[: len(inherited)]] == [each.name for each in inherited]:
            return own
        return inherited + own

    def _field(self, field: Field) -> _Read:
        if field.subtyped:
            resolved = self._resolve(field.data_type)
            is_structure = isinstance(resolved, Structure) or resolved == STRUCTURE.Identifier
            kind = ua.VariantType.ExtensionObject if is_structure else ua.VariantType.Variant
            read, letter = _element(kind), None
        else:
            read = self._reader_of(field.data_type)
            resolved = self._resolve(field.data_type)
            letter = FIXED.get(resolved) if isinstance(resolved, int) else None
        if field.rank < 1:
            return read
        return (_array if field.rank == 1 else _matrix)(read, letter)


def is_built_in(data_type: ua.NodeId) -> bool:
    """Whether a type needs no definition: the built-in types, Number to Enumeration."""
    number = data_type.Identifier
    return data_type.NamespaceIndex == 0 and isinstance(number, int) and 1 <= number <= 29


def _element(kind: ua.VariantType) -> _Read:
    letter = FIXED.get(kind)
    if letter is None:

        def read_other(reader: Reader, level: int) -> object:
            reader.spend(1)
            return read_element(reader, kind, level + 1)

        return read_other
    form = struct.Struct("<" + letter)

    def read_number(reader: Reader, level: int) -> object:
        start = reader.position
        reader.skip(form.size)
        return form.unpack_from(reader.data, start)[0]

    return read_number


def _enumeration(definition: Enumeration) -> _Read:
    form, names = struct.Struct("<i"), definition.names

    def read(reader: Reader, level: int) -> object:
        reader.spend(1)
        (code,) = form.unpack(reader.read(4))
        return {"code": code, "name": names.get(code)}

    return read


def _sequence(parts: list[tuple[str, _Read]]) -> _Read:
    cost = _cost(parts)

    def read(reader: Reader, level: int) -> object:
        reader.spend(cost)
        return {name: part(reader, level) for name, part in parts}

    return read


def _with_optional(parts: list[tuple[str, _Read]], optional: list[bool]) -> _Read:
    cost, known = _cost(parts), (1 << sum(optional)) - 1
    bits = [1 << sum(optional[:index]) if each else 0 for index, each in enumerate(optional)]
    plan = [(*part, bit) for part, bit in zip(parts, bits, strict=True)]

    def read(reader: Reader, level: int) -> object:
        reader.spend(cost)
        (mask,) = _UINT32.unpack(reader.read(4))
        if mask & ~known:
            raise ValueError(f"an encoding mask of 0x{mask:X} for {len(plan)} fields")
        return {name: part(reader, level) for name, part, bit in plan if not bit or mask & bit}

    return read


def _union(parts: list[tuple[str, _Read]]) -> _Read:
    def read(reader: Reader, level: int) -> object:
        (choice,) = _UINT32.unpack(reader.read(4))
        if choice > len(parts):
            raise ValueError(f"a switch field of {choice} for {len(parts)} fields")
        if not choice:
            return {}
        name, part = parts[choice - 1]
        reader.spend(_cost(parts[choice - 1 : choice]))
        return {name: part(reader, level)}

    return read


def _array(element: _Read, letter: str | None) -> _Read:
    def read(reader: Reader, level: int) -> object:
        count = reader.length(struct.calcsize("<" + letter) if letter else 0)
        return None if count < 0 else _elements(reader, element, letter, count, level)

    return read


def _matrix(element: _Read, letter: str | None) -> _Read:
    """Part 6, 5.2.5: the dimensions, then the values without a number before them."""

    def read(reader: Reader, level: int) -> object:
        count = reader.length(4)
        if count < 0:
            return None
        if count > MOST_LEVELS:
            raise ValueError(f"an array of {count} dimensions")
        sizes = struct.unpack(f"<{count}i", reader.read(4 * count))
        if not sizes or min(sizes) <= 0:
            return []
        return shaped(_elements(reader, element, letter, prod(sizes), level), sizes)

    return read


def _elements(
    reader: Reader, element: _Read, letter: str | None, count: int, level: int
) -> list[object]:
    if letter:
        start = reader.position
        reader.skip(struct.calcsize("<" + letter) * count)
        return list(struct.unpack_from(f"<{count}{letter}", reader.data, start))
    reader.spend(count)
    return [element(reader, level) for _ in range(count)]


def _cost(parts: list[tuple[str, _Read]]) -> int:
    """Of one structure: its names are written with each value."""
    return 1 + sum(len(name) for name, _ in parts) // 32
