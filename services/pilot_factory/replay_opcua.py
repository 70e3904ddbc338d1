"""A recording behind an OPC UA server that loses nothing: rows wait until clients have acknowledged
them. Called by `replay.py`.

A server's queue of a monitored item has a limit, beyond which it drops values. So rows are written
in portions that fit the queues, each when the one before has left them; and what a client had not
acknowledged before it came back with a new subscription is written again. Reads asyncua's own
subscription records, which have no public face.
"""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass

from asyncua import ua
from asyncua.server.internal_subscription import InternalSubscription

from pilot_factory.opcua_server import Node, OpcuaServer, data_value
from pilot_factory.recording import NAMESPACE, UNIT, Recording, Row, node_id
from pilot_factory.sendlog import SendLog

POLL_S = 0.01
_UNACKNOWLEDGED = 8
"""Portions on their way; the server keeps their messages until they are acknowledged."""


@dataclass(slots=True)
class Portion:
    """Rows `first` to `end` (not included) on their way.

    Attributes:
        up_to: by subscription, the number after the last message that carries them; None: not all
            sent yet.
    """

    first: int
    end: int
    up_to: dict[int, int] | None = None


async def serve_recording(
    recording: Recording,
    due: Callable[[int], int],
    host: str,
    port: int,
    sent: SendLog | None,
    tell: Callable[[str], None],
) -> None:
    """Serve until a client has acknowledged every row.

    Args:
        recording: what to serve, one node per column.
        due: index after the last row that is due, given the index of the next one.
        host, port: where to listen.
        sent: log of what was sent.
        tell: is given sentences about the progress.

    Raises:
        OSError: the port is taken.
    """
    nodes = [Node(UNIT, node_id(column), column.name, column.type) for column in recording.columns]
    server = OpcuaServer(host, port, NAMESPACE, nodes)
    # A client reads a node's value when it subscribes: let it be the first that was recorded, not
    # an invented one.
    await server.start(_first_values(recording))
    try:
        tell(
            f"waiting at opc.tcp://{host}:{port} for a client that subscribes to all {len(nodes)} "
            "nodes"
        )
        await _Sender(recording, server, sent).run(due)
    finally:
        await server.stop()


class _Sender:
    def __init__(self, recording: Recording, server: OpcuaServer, sent: SendLog | None) -> None:
        self._recording, self._server, self._sent = recording, server, sent
        self._noted = 0

    async def run(self, due: Callable[[int], int]) -> None:
        """Write all rows; return when all are acknowledged."""
        rows = self._recording.rows
        row = 0
        owners: dict[int, InternalSubscription] = {}
        on_their_way: deque[Portion] = deque()
        while row < len(rows) or on_their_way:
            found = self._owners()
            if found.keys() != owners.keys():
                # A client came anew: it may have missed what nobody acknowledged.
                row = on_their_way[0].first if on_their_way else row
                on_their_way.clear()
                owners = found
            if owners and not any(each._triggered_datachanges for each in owners.values()):
                self._settle(on_their_way, owners)
                end = min(due(row), row + self._portion(owners), len(rows))
                if end > row and len(on_their_way) < _UNACKNOWLEDGED:
                    for each in rows[row:end]:
                        await self._write(each)
                    self._note(end)
                    on_their_way.append(Portion(row, end))
                    row = end
                    await asyncio.sleep(0)
                    continue
            await asyncio.sleep(POLL_S)

    def _settle(
        self, on_their_way: deque[Portion], owners: dict[int, InternalSubscription]
    ) -> None:
        """The queues are empty: everything written is in messages. Forget the portions whose
        messages are acknowledged."""
        if on_their_way and on_their_way[-1].up_to is None:
            on_their_way[-1].up_to = {
                number: each._notification_seq for number, each in owners.items()
            }
        while on_their_way and (up_to := on_their_way[0].up_to) is not None:
            waiting = any(
                message < up_to[number]
                for number, each in owners.items()
                for message in each._not_acknowledged_results
            )
            if waiting:
                return
            on_their_way.popleft()

    def _owners(self) -> dict[int, InternalSubscription]:
        """The newest subscription of each node, by its number; empty: not all nodes are subscribed
        to."""
        newest: dict[ua.NodeId, int] = {}
        subscriptions = self._server.server.iserver.subscription_service.subscriptions
        for number, each in sorted(subscriptions.items()):
            for item in each.monitored_item_srv._monitored_items.values():
                if item.read_value_id.AttributeId == ua.AttributeIds.Value:
                    newest[item.read_value_id.NodeId] = number
        wanted = self._server.node_ids()
        if not all(each in newest for each in wanted):
            return {}
        return {number: subscriptions[number] for number in {newest[each] for each in wanted}}

    def _portion(self, owners: dict[int, InternalSubscription]) -> int:
        """How many rows fit every queue, and a message of at most 20,000 values."""
        smallest: int = min(
            item.queue_size
            for each in owners.values()
            for item in each.monitored_item_srv._monitored_items.values()
            if item.read_value_id.AttributeId == ua.AttributeIds.Value
        )
        return max(1, min(smallest, 20_000 // len(self._recording.columns)))

    async def _write(self, row: Row) -> None:
        for column, value, status in row.values:
            await self._server.write(
                node_id(column), data_value(column.type, value, row.time, status)
            )

    def _note(self, end: int) -> None:
        """Log rows when they are written for the first time."""
        for row in self._recording.rows[self._noted : end]:
            for column, value, status in row.values:
                if self._sent is not None:
                    self._sent.write(
                        self._recording.path(column), column.type, value, row.time, status
                    )
        self._noted = max(self._noted, end)


def _first_values(recording: Recording) -> list[tuple[str, ua.DataValue]]:
    first: dict[str, ua.DataValue] = {}
    for row in recording.rows:
        for column, value, status in row.values:
            first.setdefault(node_id(column), data_value(column.type, value, row.time, status))
        if len(first) == len(recording.columns):
            break
    return list(first.items())
