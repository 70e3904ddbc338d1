"""A plant file out of what a server has: units, signals, types and units of measure, names made
legal. Pure; called by command.py. `aurelian check` takes it as it is."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from aurelian.edge.proposals.proposal import Proposal
from aurelian.model.machine_states import Unknown, Vocabulary, read_state
from aurelian.model.names import shorten
from aurelian.model.sample import ValueType
from aurelian.model.source_model import SourceModel
from aurelian.model.yaml_scalars import quoted_text
from opcua_gateway.browse.companions import StateFound
from opcua_gateway.browse.discovery import Discovery
from opcua_gateway.browse.variables import Variable
from opcua_gateway.browse.walk import Node
from opcua_gateway.browse.wire import OBJECT, name_of, numeric_key

_FOLDER_TYPE = numeric_key(0, 61)
_MOST_NAME = 64


@dataclass(slots=True)
class _Signal:
    name: str
    variable: Variable
    address: str
    state: StateFound | None = None
    proposal: Proposal | None = None


@dataclass(slots=True)
class _Unit:
    name: str
    node: Node | None
    signals: list[_Signal] = field(default_factory=list)
    taken: set[str] = field(default_factory=set)


def write_plant(
    found: Discovery, source: SourceModel, proposals: Mapping[Node, Proposal] | None = None
) -> str:
    """The text of a plant file with every readable variable that was found as a signal.

    Args:
        proposals: roles, units and states of variables: what is likely is written, a guess is a
            comment. None: only the states that a companion specification knows.

    Raises:
        ValueError: there is none.
    """
    units, left_out = _sort_into_units(found, source.id, proposals or {})
    if not units:
        raise ValueError("none of the variables can be a signal: " + "; ".join(left_out))
    lines = [
        f"# What `aurelian browse` found at {_comment(source.url)}. Look through it: names, lines,",
        "# products; take out what nobody needs. Then: aurelian check FOLDER",
        *(f"# Not all is here: {_comment(why)}" for why in (found.cut,) if why),
        *(f"# Left out: {_comment(each)}" for each in left_out),
        *(f"# Not there yet: {_comment(each)}" for each in found.recognised.missing),
        "company: {id: my-company, name: My Company}",
        "site: works",
        "time_zone: UTC  # say, Europe/Oslo",
        "sources:",
        *_source_lines(source),
        "areas:",
        "  - name: hall",
        "    lines:",
        "      - name: line-1",
        "        products: [{id: part, ideal_cycle_s: 5}]  # what it makes, and how fast",
        "        units:  # in the order of the flow",
    ]
    for unit in units:
        lines += _unit_lines(found, unit, source.id)
    return "\n".join(lines) + "\n"


@dataclass(frozen=True, slots=True)
class Placed:
    """A variable as the signal that it would be. `states`: of its values, where a companion
    specification knows them."""

    unit: str
    name: str
    address: str
    variable: Variable
    states: Vocabulary | None = None


def placed(found: Discovery, source: SourceModel) -> list[Placed]:
    """The signals that `write_plant` writes, by the same names."""
    units, _ = _sort_into_units(found, source.id, {})
    return [
        Placed(
            unit.name,
            each.name,
            each.address,
            each.variable,
            each.state.rule.states if each.state is not None else None,
        )
        for unit in units
        for each in unit.signals
    ]


def address_of(key: bytes, namespaces: Sequence[str]) -> str | None:
    """A node id as the plant file writes it, by the URI of its namespace; None: it cannot be
    written."""
    name = name_of(key)
    if not name.identifier or _has_control_characters(name.identifier):
        return None
    text = f"{name.kind}={name.identifier}"
    if name.namespace == 0:
        return text
    uri = namespaces[name.namespace] if name.namespace < len(namespaces) else ""
    if not uri or _has_control_characters(uri):
        return f"ns={name.namespace};{text}"
    if ";" in uri:
        uri = uri.replace("%", "%25").replace(";", "%3B")
    return f"nsu={uri};{text}"


def _has_control_characters(text: str) -> bool:
    """Whether a plant file cannot have the text."""
    return any(unicodedata.category(char) in ("Cc", "Cs") for char in text)


def legal_name(parts: Sequence[str], taken: set[str], otherwise: str) -> str:
    """A name for the plant model out of a path, none of `taken`, to which it is added. The end of a
    path that is too long counts."""
    made = [part for part in map(_legal, parts) if part]
    while len(made) > 1 and len(".".join(made)) > _MOST_NAME:
        made.pop(0)
    name = ".".join(made)[:_MOST_NAME].rstrip("-_.") or otherwise
    number, free = 1, name
    while free.casefold() in taken:
        number += 1
        free = f"{name[: _MOST_NAME - len(str(number)) - 1]}-{number}"
    taken.add(free.casefold())
    return free


def _legal(part: str) -> str:
    plain = unicodedata.normalize("NFKD", part.replace("ß", "ss"))
    plain = "".join(char for char in plain if not unicodedata.combining(char))
    return re.sub(r"[^A-Za-z0-9_.]+", "-", plain).strip("-_.")


def _sort_into_units(
    found: Discovery, otherwise: str, proposals: Mapping[Node, Proposal]
) -> tuple[list[_Unit], list[str]]:
    """The units with their signals, and what is none."""
    units: dict[Node | None, _Unit] = {}
    names: set[str] = set()
    closed = unwritable = 0

    def unit_at(node: Node | None) -> _Unit:
        if node not in units:
            name = legal_name([node.name] if node is not None else [], names, otherwise)
            units[node] = _Unit(name, node)
        return units[node]

    proposed = _proposed_states(found)
    for variable in found.variables:
        node = variable.node
        address = address_of(node.key, found.namespaces)
        if not variable.is_readable:
            closed += 1
        elif address is None:
            unwritable += 1
        else:
            at = unit_node(node, found)
            state = proposed.get(at)
            unit = unit_at(at)
            unit.signals.append(
                _Signal(
                    _signal_name(node, at, unit),
                    variable,
                    address,
                    state if state is not None and state.variable is node else None,
                    proposals.get(node),
                )
            )
    for at, state in proposed.items():
        known = units.get(at)
        if known is None or any(each.state is state for each in known.signals):
            continue
        variable, address = (
            found.states[state.variable],
            address_of(state.variable.key, found.namespaces),
        )
        if address is not None:
            name = _signal_name(state.variable, at, known)
            known.signals.insert(0, _Signal(name, variable, address, state))
    left_out = [f"variables that we may not read: {closed}"] if closed else []
    if unwritable:
        left_out.append(
            f"variables whose node id is empty, no UTF-8 or has control characters: {unwritable}"
        )
    return list(units.values()), left_out


def _proposed_states(found: Discovery) -> dict[Node | None, StateFound]:
    """The state of each unit: the best of those that it has."""
    proposed: dict[Node | None, StateFound] = {}
    for state in found.recognised.states:
        variable = found.states.get(state.variable)
        if variable is not None and variable.is_readable:
            proposed.setdefault(unit_node(state.variable, found), state)
    return proposed


def unit_node(node: Node, found: Discovery) -> Node | None:
    """What is the machine of a variable: one that is known as such, else the first object on the
    way that is no folder, else the folder that it is in."""
    objects = [each for each in node.way if each.node_class == OBJECT]
    for each in objects:
        if each in found.recognised.machines:
            return each
    for each in objects:
        if each.type_definition != _FOLDER_TYPE:
            return each
    return objects[-1] if objects else None


def _signal_name(node: Node, unit: Node | None, taken_of: _Unit) -> str:
    way = node.way
    below = way[way.index(unit) + 1 :] if unit in way else way
    return legal_name([each.name for each in below], taken_of.taken, "signal")


def _source_lines(source: SourceModel) -> Iterator[str]:
    fields = source.model_dump(mode="json", exclude_unset=True)
    yield f"  - id: {quoted_text(fields.pop('id'))}"
    for name, value in fields.items():
        yield f"    {name}: {_flow(value)}"


def _unit_lines(found: Discovery, unit: _Unit, source: str) -> Iterator[str]:
    if unit.node is not None:
        for node in (unit.node, *(each.state.machine for each in unit.signals if each.state)):
            model = found.recognised.models.get(node)
            if model is not None:
                said = f"{model.type_name}, {model.title} {model.version}".rstrip()
                yield f"          # {_comment(node.path)}: {_comment(said)}"
    yield f"          - name: {quoted_text(unit.name)}"
    if unit.node is not None and unit.node.name != unit.name:
        yield f"            title: {quoted_text(_comment(unit.node.name))}"
    yield f"            source: {quoted_text(source)}"
    yield "            signals:"
    for signal in unit.signals:
        for comment in _remarks(signal):
            yield f"              # {_comment(comment)}"
        yield f"              - {_signal_line(signal)}"


def _signal_line(signal: _Signal) -> str:
    variable = signal.variable
    kind = variable.value_type or ValueType.DOUBLE
    parts: dict[str, object] = {
        "name": signal.name,
        "address": signal.address,
        "type": kind.name.lower(),
    }
    if signal.state is not None:
        states = signal.state.rule.states
        parts |= {"role": "state", "states": states if isinstance(states, str) else dict(states)}
    elif signal.proposal is not None and signal.proposal.is_written:
        parts |= {"role": signal.proposal.role.value}
        if signal.proposal.states is not None:
            states = signal.proposal.states
            parts["states"] = states if isinstance(states, str) else dict(states)
    if unit := variable.unit or (signal.proposal.unit if signal.proposal is not None else ""):
        parts["unit"] = unit
    if variable.range is not None and kind in _NUMBERS:
        parts["range"] = list(variable.range)
    return _flow(parts)


_NUMBERS = (ValueType.DOUBLE, ValueType.INT64, ValueType.UINT64)


def _remarks(signal: _Signal) -> Iterator[str]:
    variable = signal.variable
    if not ".".join(each.name for each in variable.node.way).endswith(signal.name):
        yield f"{signal.name}: {variable.node.path}"
    if variable.value_type is None:
        yield f"{signal.name}: the server leaves its type open ({variable.type_name})"
    if signal.proposal is not None and signal.state is None and signal.proposal.why:
        role, sureness = signal.proposal.role.value, signal.proposal.sureness.value
        yield f"{signal.name}: {role} ({sureness}): {'; '.join(signal.proposal.why)}"
    has_unit = variable.unit or (signal.proposal is not None and signal.proposal.unit)
    if variable.unit_shown and not has_unit:
        yield f"{signal.name}: its unit is {variable.unit_shown!r}, write it in UCUM"
    state = signal.state
    if state is None:
        return
    if state.rule.effective:
        yield f"{signal.name}: a text, of the innermost state machine that is active"
    elif not state.by_number:
        yield (
            f"{signal.name}: a text, to be spelled as in the specification; the number of the "
            "state, by CurrentState.Id, is not there yet"
        )
    if state.rule.missing:
        yield f"{signal.name}: {state.rule.missing}"
    if variable.value is None:
        return
    value = variable.value.value
    if variable.value.status & 0x80000000 or value in (None, ""):
        yield f"{signal.name}: it had no value now (0x{variable.value.status:08X})"
    elif isinstance(read_state(state.rule.states, value), Unknown):
        yield f"{signal.name}: is {value!r} now, which `states` does not know: add it"


def _flow(value: object) -> str:
    match value:
        case Mapping():
            items = (f"{_key(key)}: {_flow(each)}" for key, each in value.items())
            return "{" + ", ".join(items) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(_flow, value)) + "]"
        case bool():
            return "true" if value else "false"
        case int() | float():
            return f"{value:.15g}"
        case _:
            return quoted_text(str(value))


def _key(key: object) -> str:
    text = str(key)
    return text if text.isidentifier() else quoted_text(text)


def _comment(text: str) -> str:
    """Text of a server's on one line, without what would end a comment."""
    return shorten("".join(char if char.isprintable() else " " for char in text), 300)
