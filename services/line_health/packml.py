"""From a unit's PackML state to the state of its line. Pure; called by line.py."""

from __future__ import annotations

from enum import IntEnum

from aurelian.model.plant_parts import LineState


class PackMl(IntEnum):
    """States of OPC 30050."""

    STOPPED = 0
    RESETTING = 1
    IDLE = 2
    STARTING = 3
    EXECUTE = 4
    COMPLETING = 5
    COMPLETE = 6
    ABORTING = 7
    ABORTED = 8
    STOPPING = 9
    CLEARING = 10
    SUSPENDING = 11
    SUSPENDED = 12
    UNSUSPENDING = 13
    HOLDING = 14
    HELD = 15
    UNHOLDING = 16

    @property
    def produces(self) -> bool:
        """The unit is at work, or runs up to it or out of it."""
        return self in _PRODUCING

    @property
    def waits(self) -> bool:
        """It could work, but has no parts or no room: an external cause."""
        return self in _WAITING


_PRODUCING = frozenset({PackMl.STARTING, PackMl.EXECUTE, PackMl.COMPLETING})
_WAITING = frozenset({PackMl.SUSPENDING, PackMl.SUSPENDED, PackMl.UNSUSPENDING})

STOP_STATES = frozenset(
    {LineState.SHORT_STOP, LineState.DOWN, LineState.SETUP, LineState.STARVED, LineState.BLOCKED}
)
"""Line states that are a stop with a reason: not producing, though planned to, and heard."""

PRODUCING_STATES = frozenset({LineState.RUNNING, LineState.SLOW})
"""Line states in which actual production time (APT) passes."""


def read_state(value: object) -> PackMl | None:
    """A machine's value as a PackML state: its number, or its name in any spelling; None when it is
    neither."""
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return PackMl(int(value)) if value in PackMl._value2member_map_ else None
    if isinstance(value, str):
        return PackMl.__members__.get(value.strip().upper())
    return None


def starved_or_blocked(*, downstream: PackMl | None, waiting_here: float | None) -> LineState:
    """Why the constraint waits: no room after it, else no parts before it.

    Args:
        downstream: state of the next unit in the flow; None: unknown, or the line ends here.
        waiting_here: pieces before the constraint; None: not measured.
    """
    if waiting_here is not None and waiting_here > 0:
        return LineState.BLOCKED
    if downstream is not None and not downstream.produces and not _lacks_parts(downstream):
        return LineState.BLOCKED
    return LineState.STARVED


def _lacks_parts(state: PackMl) -> bool:
    return state.waits or state in (PackMl.IDLE, PackMl.COMPLETE)
