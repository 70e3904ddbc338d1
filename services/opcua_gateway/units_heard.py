"""Which units a server hears: what its statuses say of the machines behind it. Pure; used by
deliveries.py."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from aurelian.model.evidence import UNCERTAIN_INITIAL, UNCERTAIN_LAST_USABLE
from aurelian.model.status_codes import STATUS_CODES
from opcua_gateway.mapping import BAD_NODE_ID_INVALID, BAD_NODE_ID_UNKNOWN, NO_COMMUNICATION, Tag

_NOBODY_READS_IT = (
    *NO_COMMUNICATION,
    BAD_NODE_ID_INVALID,
    BAD_NODE_ID_UNKNOWN,
    UNCERTAIN_LAST_USABLE,
    UNCERTAIN_INITIAL,
    STATUS_CODES["BadTimeout"],
    STATUS_CODES["BadServerNotConnected"],
    STATUS_CODES["BadWaitingForInitialData"],
    STATUS_CODES["BadDisconnect"],
    STATUS_CODES["BadConnectionClosed"],
)
"""Status of a value that was not read from its machine just now."""


class UnitsHeard:
    """Which units a server really hears: one is silent whose every node it does not give, or gives
    with a status that says that nobody reads it.

    A server may stand in front of many machines; its own keep-alive says nothing of a machine whose
    cable is out.
    """

    def __init__(self, tags: Sequence[Tag]) -> None:
        self._ids = list(dict.fromkeys(tag.unit.id for tag in tags))
        index = {unit: n for n, unit in enumerate(self._ids)}
        self._unit = np.array([index[tag.unit.id] for tag in tags], np.int64)
        self._nodes = np.bincount(self._unit, minlength=len(index))
        self._silent_nodes = np.zeros(len(tags), np.bool_)
        self._silent = np.zeros(len(index), np.bool_)
        self.changes = 0
        """How often a unit fell silent or was heard again."""

    @property
    def silent_nodes(self) -> tuple[int, ...]:
        """Handles of the nodes that nobody reads."""
        return tuple(np.flatnonzero(self._silent_nodes).tolist())

    @property
    def heard(self) -> list[str]:
        """Ids of the units that are heard."""
        return self._names(~self._silent)

    @property
    def silent(self) -> list[str]:
        """Ids of the units that are silent."""
        return self._names(self._silent)

    @property
    def all_heard(self) -> bool:
        """True while no unit is silent."""
        return not self._silent.any()

    def update(
        self, handles: NDArray[np.uint32], statuses: NDArray[np.uint32]
    ) -> tuple[list[str], list[str]]:
        """Take new statuses, (n,) each, in order; return the units that fell silent and those that
        are heard again."""
        silent = np.zeros(len(handles), np.bool_)
        if statuses.any():
            silent = np.isin(statuses & np.uint32(0xFFFF0000), _NOBODY_READS_IT)
        return self._update(handles, silent)

    def refused(self, handles: Sequence[int]) -> list[str]:
        """The server does not give these nodes; the units that fell silent."""
        known = np.array([n for n in handles if n < len(self._silent_nodes)], np.uint32)
        return self._update(known, np.ones(len(known), np.bool_))[0]

    def _update(
        self, handles: NDArray[np.uint32], silent: NDArray[np.bool_]
    ) -> tuple[list[str], list[str]]:
        if (self._silent_nodes[handles] == silent).all():
            return [], []
        self._silent_nodes[handles] = silent  # of a node that is there twice the last one counts
        counts = np.bincount(self._unit[self._silent_nodes], minlength=len(self._ids))
        before, self._silent = self._silent, counts == self._nodes
        self.changes += not np.array_equal(before, self._silent)
        return self._names(self._silent & ~before), self._names(before & ~self._silent)

    def _names(self, chosen: NDArray[np.bool_]) -> list[str]:
        return [self._ids[n] for n in np.flatnonzero(chosen).tolist()]
