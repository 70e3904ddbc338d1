"""The last value of nodes that do not change, to be repeated so that "no change" is not taken
for "no data". Pure; called by deliveries.py for each message, where a source has `heartbeat_s`.

It has no timer: what is due is given when the server was just heard, by a message or a keep-alive,
so a server that is gone or stands still has nothing repeated in its name. Costs per message: a few
operations on arrays of all nodes, and what is repeated, which is bounded.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aurelian.edge.columns import NO_TIME, Numbers
from aurelian.edge.fast_lane import from_bits, to_bits
from aurelian.model.sample import Flag, ValueType
from aurelian.model.time import SECOND_US
from opcua_gateway.decode.notifications import Published
from opcua_gateway.mapping import (
    BAD_NODE_ID_INVALID,
    BAD_NODE_ID_UNKNOWN,
    NO_COMMUNICATION,
    Notification,
)

MOST_AT_ONCE, MOST_A_SECOND = 1000, 2000
"""Repeats with one message, and in a second: those that are due longest; the others follow. Each
costs some 45 us up to the outbox."""

_CODE = np.uint32(0xFFFF0000)
_NOT_KNOWN = np.array((*NO_COMMUNICATION, BAD_NODE_ID_INVALID, BAD_NODE_ID_UNKNOWN), np.uint32)
_NEVER = int(np.iinfo(np.int64).max)
_OTHER = 255  # no number: kept whole


class Repeats:
    """Remembers the last value of each node that has a heartbeat.

    A node's value is known from its first notification in a session on, and no more when messages
    were lost, its status says that nobody reads it, or the server refuses it.

    Args:
        every_s: by handle, seconds; 0: it has no heartbeat.
    """

    def __init__(self, every_s: Sequence[float]) -> None:
        self._every = np.array([round(each * SECOND_US) for each in every_s], np.int64)
        self._wanted = self._every > 0
        n = len(self._every)
        self._due = np.full(n, _NEVER, np.int64)  # _NEVER: its value is not known
        self._kind = np.zeros(n, np.uint8)
        self._bits = np.zeros(n, np.uint64)
        self._status = np.zeros(n, np.uint32)
        self._flags = np.zeros(n, np.uint32)
        self._source_time = np.full(n, NO_TIME, np.int64)
        self._server_time = np.full(n, NO_TIME, np.int64)
        self._others: dict[int, Notification] = {}
        self._last_us = 0
        self._second, self._room = 0, MOST_A_SECOND

    def take(self, published: Published, at: int, initial: NDArray[np.bool_]) -> None:
        """Take a message's values; `at`: microseconds since 1970; `initial`: (nodes,) whose value
        is the first of a session."""
        if at < self._last_us:  # our clock was set back: what was due then must not wait for it
            known = self._due != _NEVER
            self._due[known] = np.minimum(self._due[known], at + self._every[known])
        self._last_us = at
        n = len(self._due)
        for numbers in published.numbers:
            self._take_numbers(numbers)
        for each, place in zip(published.others, published.other_places, strict=True):
            if each.handle < n and self._wanted[each.handle]:
                later = (x.place[x.handle == each.handle] > place for x in published.numbers)
                if not any(places.any() for places in later):
                    self._others[each.handle] = each
                    self._kind[each.handle] = _OTHER
                    self._flags[each.handle] = each.flags
        handles, statuses, _ = published.heads()
        mine = handles < n
        mine[mine] = self._wanted[handles[mine]]
        handles, statuses = handles[mine], statuses[mine]
        self._due[handles] = at + self._every[handles]
        self._flags[handles[initial[handles]]] |= np.uint32(Flag.INITIAL)
        if statuses.any():
            self._due[handles[np.isin(statuses & _CODE, _NOT_KNOWN)]] = _NEVER

    def forget(self, handles: Sequence[int] | None = None) -> None:
        """The values of some nodes are not known any more; None: of all."""
        if handles is None:
            self._due[:] = _NEVER
        else:
            self._due[list(handles)] = _NEVER

    def resume(self, at: int) -> None:
        """The session is back, and what its queues have comes first."""
        known = self._due != _NEVER
        self._due[known] = at + self._every[known]

    def take_due(self, at: int) -> list[Notification]:
        """The values to repeat now, with the times that they came with; at most `MOST_AT_ONCE`."""
        if at < self._due.min(initial=_NEVER):
            return []
        if at // SECOND_US != self._second:
            self._second, self._room = at // SECOND_US, MOST_A_SECOND
        due, most = np.flatnonzero(self._due <= at), min(MOST_AT_ONCE, self._room)
        if len(due) > most:
            due = due[np.argpartition(self._due[due], most)[:most]]
        self._room -= len(due)
        self._due[due] = at + self._every[due]
        return [self._notification(handle) for handle in due.tolist()]

    def _take_numbers(self, numbers: Numbers) -> None:
        mine = numbers.handle < len(self._due)
        mine[mine] = self._wanted[numbers.handle[mine]]
        if not mine.any():
            return
        chosen = numbers.take(mine)
        handles = chosen.handle
        # Of a node that is there more than once the last value stays.
        self._kind[handles] = chosen.type
        self._bits[handles] = to_bits(chosen.values)
        self._status[handles] = chosen.status
        self._source_time[handles] = chosen.source_time
        self._server_time[handles] = chosen.server_time
        self._flags[handles] = 0 if chosen.flags is None else chosen.flags

    def _notification(self, handle: int) -> Notification:
        flags = Flag(int(self._flags[handle])) | Flag.HEARTBEAT
        kind = int(self._kind[handle])
        if kind == _OTHER:
            return self._others[handle]._replace(flags=flags)
        return Notification(
            handle,
            from_bits(self._bits[handle], ValueType(kind)),
            ValueType(kind),
            int(self._status[handle]),
            _given(int(self._source_time[handle])),
            _given(int(self._server_time[handle])),
            flags,
        )


def _given(us: int) -> int | None:
    return None if us == NO_TIME else us
