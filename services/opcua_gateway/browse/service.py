"""The services Browse, BrowseNext and Read for many nodes in one call, whose answers stay encoded
(browse_wire.py); called by browse.py and type_tree.py."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import TypeVar

from asyncua import ua

from opcua_gateway.browse.wire import (
    Attribute,
    Browsed,
    browse_request,
    decode_browse,
    decode_read,
    read_request,
)
from opcua_gateway.session import TOO_LARGE, Session, SessionLost, TooManyOperations, translated

_MANY_NODES_S = 30.0
"""For one call with as many nodes as the server takes: small controllers work on it for seconds."""

_Many = TypeVar("_Many")


class BrowseService:
    """Asks over a session. Every method raises SessionLost where the connection or session fails,
    and TooManyOperations where the server wants fewer nodes in a call."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def browse(
        self,
        nodes: Sequence[bytes],
        indices: Mapping[str, int],
        most: int = 0,
        *,
        types_above: bool = False,
    ) -> list[Browsed]:
        """The children of nodes, or the types directly above them.

        Args:
            nodes: keys of `browse_wire.py`.
            indices: of the server's namespaces by URI.
            most: references of one node in the answer, 0: as the server likes.
        """
        with _asked_for_many("browse"):
            request = browse_request(nodes, most, types_above=types_above)
            body = await self._session.ask(request, _MANY_NODES_S)
            return _as_many(decode_browse(body, indices), nodes)

    async def browse_next(
        self, points: Sequence[bytes], indices: Mapping[str, int], *, release: bool = False
    ) -> list[Browsed]:
        """What follows at continuation points; `release`: nothing, the server may forget them."""
        request = ua.BrowseNextRequest()
        request.Parameters.ReleaseContinuationPoints = release
        request.Parameters.ContinuationPoints = list(points)
        with _asked_for_many("browse"):
            body = await self._session.ask(request, _MANY_NODES_S)
            found = decode_browse(body, indices)
            return found if release else _as_many(found, points)

    async def read(self, wanted: Sequence[tuple[bytes, int]]) -> list[Attribute]:
        """Attributes of many nodes, given as (key of `browse_wire.py`, number)."""
        with _asked_for_many("read attributes"):
            body = await self._session.ask(read_request(wanted), _MANY_NODES_S)
            return _as_many(decode_read(body), wanted)


def _as_many(answers: list[_Many], asked: Sequence[object]) -> list[_Many]:
    if len(answers) != len(asked):
        raise SessionLost(f"the server gives {len(answers)} answers to {len(asked)} questions")
    return answers


@contextmanager
def _asked_for_many(doing: str) -> Iterator[None]:
    with translated(doing):
        try:
            yield
        except (ua.uaerrors.BadTooManyOperations, *TOO_LARGE) as error:
            raise TooManyOperations(f"cannot {doing}: {error}") from error
