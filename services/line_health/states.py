"""From states of machines to the state of their line. Pure; called by target.py, line.py and
shift.py."""

from __future__ import annotations

from aurelian.model.machine_states import MachineState
from aurelian.model.plant_parts import LineState

STOP_STATES = frozenset(
    {LineState.SHORT_STOP, LineState.DOWN, LineState.SETUP, LineState.STARVED, LineState.BLOCKED}
)
"""Line states that are a stop with a reason: not producing, though planned to, and heard."""

PRODUCING_STATES = frozenset({LineState.RUNNING, LineState.SLOW})
"""Line states in which actual production time (APT) passes."""


def starved_or_blocked(*, downstream: MachineState | None, waiting_here: float | None) -> LineState:
    """Why the constraint waits: no room after it, else no parts before it.

    Args:
        downstream: state of the next unit in the flow; None: unknown, or the line ends here.
        waiting_here: pieces before the constraint; None: not measured.
    """
    if waiting_here is not None and waiting_here > 0:
        return LineState.BLOCKED
    if downstream is not None and not downstream.produces and not downstream.lacks_parts:
        return LineState.BLOCKED
    return LineState.STARVED
