"""Companion specifications that are recognised, by the type definition of objects and never by
their names; and which of their variables is the state of a machine. Pure; called by discovery.py.

Sources: the NodeSets of OPC 10000-100, 40001-1, 40501-1, 30050 and 10031-4.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field

from aurelian.model.machine_states import LineState, Vocabulary
from opcua_gateway.browse.type_tree import TypeId, TypeTree
from opcua_gateway.browse.walk import Node
from opcua_gateway.browse.wire import OBJECT, VARIABLE, name_of

_UA = "http://opcfoundation.org/UA"
DI = f"{_UA}/DI/"
MACHINERY = f"{_UA}/Machinery/"
MACHINE_TOOL = f"{_UA}/MachineTool/"
PACKML = f"{_UA}/PackML/"
JOB_CONTROL = f"{_UA}/ISA95-JOBCONTROL_V2/"

COMPANIONS = {
    DI: "Devices (OPC 10000-100)",
    MACHINERY: "Machinery (OPC 40001-1)",
    f"{MACHINERY}Jobs/": "Machinery Jobs (OPC 40001-3)",
    f"{MACHINERY}ProcessValues/": "Machinery Process Values (OPC 40001-2)",
    f"{MACHINERY}Result/": "Machinery Result (OPC 40001-101)",
    MACHINE_TOOL: "Machine Tools (OPC 40501-1)",
    PACKML: "PackML (OPC 30050)",
    JOB_CONTROL: "ISA-95 Job Control (OPC 10031-4)",
}

_MACHINE_FOLDERS = {TypeId(MACHINERY, 1001), TypeId(DI, 5001)}
"""The folder Machines of 40001-1 and DeviceSet of 10000-100: what is in them is a machine."""

_MACHINE_TYPES = {TypeId(MACHINE_TOOL, 13), TypeId(PACKML, 6)}
"""MachineToolType, PackMLBaseObjectType."""

_JOB_RECEIVER = TypeId(JOB_CONTROL, 1002)


@dataclass(frozen=True, slots=True)
class StateRule:
    """What the CurrentState of a state machine says of its machine.

    Attributes:
        states: its numbers and words.
        rank: the lowest of a machine is its state.
        below: the type that the object above must have; None: any.
        effective: it is the EffectiveDisplayName of CurrentState, which names the innermost state
            of the machines inside it too (part 5, StateVariableType); none where it has none.
        missing: what the state does not say.
    """

    states: Vocabulary
    rank: int
    below: TypeId | None = None
    effective: bool = False
    missing: str = ""


_PRODUCTION = {
    "0": LineState.SETUP,
    "1": LineState.RUNNING,
    "2": LineState.PLANNED,
    "3": LineState.SHORT_STOP,
    "4": LineState.DOWN,
    "initializing": LineState.SETUP,
    "running": LineState.RUNNING,
    "ended": LineState.PLANNED,
    "interrupted": LineState.SHORT_STOP,
    "aborted": LineState.DOWN,
}
"""ProductionStateMachineType of 40501-1: Initializing, Running, Ended, Interrupted, Aborted."""

_STATE_RULES = {
    TypeId(PACKML, 3): StateRule("packml", 0, effective=True),
    TypeId(PACKML, 1): StateRule(
        "packml",
        1,
        missing="Stopped, Aborted and what leads to them stand in the state machines above this "
        "one; three nodes as one state are not there yet: it is unknown meanwhile",
    ),
    TypeId(MACHINERY, 1002): StateRule("machinery", 2),
    TypeId(MACHINE_TOOL, 24): StateRule(_PRODUCTION, 3, TypeId(MACHINE_TOOL, 32)),
    TypeId(MACHINERY, 1008): StateRule("operation_mode", 4),
}
"""PackMLBaseStateMachineType, PackMLExecuteStateMachineType, MachineryItemState_StateMachineType,
ProductionStateMachineType of the active program, MachineryOperationModeStateMachineType."""


@dataclass(frozen=True, slots=True)
class Model:
    """What an object is: its type, and the specification with its version (empty: not said)."""

    type_name: str
    uri: str
    title: str
    version: str


@dataclass(frozen=True, slots=True)
class StateFound:
    """A variable that may be the state of its machine.

    Attributes:
        machine: the state machine, an object.
        variable: its CurrentState, or that one's Number or EffectiveDisplayName.
        by_number: it is the Number.
    """

    machine: Node
    variable: Node
    by_number: bool
    rule: StateRule


@dataclass(slots=True)
class Recognised:
    """Which objects are of which specification.

    Attributes:
        machines: each of them is a unit of the plant.
        missing: what is there and cannot be a signal of the platform yet.
    """

    models: dict[Node, Model] = field(default_factory=dict)
    machines: set[Node] = field(default_factory=set)
    states: list[StateFound] = field(default_factory=list)
    missing: list[str] = field(default_factory=list)


def recognise(
    nodes: Sequence[Node],
    further: Mapping[bytes, Iterable[Node]],
    types: TypeTree,
    versions: Mapping[str, str],
) -> Recognised:
    """Find what is known by its type definition.

    Args:
        further: objects that a node refers to beside the first way to them.
        versions: of the server's models by URI.
    """
    found = Recognised()
    of_type = {key: types.ids(key) for key in {node.type_definition for node in nodes}}
    children: dict[Node, list[Node]] = {}
    for node in nodes:
        if node.parent is not None and node.namespace == 0 and node.node_class == VARIABLE:
            children.setdefault(node.parent, []).append(node)
    folders = {
        node.key: node for node in nodes if _id_of(node, types.namespaces) in _MACHINE_FOLDERS
    }
    for node in nodes:
        if node.node_class != OBJECT:
            continue
        above = of_type[node.type_definition]
        known = next((each for each in above if each.uri in COMPANIONS), None)
        if known is not None:
            found.models[node] = Model(
                types.names.get(node.type_definition, "?"),
                known.uri,
                COMPANIONS[known.uri],
                versions.get(known.uri, ""),
            )
        if not _MACHINE_TYPES.isdisjoint(above) or (
            node.parent is not None and node.parent.key in folders
        ):
            found.machines.add(node)
        if _JOB_RECEIVER in above:
            found.missing.append(
                f"{node.path}: job orders (ISA-95 Job Control) are lists of structures; "
                "an order as a signal is not there yet"
            )
        rule = next((_STATE_RULES[each] for each in above if each in _STATE_RULES), None)
        if rule is None or (
            rule.below is not None
            and (node.parent is None or rule.below not in of_type[node.parent.type_definition])
        ):
            continue
        current = _named(children.get(node, ()), "CurrentState")
        if current is None:
            continue
        if rule.effective:
            name = _named(children.get(current, ()), "EffectiveDisplayName")
            if name is not None:
                found.states.append(StateFound(node, name, False, rule))
        else:
            number = _named(children.get(current, ()), "Number")
            found.states.append(StateFound(node, number or current, number is not None, rule))
    for key in folders:
        found.machines.update(node for node in further.get(key, ()))
    found.states.sort(key=lambda each: each.rule.rank)
    return found


def _named(nodes: Sequence[Node], name: str) -> Node | None:
    return next((node for node in nodes if node.name == name), None)


def _id_of(node: Node, namespaces: Sequence[str]) -> TypeId | None:
    name = name_of(node.key)
    if name.kind != "i" or name.namespace >= len(namespaces):
        return None
    return TypeId(namespaces[name.namespace], int(name.identifier or 0))
