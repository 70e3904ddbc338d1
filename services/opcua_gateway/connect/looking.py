"""A look at a server, from its endpoints to what its variables are worth and taken for, and the
units that a plant file has of it. Called by command.py and connector.py."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from aurelian.edge.proposals.proposal import Proposal
from aurelian.edge.trust_store import TrustStore
from aurelian.model.plant_file import read_plant
from aurelian.model.sample import ValueType
from aurelian.model.source_model import SourceModel
from opcua_gateway.browse.discovery import Discovery, Selection, discover
from opcua_gateway.browse.plant_snippet import write_plant
from opcua_gateway.browse.walk import Bounds, Node
from opcua_gateway.connect import preview as previews
from opcua_gateway.connect.watching import looked_into
from opcua_gateway.security.endpoints import Endpoints
from opcua_gateway.settings import OpcuaGatewaySettings


class NothingChosen(Exception):
    """None of a server's variables is chosen; the text says of how many."""


@dataclass(frozen=True, slots=True)
class Looked:
    """What a server has of what is wanted, and what came of it, by path."""

    found: Discovery
    seen: dict[str, previews.Seen] = field(default_factory=dict)


async def look_into(
    model: SourceModel,
    settings: OpcuaGatewaySettings,
    store: TrustStore,
    include: Sequence[str],
    exclude: Sequence[str],
    seconds: float,
    tell: Callable[[str], None],
) -> Looked:
    """Look through a server and watch what is chosen by patterns for some seconds; `tell` is told
    what goes on.

    Raises:
        PatternError: a pattern cannot be meant.
        NothingChosen: none is there, or none is wanted.
        SessionLost: the server or the way to it is gone, or it does not let us in.
    """
    endpoints = Endpoints(model, settings.opcua_insecure_hosts, store, settings.gateway)
    way = await endpoints.find_way(settings.opcua_timeout_s)
    async with looked_into(model, way, settings) as session:
        tell("looking through the server …")
        found = await discover(session, Selection(), Bounds(), values=True)
        chosen = previews.choose(found.variables, found.namespaces, include, exclude)
        if not chosen:
            raise NothingChosen(f"none of its {found.seen} variables is chosen")
        found.variables = chosen
        rows = previews.previewed(chosen, found.namespaces)
        tell(f"{len(chosen)} variables; watching for {seconds:g} s …")
        looked = Looked(found)
        async for by_now in previews.preview(session, model, rows, settings, seconds):
            looked.seen.update({each.node.path: each for each in by_now})
    return looked


def units_of(
    found: Discovery, model: SourceModel, proposals: Mapping[Node, Proposal]
) -> list[dict[str, object]]:
    """Units with their signals as a plant file has them.

    Raises:
        ValueError: none of the variables can be a signal.
    """
    text = write_plant(found, model, proposals)
    made = []
    for unit in read_plant(text.encode(), "proposal").plant.units():
        fields = unit.model.model_dump(mode="json", exclude_unset=True)
        for signal, each in zip(fields["signals"], unit.model.signals, strict=True):
            if "type" in signal:
                signal["type"] = ValueType(each.type).name.lower()
        made.append(fields)
    return made
