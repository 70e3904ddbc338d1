"""OPC Binary type dictionaries, by which servers before OPC UA 1.04 describe their structures, to
definitions (part 3, annex D of 1.03; schema http://opcfoundation.org/BinarySchema/). Pure; for
older_types.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from xml.parsers.expat import ExpatError, ParserCreate

from asyncua import ua

from opcua_gateway.data_types.standard_types import (
    ENUMERATION,
    STRUCTURE,
    Definition,
    Enumeration,
    Field,
    Kind,
    Structure,
)

_SCHEMA = "http://opcfoundation.org/BinarySchema/"
_STANDARD = "http://opcfoundation.org/UA/"
_NAMED = 0xFFFF
"""Namespace of ids that stand for a name in a dictionary: no server has so many."""

_WIDTHS = {8: ua.NodeId(3), 16: ua.NodeId(5), 64: ua.NodeId(9)}
_Attributes = dict[str, str]


class Unreadable(ValueError):
    """The dictionary is no dictionary."""


class _Unsupported(ValueError):
    """A type whose bytes are not those of a structure, union or enumeration of OPC UA."""


@dataclass(slots=True)
class _Described:
    """A type as it stands in a dictionary: its element's attributes and those of its children."""

    is_structure: bool
    attributes: _Attributes
    children: list[_Attributes] = field(default_factory=list)


def type_named(dictionary: str, name: str) -> ua.NodeId:
    """The id by which a type of a dictionary is known, where its node is not."""
    return ua.NodeId(f"{dictionary} {name}", _NAMED)


def is_named(data_type: ua.NodeId) -> bool:
    """Whether an id is of `type_named`, so that no server knows it."""
    return bool(data_type.NamespaceIndex == _NAMED)


def read_dictionary(xml: bytes) -> tuple[str, dict[str, Definition]]:
    """The namespace that a dictionary is of, and its types by name; types that it describes in a
    way that OPC UA's encoding does not have are left out.

    Raises:
        Unreadable: it is no XML, or has a document type: none needs it, and it can blow up.
    """
    reading = _Reading()
    parser = ParserCreate()
    parser.StartElementHandler = reading.start
    parser.StartDoctypeDeclHandler = reading.refuse
    try:
        parser.Parse(xml, True)
    except Unreadable:
        raise
    except (ExpatError, LookupError, ValueError) as error:
        raise Unreadable(f"its dictionary is no XML: {error}") from error
    found: dict[str, Definition] = {}
    for described in reading.types:
        name = described.attributes.get("Name", "")
        try:
            found[name] = (
                reading.structure(described) if described.is_structure else _enumeration(described)
            )
        except ValueError:
            continue
    return reading.target, found


class _Reading:
    """A dictionary while it is read."""

    def __init__(self) -> None:
        self.target = ""
        self.types: list[_Described] = []
        self._spaces: dict[str, str] = {}

    def refuse(self, *_: object) -> None:
        raise Unreadable("its dictionary has a document type")

    def start(self, name: str, attributes: _Attributes) -> None:
        match name.rpartition(":")[2]:
            case "TypeDictionary":
                self.target = attributes.get("TargetNamespace", "")
                self._spaces = {
                    key.partition(":")[2]: uri
                    for key, uri in attributes.items()
                    if key.startswith("xmlns")
                }
            case "StructuredType":
                self.types.append(_Described(True, attributes))
            case "EnumeratedType":
                self.types.append(_Described(False, attributes))
            case "Field" | "EnumeratedValue" if self.types:
                self.types[-1].children.append(attributes)

    def structure(self, described: _Described) -> Structure:
        """A structure or union. Raises _Unsupported where it is something else."""
        children = described.children
        base = described.attributes.get("BaseType")
        parent = STRUCTURE if base is None else self._type_of(base)
        bits = _bits(children)
        if bits:
            children = [each for each in children if _local_type(each) != "Bit"]
        switch = children[0].get("Name") if children and not bits else None
        if any("SwitchValue" in each for each in children[1:]) and switch is not None:
            fields = self._fields(children[1:], {})
            numbers = [each.get("SwitchValue") for each in _without_lengths(children[1:])]
            if (
                any(each.get("SwitchField") != switch for each in children[1:])
                or numbers != [str(number + 1) for number in range(len(numbers))]
                or _local_type(children[0]) != "UInt32"
            ):
                raise _Unsupported
            return Structure(fields, Kind.UNION, STRUCTURE)
        fields = self._fields(children, bits)
        return Structure(fields, Kind.WITH_OPTIONAL if bits else Kind.PLAIN, parent)

    def _fields(self, children: list[_Attributes], bits: dict[str, int]) -> tuple[Field, ...]:
        fields: list[Field] = []
        count = 0
        for each in _without_lengths(children):
            switch = each.get("SwitchField")
            optional = switch is not None and "SwitchValue" not in each
            if optional:
                if bits.get(switch or "") != count:  # bits stand in the order of their fields
                    raise _Unsupported
                count += 1
            if "Length" in each or "Terminator" in each or _local_type(each) == "Bit":
                raise _Unsupported
            data_type = self._type_of(each.get("TypeName", ""))
            rank = 1 if "LengthField" in each else -1
            if rank == 1 and _local_type(each) == "Char":
                data_type, rank = ua.NodeId(12), -1
            fields.append(Field(each.get("Name", ""), data_type, rank, optional=optional))
        return tuple(fields)

    def _type_of(self, qualified: str) -> ua.NodeId:
        prefix, _, name = qualified.rpartition(":")
        space = self._spaces.get(prefix, "")
        if space not in (_SCHEMA, _STANDARD):
            return type_named(space, name)
        if name == "ExtensionObject":
            return STRUCTURE
        name = {"CharArray": "String", "Char": "Byte"}.get(name, name)
        known = ua.VariantType.__members__.get(name) or getattr(ua.ObjectIds, name, None)
        if known is None:
            raise _Unsupported
        return ua.NodeId(int(known))


def _enumeration(described: _Described) -> Enumeration:
    names: dict[int, str] = {}
    for each in described.children:
        try:
            names[int(each.get("Value", ""))] = each.get("Name", "")
        except ValueError as error:
            raise _Unsupported from error
    width = described.attributes.get("LengthInBits", "32")
    is_set = described.attributes.get("IsOptionSet") == "true"
    if width == "32":
        return Enumeration(names, ua.NodeId(7) if is_set else ENUMERATION)
    if not width.isdecimal() or int(width) not in _WIDTHS:
        raise _Unsupported
    return Enumeration(names, _WIDTHS[int(width)])


def _bits(children: list[_Attributes]) -> dict[str, int]:
    """Where each bit of an encoding mask stands; none: there is no mask. Raises _Unsupported where
    bits are anything else than 32 in front."""
    bits: dict[str, int] = {}
    place = 0
    for index, each in enumerate(children):
        if _local_type(each) != "Bit":
            continue
        if len(bits) < index:
            raise _Unsupported
        bits[each.get("Name", "")] = place
        length = each.get("Length", "1")
        place += int(length) if length.isdecimal() else 1
    if bits and place != 32:
        raise _Unsupported
    return bits


def _without_lengths(children: list[_Attributes]) -> list[_Attributes]:
    """The fields but those that only count the elements of the next one: an array has its length
    in front anyway."""
    kept: list[_Attributes] = []
    for each in children:
        length = each.get("LengthField")
        if length is not None:
            if not kept or kept[-1].get("Name") != length or _local_type(kept[-1]) != "Int32":
                raise _Unsupported
            kept.pop()
        kept.append(each)
    return kept


def _local_type(field: _Attributes) -> str:
    return field.get("TypeName", "").rpartition(":")[2]
