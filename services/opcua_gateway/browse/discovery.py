"""All that a person wants to know of a server before it is a source: its variables, what they are,
and which companion specification its objects follow; called by command.py."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass, field
from fnmatch import fnmatchcase

from asyncua import ua

from opcua_gateway.browse.companions import Recognised, recognise
from opcua_gateway.browse.type_tree import read_types
from opcua_gateway.browse.variables import Variable, read_values, read_variables
from opcua_gateway.browse.walk import (
    SERVER,
    Bounds,
    Node,
    Reach,
    Tree,
    browse_tree,
    find_reach,
    read_many,
)
from opcua_gateway.browse.wire import OBJECT, VARIABLE, name_of, numeric_key
from opcua_gateway.session import Session, SessionLost

_NAMESPACES = numeric_key(0, ua.ObjectIds.Server_Namespaces)
_METADATA_BOUNDS = Bounds(nodes=2_000, depth=2, seconds=20)
_LEAST_S = 1.0


@dataclass(frozen=True, slots=True)
class Selection:
    """Which variables are wanted; an empty part: all of them.

    Attributes:
        include, exclude: patterns of paths, `*` for any text, not minding case; one without `*`
            is a part of the path. What is excluded is not opened.
        namespaces: URIs, of the variable's node id.
        types: names of data types.
        properties: also those that only describe others.
    """

    include: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    namespaces: tuple[str, ...] = ()
    types: tuple[str, ...] = ()
    properties: bool = False

    def leaves_out(self, node: Node) -> bool:
        """Whether a node, with all below it, is out of question."""
        if node.key == SERVER:
            return True
        return bool(self.exclude) and _matches(node.path, self.exclude)

    def has(self, node: Node, namespaces: Sequence[str]) -> bool:
        """Whether a variable is wanted, as far as its node says."""
        if node.node_class != VARIABLE or (node.is_property and not self.properties):
            return False
        index = name_of(node.key).namespace
        if self.namespaces and (
            index >= len(namespaces) or namespaces[index] not in self.namespaces
        ):
            return False
        return not self.include or _matches(node.path, self.include)

    def has_type(self, variable: Variable) -> bool:
        """Whether its data type is wanted."""
        wanted = [each.casefold() for each in self.types]
        return not wanted or variable.type_name.casefold() in wanted


@dataclass(slots=True)
class Discovery:
    """What a server has.

    Attributes:
        variables: those wanted.
        states: those that `recognised.states` speaks of, by their node, with their values.
        objects, seen: objects, and variables wanted or not.
        cut: why something is missing; empty: nothing is.
    """

    namespaces: tuple[str, ...]
    tree: Tree
    variables: list[Variable] = field(default_factory=list)
    states: dict[Node, Variable] = field(default_factory=dict)
    recognised: Recognised = field(default_factory=Recognised)
    versions: dict[str, str] = field(default_factory=dict)
    cut: str = ""

    @property
    def objects(self) -> int:
        """How many objects there are."""
        return sum(node.node_class == OBJECT for node in self.tree.nodes)

    @property
    def seen(self) -> int:
        """How many variables there are, properties aside."""
        return sum(node.node_class == VARIABLE and not node.is_property for node in self.tree.nodes)


async def discover(
    session: Session, selection: Selection, bounds: Bounds, *, values: bool = False
) -> Discovery:
    """Look through a server.

    Args:
        values: read the current values and descriptions too.

    Raises:
        SessionLost: the server is gone.
    """
    clock = asyncio.get_running_loop().time
    ends = clock() + bounds.seconds
    reach = await find_reach(session)
    tree = await browse_tree(session, reach, bounds, leave_out=selection.leaves_out)
    found = Discovery(reach.namespaces, tree, cut=tree.cut)
    try:
        async with asyncio.timeout(max(ends - clock(), _LEAST_S)):
            await _describe(session, reach, selection, bounds.in_flight, found, values)
    except TimeoutError:
        found.cut = (
            f"{bounds.seconds:g} s are over: types, units and companion specifications are not "
            "all read"
        )
    return found


async def _describe(
    session: Session,
    reach: Reach,
    selection: Selection,
    in_flight: int,
    found: Discovery,
    values: bool,
) -> None:
    nodes = found.tree.nodes
    objects = [node for node in nodes if node.node_class == OBJECT]
    found.versions = await _read_versions(session, reach)
    types = await read_types(session, reach, {node.type_definition for node in objects})
    found.recognised = recognise(nodes, found.tree.further, types, found.versions)
    wanted = [node for node in found.tree.depth_first() if selection.has(node, reach.namespaces)]
    variables = await read_variables(session, reach, wanted, nodes, in_flight)
    found.variables = [each for each in variables if selection.has_type(each)]
    states = [each.variable for each in found.recognised.states]
    of_states = await read_variables(session, reach, states, [], in_flight)
    await read_values(session, reach, of_states, in_flight)
    found.states = {each.node: each for each in of_states}
    open_types = [each for each in found.variables if each.value_type is None]
    shown = found.variables if values else open_types
    await read_values(session, reach, shown, in_flight)


async def _read_versions(session: Session, reach: Reach) -> dict[str, str]:
    """Versions of the server's models by URI, from NamespaceMetadata (part 5, 6.3.13); none where
    the server does not say."""
    try:
        tree = await browse_tree(session, reach, _METADATA_BOUNDS, start=_NAMESPACES)
    except SessionLost:
        return {}
    parts: dict[Node, dict[str, object]] = {}
    wanted = [
        node
        for node in tree.nodes
        if node.name in ("NamespaceUri", "NamespaceVersion", "NamespacePublicationDate")
        and node.parent is not None
    ]
    answers = await read_many(
        session, reach, [(node.key, int(ua.AttributeIds.Value)) for node in wanted], 1
    )
    for node, answer in zip(wanted, answers, strict=True):
        assert node.parent is not None
        parts.setdefault(node.parent, {})[node.name] = answer.value
    return {
        str(each["NamespaceUri"]): str(each.get("NamespaceVersion") or "")
        for each in parts.values()
        if each.get("NamespaceUri")
    }


def _matches(path: str, patterns: Sequence[str]) -> bool:
    text = path.casefold()
    return any(
        fnmatchcase(text, each.casefold() if "*" in each else f"*{each.casefold()}*")
        for each in patterns
    )
