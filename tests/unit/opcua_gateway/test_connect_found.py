"""What a person is asked of signals that were found, and what follows from it."""

from __future__ import annotations

import pytest

from aurelian.edge.proposals.proposal import Found, Proposal, propose
from aurelian.edge.proposals.state_words import Answer, StateQuestion
from aurelian.local.connect_walk import Talk, further_states
from aurelian.model.plant_parts import LineState, Role
from opcua_gateway.browse.walk import Node
from opcua_gateway.connect.found import settle_states


class Person(Talk):
    """Says yes to some questions; keeps what was asked."""

    def __init__(self, says: bool, *, yes: bool = False) -> None:
        super().__init__(as_json=False, yes=yes)
        self.says, self.asked = says, list[str]()

    def confirm(self, question: str, *, default: bool) -> bool:
        self.asked.append(question)
        return self.says

    def ask_state(self, question: StateQuestion) -> Answer | None:
        return None


def node(name: str) -> Node:
    root = Node(b"root", None, b"", 0, "Objects", "", 1, b"", 0)
    press = Node(b"press", root, b"", 1, "Press", "", 1, b"", 1)
    return Node(name.encode(), press, b"", 1, name, "", 2, b"", 2)


def test_a_count_that_is_a_guess_is_asked_for_once() -> None:
    proposals: dict[Node, Proposal] = {
        node(name): propose(Found(("Press", name), values=values))
        for name, values in (("Counter", [3]), ("Gutteile", [4]), ("Ausschuss", [1, 1]),
                             ("NOK", [0, 0]), ("Speed", [1.5]))
    }  # fmt: skip
    for says in (True, False):
        person = Person(says)
        settled = settle_states(person, proposals, ())
        assert person.asked == [
            "Is Press/Counter the count of good pieces?", "Is Press/NOK the count of bad pieces?"
        ]  # fmt: skip
        written = {each.path for each, proposal in settled.items() if proposal.is_written}
        sure = {"Press/Gutteile", "Press/Ausschuss"}
        assert written == (sure | {"Press/Counter", "Press/NOK"} if says else sure)
    nobody = Person(True, yes=True)
    settled = settle_states(nobody, proposals, ())
    assert nobody.asked == [] and settled == proposals
    [counter] = [each for node, each in settled.items() if node.path == "Press/Counter"]
    assert counter.role is Role.GOOD_COUNT and "not written" in counter.role_said


@pytest.mark.parametrize(
    ("key", "state", "line"),
    [
        ("3", LineState.RUNNING, 'states: {"3": running, "4": down}'),
        ("läuft", LineState.DOWN, 'states: {"läuft": down, "other": running}'),
    ],
)
def test_after_the_question_it_is_said_how_further_values_are_added(
    key: str, state: LineState, line: str
) -> None:
    said = further_states(key, state)
    assert "under `states`" in said and "blocked" in said
    assert said.endswith(line)
