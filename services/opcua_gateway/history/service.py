"""HistoryRead and what belongs to it, in a session; called by read_back.py."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from asyncua import ua
from asyncua.ua.ua_binary import struct_from_binary

from aurelian.model.time import to_nearest_datetime
from opcua_gateway.decode.variants import UNREADABLE
from opcua_gateway.history.decoder import NodeHistory, decode_history
from opcua_gateway.session import Session, SessionLost

TIMEOUT_S = 30.0
"""Of a HistoryRead: a server may have to look for it on disks."""

_LARGE = 100_000
"""Bytes of a response from which on it is decoded in a thread."""

_END_US = 1000
"""Servers that count milliseconds cut the end of a span."""


class HistoryRefused(Exception):
    """The server does not give of its history what was asked for, or not in time; the session may
    be well.

    Attributes:
        code: its status code; 0: none, as where the connection went away.
    """

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(reason)
        self.code = code


class HistoryService:
    """The history of a server. Every method raises HistoryRefused where the whole request fails,
    and nothing else."""

    def __init__(self, session: Session) -> None:
        self._session = session

    async def read_access_levels(self, nodes: Sequence[str], per_call: int) -> list[int]:
        """The AccessLevel of each node, 0 where it cannot be read."""
        levels: list[int] = []
        for start in range(0, len(nodes), per_call):
            request = ua.ReadRequest()
            request.Parameters.NodesToRead = [
                ua.ReadValueId(
                    NodeId=ua.NodeId.from_string(node), AttributeId=ua.AttributeIds.AccessLevel
                )
                for node in nodes[start : start + per_call]
            ]
            with _refused():
                body = await self._session.ask(request)
                response = struct_from_binary(ua.ReadResponse, body)
                response.ResponseHeader.ServiceResult.check()
                for found in response.Results:
                    level = found.Value.Value if found.Value is not None else None
                    levels.append(level if isinstance(level, int) else 0)
        if len(levels) != len(nodes):
            raise HistoryRefused(0, f"{len(levels)} access levels of {len(nodes)} nodes")
        return levels

    async def read(
        self, span: tuple[int, int], nodes: Sequence[tuple[int, str, bytes]], most: int
    ) -> list[NodeHistory]:
        """Read raw values, or go on with it; a result for each node, in order.

        Args:
            span: microseconds since 1970; of all nodes.
            nodes: handle, node id and continuation point, empty at first.
            most: values of each node.
        """
        request = _make_request(nodes)
        details = ua.ReadRawModifiedDetails()
        details.IsReadModified = details.ReturnBounds = False
        details.StartTime = to_nearest_datetime(span[0])
        details.EndTime = to_nearest_datetime(span[1] + _END_US)
        details.NumValuesPerNode = most
        request.Parameters.HistoryReadDetails = details
        handles = [handle for handle, _, _ in nodes]
        with _refused():
            body = await self._session.ask(request, TIMEOUT_S)
            if len(body) > _LARGE:
                return await asyncio.to_thread(decode_history, body, handles, self._session.types)
            return decode_history(body, handles, self._session.types)

    async def release(self, nodes: Sequence[tuple[int, str, bytes]]) -> None:
        """Give continuation points back."""
        request = _make_request(nodes)
        request.Parameters.HistoryReadDetails = ua.ReadRawModifiedDetails(IsReadModified=False)
        request.Parameters.ReleaseContinuationPoints = True
        with _refused():
            await self._session.ask(request)


def _make_request(nodes: Sequence[tuple[int, str, bytes]]) -> ua.HistoryReadRequest:
    request = ua.HistoryReadRequest()
    request.Parameters.TimestampsToReturn = ua.TimestampsToReturn.Both
    request.Parameters.ReleaseContinuationPoints = False
    request.Parameters.NodesToRead = [
        ua.HistoryReadValueId(NodeId=ua.NodeId.from_string(node), ContinuationPoint=point or None)
        for _, node, point in nodes
    ]
    return request


@contextmanager
def _refused() -> Iterator[None]:
    """Turn whatever comes of a request into HistoryRefused: Publish says by itself whether the
    session is lost."""
    try:
        yield
    except ua.UaStatusCodeError as error:
        raise HistoryRefused(error.code, f"{error} (0x{error.code:08X})") from error
    except (OSError, TimeoutError, SessionLost, *UNREADABLE) as error:
        raise HistoryRefused(0, str(error) or type(error).__name__) from error
