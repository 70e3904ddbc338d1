"""PackML: state numbers, their names, and what each means for a machine and its line. Pure.

The one home of these numbers: line_health, maintenance, dashboard and pilot_factory take them from
here.
"""

from __future__ import annotations

from enum import IntEnum
from typing import NamedTuple

from aurelian.model.plant_parts import LineState


class PackMl(IntEnum):
    """State numbers that a machine's state signal reports."""

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

    @property
    def lacks_parts(self) -> bool:
        """It waits for parts, or has none left to work on."""
        return self in _WAITING or self in (PackMl.IDLE, PackMl.COMPLETE)

    @property
    def shown(self) -> ShownState:
        """How a machine in this state is shown."""
        return _SHOWN[self]


class ShownState(NamedTuple):
    """A machine's state in the vocabulary of lines, and the word for people."""

    state: LineState
    word: str


_PRODUCING = frozenset({PackMl.STARTING, PackMl.EXECUTE, PackMl.COMPLETING})
_WAITING = frozenset({PackMl.SUSPENDING, PackMl.SUSPENDED, PackMl.UNSUSPENDING})

_SHOWN = {
    PackMl.STOPPED: ShownState(LineState.DOWN, "Stopped"),
    PackMl.RESETTING: ShownState(LineState.SETUP, "Resetting"),
    PackMl.IDLE: ShownState(LineState.PLANNED, "Idle"),
    PackMl.STARTING: ShownState(LineState.RUNNING, "Starting"),
    PackMl.EXECUTE: ShownState(LineState.RUNNING, "Running"),
    PackMl.COMPLETING: ShownState(LineState.RUNNING, "Completing"),
    PackMl.COMPLETE: ShownState(LineState.PLANNED, "Complete"),
    PackMl.ABORTING: ShownState(LineState.DOWN, "Aborting"),
    PackMl.ABORTED: ShownState(LineState.DOWN, "Aborted"),
    PackMl.STOPPING: ShownState(LineState.DOWN, "Stopping"),
    PackMl.CLEARING: ShownState(LineState.DOWN, "Clearing"),
    PackMl.SUSPENDING: ShownState(LineState.STARVED, "Waiting"),
    PackMl.SUSPENDED: ShownState(LineState.STARVED, "Waiting"),
    PackMl.UNSUSPENDING: ShownState(LineState.STARVED, "Waiting"),
    PackMl.HOLDING: ShownState(LineState.SHORT_STOP, "Holding"),
    PackMl.HELD: ShownState(LineState.SHORT_STOP, "Held"),
    PackMl.UNHOLDING: ShownState(LineState.SHORT_STOP, "Unholding"),
}


def read_state(value: object) -> PackMl | None:
    """Read a machine's value as a PackML state: its number, or its name in any spelling.

    Returns None when it is neither.
    """
    if isinstance(value, bool) or value is None:
        return None
    if isinstance(value, int | float):
        return PackMl(int(value)) if value in PackMl._value2member_map_ else None
    if isinstance(value, str):
        return PackMl.__members__.get(value.strip().upper())
    return None
