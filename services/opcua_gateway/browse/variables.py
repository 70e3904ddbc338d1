"""What a variable of a server is: data type, rights, unit, range; called by discovery.py."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice

from asyncua import ua

from aurelian.model.sample import ValueType
from opcua_gateway.browse.engineering_units import to_ucum
from opcua_gateway.browse.type_tree import TypeTree, read_types
from opcua_gateway.browse.walk import Node, Reach, read_many
from opcua_gateway.browse.wire import NULL_NODE, VARIABLE, Attribute
from opcua_gateway.session import Session

SCALAR, ANY_RANK = -1, -2
_READABLE, _HISTORY = 0x01, 0x04
_ATTRIBUTES = (
    int(ua.AttributeIds.DataType),
    int(ua.AttributeIds.ValueRank),
    int(ua.AttributeIds.UserAccessLevel),
)
_ABSTRACT = {
    ua.ObjectIds.Number: ValueType.DOUBLE,
    ua.ObjectIds.Integer: ValueType.INT64,
    ua.ObjectIds.UInteger: ValueType.INT64,
    ua.ObjectIds.Enumeration: ValueType.INT64,
    ua.ObjectIds.Structure: ValueType.JSON,
}
_BUILT_IN = {
    ua.VariantType.Boolean: ValueType.BOOL,
    ua.VariantType.SByte: ValueType.INT64,
    ua.VariantType.Byte: ValueType.INT64,
    ua.VariantType.Int16: ValueType.INT64,
    ua.VariantType.UInt16: ValueType.INT64,
    ua.VariantType.Int32: ValueType.INT64,
    ua.VariantType.UInt32: ValueType.INT64,
    ua.VariantType.Int64: ValueType.INT64,
    ua.VariantType.UInt64: ValueType.UINT64,
    ua.VariantType.Float: ValueType.DOUBLE,
    ua.VariantType.Double: ValueType.DOUBLE,
    ua.VariantType.String: ValueType.TEXT,
    ua.VariantType.DateTime: ValueType.TEXT,
    ua.VariantType.Guid: ValueType.TEXT,
    ua.VariantType.ByteString: ValueType.BYTES,
    ua.VariantType.XmlElement: ValueType.TEXT,
    ua.VariantType.NodeId: ValueType.TEXT,
    ua.VariantType.ExpandedNodeId: ValueType.TEXT,
    ua.VariantType.StatusCode: ValueType.INT64,
    ua.VariantType.QualifiedName: ValueType.TEXT,
    ua.VariantType.LocalizedText: ValueType.TEXT,
    ua.VariantType.ExtensionObject: ValueType.JSON,
    ua.VariantType.DataValue: ValueType.JSON,
    ua.VariantType.DiagnosticInfo: ValueType.JSON,
}
"""What `values.to_value` makes of each."""


@dataclass(slots=True, eq=False)
class Variable:
    """A variable with what its server says of it.

    Attributes:
        data_type: key of its type; `NULL_NODE`: the server did not say.
        type_name: name of that type, with `[]` for an array.
        value_type: what its values become; None: the server leaves it open.
        access: its UserAccessLevel, part 3, 8.57; None: the server did not say.
        unit: UCUM where it is known, empty elsewhere.
        unit_shown: what the server calls it.
        range: lowest and highest value of normal operation.
        value: read now, where that was asked for.
    """

    node: Node
    data_type: bytes
    value_rank: int
    access: int | None
    type_name: str = ""
    value_type: ValueType | None = None
    unit: str = ""
    unit_shown: str = ""
    range: tuple[float, float] | None = None
    description: str = ""
    value: Attribute | None = None

    @property
    def is_readable(self) -> bool:
        """Whether we may read it."""
        return self.access is None or self.access & _READABLE != 0

    @property
    def has_history(self) -> bool:
        """Whether we may read its history."""
        return self.access is not None and self.access & _HISTORY != 0


async def read_variables(
    session: Session, reach: Reach, nodes: Sequence[Node], all_nodes: Sequence[Node], in_flight: int
) -> list[Variable]:
    """Ask what variables are.

    Args:
        nodes: the variables.
        all_nodes: of the server: units and ranges are properties of variables.

    Raises:
        SessionLost: the server is gone.
    """
    wanted = [(node.key, attribute) for node in nodes for attribute in _ATTRIBUTES]
    answers = iter(await read_many(session, reach, wanted, in_flight))
    found = []
    for node in nodes:
        data_type, rank, access = islice(answers, len(_ATTRIBUTES))
        found.append(
            Variable(
                node,
                data_type.value if isinstance(data_type.value, bytes) else NULL_NODE,
                rank.value if isinstance(rank.value, int) else ANY_RANK,
                access.value if isinstance(access.value, int) else None,
            )
        )
        if len(found) % 10_000 == 0:
            await asyncio.sleep(0)
    types = await read_types(session, reach, {each.data_type for each in found})
    shapes: dict[tuple[bytes, int], tuple[str, ValueType | None]] = {}
    for each in found:
        kind = (each.data_type, each.value_rank)
        if kind not in shapes:
            shapes[kind] = _shape(types, *kind)
        each.type_name, each.value_type = shapes[kind]
    await _read_units(session, reach, {each.node: each for each in found}, all_nodes, in_flight)
    return found


async def read_values(
    session: Session, reach: Reach, variables: Sequence[Variable], in_flight: int
) -> None:
    """Read the current value and the description of variables into them.

    Raises:
        SessionLost: the server is gone.
    """
    numbers = (int(ua.AttributeIds.Value), int(ua.AttributeIds.Description))
    wanted = [(each.node.key, number) for each in variables for number in numbers]
    answers = iter(await read_many(session, reach, wanted, in_flight))
    for each in variables:
        each.value, description = islice(answers, 2)
        if each.value_type is None and each.value.value is not None:
            # A type that the server leaves open is that of the value, which may change.
            each.value_type = _type_of(each.value)
        each.description = description.value if isinstance(description.value, str) else ""


def _type_of(value: Attribute) -> ValueType | None:
    if isinstance(value.value, list):
        return ValueType.JSON
    return _BUILT_IN.get(ua.VariantType(value.kind))


def _shape(types: TypeTree, data_type: bytes, rank: int) -> tuple[str, ValueType | None]:
    """Name and kind of value of a data type with a rank."""
    name = types.names.get(data_type) or "?"
    kind: ValueType | None = None
    for each in types.ids(data_type):
        if each.uri == types.namespaces[0]:
            kind = _ABSTRACT.get(each.number)
            if kind is None and each.number <= 25 and each.number != ua.ObjectIds.BaseDataType:
                kind = _BUILT_IN.get(ua.VariantType(each.number))
            if kind is not None:
                break
    if rank >= 0:
        return f"{name}[]", ValueType.JSON
    return name, kind if rank == SCALAR else None


async def _read_units(
    session: Session,
    reach: Reach,
    variables: Mapping[Node, Variable],
    nodes: Sequence[Node],
    in_flight: int,
) -> None:
    """Read the properties EngineeringUnits and EURange (part 8, 5.3.2) of variables that have
    them."""
    properties = [
        (variables[node.parent], node)
        for node in nodes
        if node.is_property
        and node.namespace == 0
        and node.name in ("EngineeringUnits", "EURange")
        and node.parent is not None
        and node.parent.node_class == VARIABLE
        and node.parent in variables
    ]
    wanted = [(node.key, int(ua.AttributeIds.Value)) for _, node in properties]
    answers = await read_many(session, reach, wanted, in_flight)
    for (variable, _), answer in zip(properties, answers, strict=True):
        match answer.value:
            case ua.EUInformation() as unit:
                variable.unit = to_ucum(unit) or ""
                variable.unit_shown = unit.DisplayName.Text or ""
            case ua.Range() as range_ if -math.inf < range_.Low < range_.High < math.inf:
                variable.range = (float(range_.Low), float(range_.High))
