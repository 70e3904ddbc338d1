"""What was found at a server, as lines for people and for programs. Pure; called by
command.py."""

from __future__ import annotations

import json
from collections.abc import Iterator
from itertools import islice

from aurelian.model.names import shorten
from opcua_gateway.browse.discovery import Discovery
from opcua_gateway.browse.plant_snippet import address_of
from opcua_gateway.browse.variables import Variable
from opcua_gateway.browse.walk import Node
from opcua_gateway.browse.wire import Attribute

_MOST_MODELS = 30
_MOST_REFUSED = 5


def listed(found: Discovery, *, as_json: bool) -> Iterator[str]:
    """A line for each variable: path, node id, type, unit, rights, value."""
    for variable in found.variables:
        row = _row(found, variable)
        yield json.dumps(row, ensure_ascii=False) if as_json else _tabbed(row)


def summary(found: Discovery) -> Iterator[str]:
    """What there is to say beside the variables."""
    yield f"{len(found.variables)} of {found.seen} variables, {found.objects} objects"
    used = {0} | {int(part.partition(":")[0]) for part in _indices(found)}
    for index in sorted(used & set(range(1, len(found.namespaces)))):
        yield f"namespace {index}: {_plain(found.namespaces[index])}"
    models = found.recognised.models
    outer = [node for node in models if not any(each in models for each in node.way[:-1])]
    for node in islice(outer, _MOST_MODELS):
        model = models[node]
        version = f", version {model.version}" if model.version else ""
        yield _plain(f"{node.path}: {model.type_name} of {model.title}{version}, {model.uri}")
    if len(outer) > _MOST_MODELS:
        yield f"and {len(outer) - _MOST_MODELS} more of companion specifications"
    for state in found.recognised.states:
        variable = found.states.get(state.variable)
        value = _shown(variable.value) if variable is not None else ""
        yield _plain(f"state: {state.variable.path}" + (f", now {value}" if value else ""))
    yield from map(_plain, found.recognised.missing)
    for node, status in found.tree.refused[:_MOST_REFUSED]:
        yield _plain(f"not opened: {node.path or 'Objects'} (0x{status:08X})")
    if len(found.tree.refused) > _MOST_REFUSED:
        yield f"and {len(found.tree.refused) - _MOST_REFUSED} more that the server did not open"
    if found.cut:
        yield _plain(f"not all: {found.cut}")


def _indices(found: Discovery) -> Iterator[str]:
    seen: set[Node] = set()
    for variable in found.variables:
        for node in variable.node.way:
            if node not in seen:
                seen.add(node)
                yield f"{node.namespace}:"


def _row(found: Discovery, variable: Variable) -> dict[str, object]:
    node = variable.node
    access = "r" if variable.is_readable else "-"
    return {
        "path": node.qualified_path,
        "node": address_of(node.key, found.namespaces),
        "type": variable.type_name,
        "unit": variable.unit or variable.unit_shown,
        "access": access + ("h" if variable.has_history else ""),
        "range": variable.range,
        "display_name": node.display,
        "description": variable.description,
        "type_definition": address_of(node.type_definition, found.namespaces),
        "value": _shown(variable.value),
    }


def _tabbed(row: dict[str, object]) -> str:
    parts = ("path", "node", "type", "unit", "access", "value")
    return "\t".join(_plain(str(row[name] or "-")) for name in parts)


def _shown(value: Attribute | None) -> str:
    if value is None:
        return ""
    if value.status & 0x80000000:
        return f"0x{value.status:08X}"
    return shorten(str(value.value), 60)


def _plain(text: str) -> str:
    """Text of a stranger's on one line, without what moves a terminal's cursor."""
    return "".join(char if char.isprintable() else "\N{REPLACEMENT CHARACTER}" for char in text)
