"""What people are asked of the states of machines, and what they have said beforehand. Called by
command.py."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from aurelian.edge.proposals.state_words import learn, question_for
from aurelian.local.connect_walk import Talk, said_states
from aurelian.local.terminal import give_up
from mqtt_gateway.connect.composing import States, path_of
from mqtt_gateway.connect.proposed import ProposedSignal, ProposedSource


def settle_states(
    talk: Talk, sources: Sequence[ProposedSource], said: Sequence[str]
) -> dict[str, States]:
    """The states of state signals, by unit and signal as `press/state`, as people say them."""
    given = said_states(said)
    settled: dict[str, States] = {}
    paths = []
    for path, signal in _signals(sources):
        paths.append(path)
        proposal = signal.proposal
        if path in given:
            settled[path] = given[path]
        elif proposal.question is not None:  # an answer also says that it is a state
            named = question_for(path, proposal.question.value, proposal.states)
            answer = talk.ask_state(named or proposal.question)
            if answer is not None:
                before = proposal.states if isinstance(proposal.states, dict) else None
                learned = learn([answer], before).states
                assert not isinstance(learned, str)
                settled[path] = {key: state.value for key, state in learned.items()}
    if unknown := [each for each in given if each not in paths]:
        there = ", ".join(paths[:8])
        give_up(f"--states: nothing is at {', '.join(unknown)}", f"there is {there} …", code=2)
    return settled


def _signals(sources: Sequence[ProposedSource]) -> Iterable[tuple[str, ProposedSignal]]:
    for source in sources:
        for unit in source.units:
            for signal in unit.signals:
                yield path_of(unit, signal), signal
