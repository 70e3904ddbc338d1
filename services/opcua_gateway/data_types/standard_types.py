"""What a definition of a type is, and those of namespace 0 for servers that have none: the fields
of asyncua's own classes. Pure; for structures.py."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, fields, is_dataclass
from enum import Enum, IntEnum, IntFlag
from functools import cache

from asyncua import ua

STRUCTURE, ENUMERATION = ua.NodeId(22), ua.NodeId(29)
DECIMAL = ua.NodeId(50)
"""On the wire as a structure that says its type (part 6, 5.2.2.10), and kept as bytes."""

_OTHERWISE = {ua.SessionSecurityDiagnosticsDataType, ua.DataTypeAttributes}
"""Whose classes in asyncua are not as the standard says: a field Encoding that is a Byte, a field
DataTypeDefinition."""

_MESSAGES = ("Request", "Response", "ServiceFault")


class Kind(IntEnum):
    """StructureType (part 3, 8.49)."""

    PLAIN = 0
    WITH_OPTIONAL = 1
    UNION = 2
    WITH_SUBTYPED = 3
    UNION_WITH_SUBTYPED = 4


@dataclass(frozen=True, slots=True)
class Field:
    """A field of a structure.

    Attributes:
        rank: of arrays the number of dimensions, else below 1.
        optional: in a structure with optional fields: it may be absent.
        subtyped: the value may be of a subtype and says its type itself.
    """

    name: str
    data_type: ua.NodeId
    rank: int = -1
    optional: bool = False
    subtyped: bool = False


@dataclass(frozen=True, slots=True)
class Structure:
    """A structure or union. `parent`: the data type above it, whose fields come first."""

    fields: tuple[Field, ...]
    kind: Kind = Kind.PLAIN
    parent: ua.NodeId = STRUCTURE

    @property
    def is_union(self) -> bool:
        """Whether it has one of its fields only."""
        return self.kind in (Kind.UNION, Kind.UNION_WITH_SUBTYPED)


@dataclass(frozen=True, slots=True)
class Enumeration:
    """Names of numbers; where `parent` is an unsigned integer it is an option set: its numbers
    are bits."""

    names: Mapping[int, str]
    parent: ua.NodeId = ENUMERATION


@dataclass(frozen=True, slots=True)
class Subtype:
    """A type that is on the wire what `parent` is."""

    parent: ua.NodeId


Definition = Structure | Enumeration | Subtype


@dataclass(frozen=True, slots=True)
class StandardTypes:
    """The types of namespace 0. `encodings`: data types by the id of their binary encoding."""

    definitions: Mapping[ua.NodeId, Definition]
    encodings: Mapping[ua.NodeId, ua.NodeId]


@cache
def standard_types() -> StandardTypes:
    """The types of namespace 0 that asyncua knows."""
    definitions: dict[ua.NodeId, Definition] = {DECIMAL: Subtype(STRUCTURE)}
    built_in = {getattr(ua, kind.name, None): ua.NodeId(kind.value) for kind in ua.VariantType}
    for name, number in vars(ua.ObjectIds).items():
        known = getattr(ua, name, None)
        if not isinstance(number, int) or number <= ENUMERATION.Identifier:
            continue
        if known in built_in:
            definitions[ua.NodeId(number)] = Subtype(built_in[known])
        elif isinstance(known, type) and issubclass(known, IntFlag):
            width = known.datatype() if hasattr(known, "datatype") else "UInt32"
            definitions[ua.NodeId(number)] = Subtype(ua.NodeId(ua.VariantType[width].value))
        elif isinstance(known, type) and issubclass(known, Enum):
            names = {each.value: each.name for each in known}
            definitions[ua.NodeId(number)] = Enumeration(names)
    encodings = {}
    for encoding, known in ua.extension_objects_by_typeid.items():
        data_type = getattr(known, "data_type", None)
        definition = _structure_of(known)
        if not encoding.NamespaceIndex and data_type is not None and definition is not None:
            definitions[data_type] = definition
            encodings[encoding] = data_type
    return StandardTypes(definitions, encodings)


def _structure_of(known: type) -> Structure | None:
    """The structure that a class of asyncua is for; None: a field's type is not known, or it is a
    service's request or response, which is no value and has other fields in asyncua."""
    found: list[Field] = []
    if not is_dataclass(known) or known in _OTHERWISE or known.__name__.endswith(_MESSAGES):
        return None
    for each in fields(known):
        written = each.type if isinstance(each.type, str) else each.type.__name__
        match = re.fullmatch(r"'?(list\[)?(type\[)?(?:ua\.)?(\w+)\]*( \| None)?'?", written)
        if match is None:
            return None
        is_list, is_open, name, is_optional = match.groups()
        # What is split off for Python only has no data type: requests, and what they answer.
        number = ua.VariantType.__members__.get(name) or getattr(ua.ObjectIds, name, None)
        if number is None:
            return None
        found.append(
            Field(
                each.name,
                ua.NodeId(int(number)),
                1 if is_list else -1,
                optional=is_optional is not None,
                subtyped=is_open is not None,
            )
        )
    has_optional = any(each.optional for each in found)
    return Structure(tuple(found), Kind.WITH_OPTIONAL if has_optional else Kind.PLAIN)
