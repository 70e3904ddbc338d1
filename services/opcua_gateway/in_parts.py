"""Reading and browsing many nodes in calls as large as the server takes, with what asyncua cannot
decode left out one by one; called by type_definitions.py, older_types.py and properties.py."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from datetime import UTC, datetime
from typing import TypeVar

from asyncua import ua

from opcua_gateway.decode.variants import UNREADABLE
from opcua_gateway.session import TOO_LARGE, Session, SessionLost, translated

_NO_TIME = datetime(1601, 1, 1, tzinfo=UTC)
"""Of a View: asyncua's own is that of now, which servers refuse that have no views."""

_Wanted = TypeVar("_Wanted")
_Found = TypeVar("_Found")


async def read_in_parts(
    session: Session, wanted: Sequence[tuple[ua.NodeId, ua.AttributeIds]], per_call: int
) -> list[ua.DataValue | None]:
    """Read attributes of nodes, in order, at most so many in a call, fewer where the server wants
    fewer; None: the answer cannot be read."""

    async def ask(part: Sequence[tuple[ua.NodeId, ua.AttributeIds]]) -> list[ua.DataValue]:
        request = ua.ReadParameters()
        request.NodesToRead = [
            ua.ReadValueId(NodeId=node, AttributeId=attribute) for node, attribute in part
        ]
        return list(await session.services.read(request))

    return await _in_parts("read attributes", ask, wanted, per_call)


async def browse_in_parts(
    session: Session, wanted: Sequence[ua.BrowseDescription], per_call: int
) -> list[ua.BrowseResult | None]:
    """Browse, in order, as `read_in_parts`; of many references those of the first answer."""

    async def ask(part: Sequence[ua.BrowseDescription]) -> list[ua.BrowseResult]:
        request = ua.BrowseParameters()
        request.View.Timestamp = _NO_TIME
        request.NodesToBrowse = list(part)
        return list(await session.services.browse(request))

    return await _in_parts("browse", ask, wanted, per_call)


async def translate_in_parts(
    session: Session, wanted: Sequence[ua.BrowsePath], per_call: int
) -> list[ua.BrowsePathResult | None]:
    """Nodes at the ends of paths, in order, as `read_in_parts`."""

    async def ask(part: Sequence[ua.BrowsePath]) -> list[ua.BrowsePathResult]:
        return list(await session.services.translate_browsepaths_to_nodeids(list(part)))

    return await _in_parts("translate browse paths", ask, wanted, per_call)


async def _in_parts(
    doing: str,
    ask: Callable[[Sequence[_Wanted]], Awaitable[list[_Found]]],
    wanted: Sequence[_Wanted],
    per_call: int,
) -> list[_Found | None]:
    """Ask for many things in calls of at most `per_call`, halved where the server wants fewer or
    asyncua cannot read the answer; None for the single one that it cannot."""
    found: list[_Found | None] = []
    while len(found) < len(wanted):
        part = wanted[len(found) : len(found) + per_call]
        with translated(doing):
            try:
                answers = await ask(part)
                if len(answers) != len(part):
                    raise SessionLost(f"cannot {doing}: {len(answers)} answers to {len(part)}")
                found += answers
                continue
            except (ua.uaerrors.BadTooManyOperations, *TOO_LARGE):
                if len(part) == 1:
                    raise
            except (ConnectionError, TimeoutError, ua.UaStatusCodeError):
                raise
            except UNREADABLE:
                if len(part) == 1:
                    found.append(None)
                    continue
        per_call = len(part) // 2
    return found
