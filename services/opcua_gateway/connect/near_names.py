"""What nodes that a server does not have may have been meant to be; called by value_rungs.py."""

from __future__ import annotations

from collections.abc import Sequence
from difflib import get_close_matches

from aurelian.model.addresses import NodeAddress
from opcua_gateway.browse.plant_snippet import address_of
from opcua_gateway.browse.walk import SERVER, Bounds, Node, browse_tree, find_reach
from opcua_gateway.browse.wire import VARIABLE, name_of
from opcua_gateway.session import Session

_BOUNDS = Bounds(nodes=20_000, depth=20, seconds=4.0)
_MOST_WANTED = 5
_LIKE = 0.6


async def near_nodes(
    session: Session, wanted: Sequence[NodeAddress], namespaces: Sequence[str]
) -> list[str]:
    """Addresses of nodes of the server that are named nearly as those that it does not have; a few
    of each, the nearest first.

    Raises:
        SessionLost: the server is gone.
    """
    reach = await find_reach(session)
    tree = await browse_tree(session, reach, _BOUNDS, leave_out=_is_the_servers_own)
    known: dict[str, str] = {}
    for node in tree.nodes:
        if node.node_class == VARIABLE and not node.is_property:
            address = address_of(node.key, namespaces)
            if address is not None:
                known.setdefault(_folded(name_of(node.key).identifier or ""), address)
                known.setdefault(_folded(node.path), address)
    return nearest([each.identifier for each in wanted], known)


def nearest(wanted: Sequence[str], known: dict[str, str]) -> list[str]:
    """The addresses whose names are near to those wanted. Pure."""
    found: dict[str, None] = {}
    names = list(known)
    for each in wanted[:_MOST_WANTED]:
        for name in get_close_matches(_folded(each), names, n=3, cutoff=_LIKE):
            found.setdefault(known[name])
    return list(found)


def _folded(text: str) -> str:
    return text.casefold()


def _is_the_servers_own(node: Node) -> bool:
    return node.key == SERVER
