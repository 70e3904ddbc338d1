"""Types of servers before OPC UA 1.04, which have no DataTypeDefinition: structures by the type
dictionaries, enumerations by their properties. Called by type_definitions.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from asyncua import ua

from opcua_gateway.address_space import (
    HAS_COMPONENT,
    HAS_DESCRIPTION,
    HAS_PROPERTY,
    browse_from,
    content,
    local,
    references,
    targets,
)
from opcua_gateway.data_types.standard_types import Subtype
from opcua_gateway.data_types.structures import Types
from opcua_gateway.data_types.type_dictionary import Unreadable, read_dictionary, type_named
from opcua_gateway.in_parts import browse_in_parts, read_in_parts
from opcua_gateway.session import Session

MOST_BYTES = 4_000_000
"""Of a dictionary."""


class PerCall(NamedTuple):
    """How many nodes one call may have."""

    read: int
    browse: int


async def read_names(
    session: Session, data_types: Sequence[ua.NodeId], per_call: PerCall
) -> dict[ua.NodeId, dict[int, str]]:
    """The names of those of the types that are enumerations (part 3, 5.8.3)."""
    found = await browse_in_parts(
        session,
        [browse_from(each, HAS_PROPERTY) for each in data_types],
        per_call.browse,
    )
    wanted = [
        (data_type, local(each.NodeId))
        for data_type, result in zip(data_types, found, strict=True)
        for each in references(result)
        if each.BrowseName.Name in ("EnumStrings", "EnumValues")
    ]
    read = await read_in_parts(
        session, [(node, ua.AttributeIds.Value) for _, node in wanted], per_call.read
    )
    names: dict[ua.NodeId, dict[int, str]] = {}
    for (data_type, _), value in zip(wanted, read, strict=True):
        entries = content(value)
        for index, each in enumerate(entries if isinstance(entries, list) else ()):
            match each:
                case ua.LocalizedText():
                    names.setdefault(data_type, {})[index] = each.Text or ""
                case ua.EnumValueType():
                    names.setdefault(data_type, {})[each.Value] = each.DisplayName.Text or ""
    return names


class Dictionaries:
    """The type dictionaries of a server, each read once."""

    def __init__(self, types: Types) -> None:
        self._types = types
        self._spaces: dict[ua.NodeId, str | None] = {}

    async def read(
        self, session: Session, encodings: Mapping[ua.NodeId, ua.NodeId], per_call: PerCall
    ) -> None:
        """Define data types, given by the id of their binary encoding, as far as a dictionary
        describes them."""
        found = await browse_in_parts(
            session,
            [browse_from(each, HAS_DESCRIPTION) for each in encodings],
            per_call.browse,
        )
        described = [
            (data_type, each)
            for data_type, result in zip(encodings.values(), found, strict=True)
            for each in references(result)[:1]
        ]
        nodes = [local(each.NodeId) for _, each in described]
        names = await read_in_parts(
            session, [(each, ua.AttributeIds.Value) for each in nodes], per_call.read
        )
        owners = await browse_in_parts(
            session,
            [browse_from(each, HAS_COMPONENT, inverse=True) for each in nodes],
            per_call.browse,
        )
        for (data_type, description), name, owner in zip(described, names, owners, strict=True):
            for dictionary in targets(owner)[:1]:
                space = await self._space_of(session, dictionary)
                said = content(name)
                named = said if isinstance(said, str) else description.BrowseName.Name or ""
                if space is not None and self._types.has(type_named(space, named)):
                    self._types.define(data_type, Subtype(type_named(space, named)))

    async def _space_of(self, session: Session, dictionary: ua.NodeId) -> str | None:
        """The namespace of a dictionary whose types are defined by now; None: it is unreadable."""
        if dictionary not in self._spaces:
            (value,) = await read_in_parts(session, [(dictionary, ua.AttributeIds.Value)], 1)
            self._spaces[dictionary] = self._define_all(content(value))
        return self._spaces[dictionary]

    def _define_all(self, xml: object) -> str | None:
        if not isinstance(xml, bytes) or len(xml) > MOST_BYTES:
            return None
        try:
            space, definitions = read_dictionary(xml)
        except Unreadable:
            return None
        for name, definition in definitions.items():
            self._types.define(type_named(space, name), definition)
        return space
