"""Roles, units and states proposed for the variables of a server: companion specifications by their
type definitions first, then what the kit knows of units, names and values. Pure; for the commands
and the page, which write them with `plant_snippet.write_plant`."""

from __future__ import annotations

from collections.abc import Mapping

from aurelian.edge.proposals.proposal import Found, Proposal, Standard, propose, settle
from aurelian.model.plant_parts import Role
from opcua_gateway.browse.companions import StateFound
from opcua_gateway.browse.discovery import Discovery
from opcua_gateway.browse.plant_snippet import unit_node
from opcua_gateway.browse.variables import Variable
from opcua_gateway.browse.walk import Node
from opcua_gateway.connect.preview import Seen

_BAD = 0x80000000


def propose_signals(
    found: Discovery, seen: Mapping[str, Seen] | None = None
) -> dict[Node, Proposal]:
    """A proposal for each readable variable that was found, those of one unit settled among each
    other.

    Args:
        seen: what came in a preview, by path; left out, the values that were read with the
            variables count alone.
    """
    standards = {
        each.variable: _standard(each, found) for each in reversed(found.recognised.states)
    }
    by_unit: dict[Node | None, dict[str, tuple[Node, Proposal]]] = {}
    known = {each.node: each for each in found.variables} | found.states
    for node, variable in known.items():
        if not variable.is_readable:
            continue
        proposal = propose(_found(variable, (seen or {}).get(node.path), standards.get(node)))
        by_unit.setdefault(unit_node(node, found), {})[node.path] = (node, proposal)
    proposals: dict[Node, Proposal] = {}
    for of_unit in by_unit.values():
        settled = settle({path: proposal for path, (_, proposal) in of_unit.items()})
        proposals |= {node: settled[path] for path, (node, _) in of_unit.items()}
    return proposals


def _found(variable: Variable, seen: Seen | None, standard: Standard | None) -> Found:
    values: list[object] = []
    times: list[float] = []
    if seen is not None and seen.values:
        values, times = list(seen.values), list(seen.times)
    elif variable.value is not None and not variable.value.status & _BAD:
        values = [variable.value.value]
    return Found(
        tuple(each.name for each in variable.node.way),
        variable.value_type,
        variable.unit,
        "" if variable.unit else variable.unit_shown,
        values,
        times,
        seen.names if seen is not None else {},
        standard,
    )


def _standard(state: StateFound, found: Discovery) -> Standard:
    model = found.recognised.models.get(state.machine)
    return Standard(model.title if model is not None else "its type", Role.STATE, state.rule.states)
