"""What `aurelian connect opcua` found, as people are shown it and asked about it; called by
command.py."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

from aurelian.edge.proposals.proposal import Proposal, Sureness
from aurelian.edge.proposals.state_words import Answer, learn
from aurelian.local.connect_walk import Talk, said_states
from aurelian.local.terminal import give_up
from aurelian.model.plant_parts import Role
from opcua_gateway.browse.discovery import Discovery
from opcua_gateway.browse.walk import Node
from opcua_gateway.connect.preview import Seen

_SHOWN_ROWS = 30


def show_found(
    talk: Talk,
    found: Discovery,
    seen: Mapping[str, Seen],
    proposals: Mapping[Node, Proposal],
) -> None:
    """Show each variable with its value and what it is taken for."""
    for number, variable in enumerate(found.variables):
        node, row = variable.node, seen.get(variable.node.path)
        proposal = proposals.get(node, Proposal())
        talk.tell(
            {
                "variable": node.path,
                "value": row.value if row else None,
                "quality": row.quality if row else "none",
                "role": proposal.role.value,
                "unit": proposal.unit,
                "states": proposal.states,
                "sureness": proposal.sureness.value,
                "why": proposal.why,
            }
        )
        if number == _SHOWN_ROWS:
            talk.say(f"  … and {len(found.variables) - number} more")
        if number >= _SHOWN_ROWS:
            continue
        value = "" if row is None or row.value is None else str(row.value)[:24]
        quality = "" if row is None or row.quality == "good" else f"  [{row.quality}]"
        talk.say(f"  {node.path}  =  {value} {proposal.unit}{quality}")
        if proposal.role is not Role.OTHER:
            talk.say(f"      {proposal.role_said}: {'; '.join(proposal.why)}")


def settle_states(
    talk: Talk, proposals: Mapping[Node, Proposal], said: Sequence[str]
) -> dict[Node, Proposal]:
    """The proposals, with what people say of state signals that nobody knows, and of counts that
    are a guess."""
    by_path = said_states(said)
    settled = dict(proposals)
    for node, proposal in proposals.items():
        given = by_path.pop(node.path, None)
        if given is not None:
            settled[node] = replace(
                proposal,
                role=Role.STATE,
                states=given,  # type: ignore[arg-type]
                question=None,
                sureness=Sureness.LIKELY,
            )
            continue
        answer: Answer | None = None
        if proposal.question is not None and proposal.role is Role.STATE:
            answer = talk.ask_state(proposal.question)
        if answer is not None:
            before = proposal.states if isinstance(proposal.states, dict) else None
            states = learn([answer], before).states
            # Who answers what it means says that it is the state.
            settled[node] = replace(
                proposal, states=states, question=None, sureness=Sureness.LIKELY
            )
    if by_path:
        known = ", ".join(node.path for node in list(proposals)[:8])
        give_up(f"--states: nothing is at {', '.join(by_path)}", f"there is {known} …", code=2)
    return _settle_counts(talk, settled)


_COUNTED = {Role.GOOD_COUNT: "good", Role.SCRAP_COUNT: "bad"}


def _settle_counts(talk: Talk, proposals: Mapping[Node, Proposal]) -> dict[Node, Proposal]:
    """The proposals, with what people say of counts that are a guess; where nobody is asked a guess
    stays one, which is not written."""
    settled = dict(proposals)
    for node, proposal in proposals.items():
        pieces = _COUNTED.get(proposal.role)
        if pieces is None or proposal.sureness is not Sureness.GUESS or talk.yes:
            continue
        if talk.confirm(f"Is {node.path} the count of {pieces} pieces?", default=False):
            settled[node] = replace(proposal, sureness=Sureness.LIKELY)
    return settled
