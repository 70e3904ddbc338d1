"""What is recognised of companion specifications: by type definition alone."""

from __future__ import annotations

from opcua_gateway.browse.companions import MACHINE_TOOL, MACHINERY, PACKML, Recognised, recognise
from opcua_gateway.browse.type_tree import TypeTree
from opcua_gateway.browse.walk import HAS_PROPERTY, Node
from opcua_gateway.browse.wire import OBJECT, VARIABLE, numeric_key

NAMESPACES = ("http://opcfoundation.org/UA/", "urn:maker", MACHINERY, MACHINE_TOOL, PACKML)
MAKER, MACH, TOOL, PACK = 1, 2, 3, 4
BASE, FOLDER, HAS_COMPONENT = (numeric_key(0, number) for number in (58, 61, 47))
ABOVE = {
    # A maker's own type of machine tool, and the programs' state machine, below those of 40501-1.
    numeric_key(MAKER, 1): [numeric_key(MAKER, 1), numeric_key(TOOL, 13), BASE],
    numeric_key(TOOL, 15): [numeric_key(TOOL, 15), numeric_key(TOOL, 24)],
}


class Server:
    """Nodes as a browse finds them."""

    def __init__(self) -> None:
        self.root = Node(numeric_key(0, 85), None, b"", 0, "", "", OBJECT, b"", 0)
        self.nodes: list[Node] = []
        self.further: dict[bytes, list[Node]] = {}

    def add(
        self, name: str, definition: bytes, parent: Node | None = None, key: bytes = b""
    ) -> Node:
        parent = parent or self.root
        key = key or numeric_key(MAKER, 1_000 + len(self.nodes))
        node = Node(
            key, parent, HAS_COMPONENT, MAKER, name, name, OBJECT, definition, parent.depth + 1
        )
        self.nodes.append(node)
        return node

    def add_state(self, name: str, definition: bytes, parent: Node, *, number: bool) -> Node:
        """A state machine; returns its CurrentState, or the Number of it."""
        machine = self.add(name, definition, parent)
        found = machine
        for part, reference in [("CurrentState", HAS_COMPONENT), ("Number", HAS_PROPERTY)]:
            if part == "Number" and not number:
                break
            key = numeric_key(MAKER, 1_000 + len(self.nodes))
            found = Node(
                key, found, reference, 0, part, part, VARIABLE, numeric_key(0, 63), found.depth + 1
            )
            self.nodes.append(found)
        return found

    def recognised(self) -> Recognised:
        types = TypeTree(NAMESPACES, dict(ABOVE))
        return recognise(self.nodes, self.further, types, {MACHINE_TOOL: "1.02.0"})


def test_the_state_of_the_active_program_counts_and_not_that_of_others() -> None:
    server = Server()
    tool = server.add("x", numeric_key(MAKER, 1))
    active = server.add("y", numeric_key(TOOL, 32), tool)
    listed = server.add("ActiveProgram", numeric_key(TOOL, 59), tool)
    state = server.add_state("z", numeric_key(TOOL, 15), active, number=True)
    server.add_state("State", numeric_key(TOOL, 15), listed, number=True)
    found = server.recognised()
    assert [each.variable for each in found.states] == [state]
    assert found.states[0].by_number
    assert (found.machines, found.models[tool].version) == ({tool}, "1.02.0")


def test_names_and_numbers_of_other_namespaces_say_nothing() -> None:
    server = Server()
    server.add_state(
        "MachineryItemState", numeric_key(MAKER, 1002), server.add("a", BASE), number=False
    )
    server.add("MachineTool", BASE)
    folder = server.add("Machines", FOLDER, key=numeric_key(MAKER, 1001))
    server.add("Machine", BASE, folder)
    found = server.recognised()
    assert (found.models, found.machines, found.states) == ({}, set(), [])


def test_packml_comes_before_the_state_of_machinery() -> None:
    server = Server()
    unit = server.add("unit", numeric_key(PACK, 6))
    item = server.add_state("s1", numeric_key(MACH, 1002), unit, number=False)
    execute = server.add_state("s2", numeric_key(PACK, 1), unit, number=False)
    found = server.recognised()
    assert [each.variable for each in found.states] == [execute, item]
    assert not found.states[0].by_number and found.states[0].rule.missing


def test_the_effective_state_of_packml_comes_before_its_innermost_state_machine() -> None:
    server = Server()
    unit = server.add("unit", numeric_key(PACK, 6))
    execute = server.add_state("inner", numeric_key(PACK, 1), unit, number=True)
    current = server.add_state("outer", numeric_key(PACK, 3), unit, number=False)
    assert [each.variable for each in server.recognised().states] == [execute]
    key = numeric_key(MAKER, 1_000 + len(server.nodes))
    name = "EffectiveDisplayName"
    effective = Node(
        key, current, HAS_PROPERTY, 0, name, name, VARIABLE, numeric_key(0, 68), current.depth + 1
    )
    server.nodes.append(effective)
    found = server.recognised()
    assert [each.variable for each in found.states] == [effective, execute]
    assert found.states[0].rule.states == "packml" and not found.states[0].rule.missing


def test_what_the_folder_machines_refers_to_is_a_machine_wherever_it_was_found_first() -> None:
    server = Server()
    folder = server.add("Machines", FOLDER, key=numeric_key(MACH, 1001))
    inside, outside = server.add("a", BASE, folder), server.add("b", BASE)
    server.further[folder.key] = [outside]
    assert server.recognised().machines == {inside, outside}
