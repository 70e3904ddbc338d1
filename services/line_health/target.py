"""What a line should be in by all that is known: its constraint unit's state, the calendar, stop
reasons and its neighbours. Pure; called by line.py."""

from __future__ import annotations

import math
from collections.abc import Callable

from aurelian.model.calendar import ShiftSpan
from aurelian.model.machine_states import Activity, MachineState, Unknown, read_state
from aurelian.model.plant_parts import LineState, Role, StopReason
from aurelian.model.time import SECOND_US, to_datetime
from line_health.line_status import OWN, WAITING, LineStatus, Target
from line_health.plant import LineInfo, UnitInfo
from line_health.states import starved_or_blocked

SHORT_STOP_S = 120
"""A stop up to this long is a short stop: a small loss that nobody has to give a reason for."""

_SHORT_STOP_US = SHORT_STOP_S * SECOND_US


def find_target(
    line: LineInfo, status: LineStatus, at: int, find_shift: Callable[[int], ShiftSpan | None]
) -> Target:
    """The state that all that is known at `at` (microseconds) asks for; `find_shift` gives the
    shift that runs at a time."""
    constraint = line.constraint.id
    doubt = status.doubts.get(line.by_role.get((constraint, Role.STATE), ""))
    if doubt is not None:
        return Target(LineState.NO_DATA, constraint, doubt[0])
    if status.silent:
        return Target(LineState.NO_DATA, constraint, status.mute or "the machine is silent")
    machine = machine_state(line, status, constraint)
    if machine is None:
        return Target(LineState.NO_DATA, constraint, "no usable state signal")
    if isinstance(machine, Unknown):
        said = f"{machine.text}: {_next_step(line, machine)}"
        return Target(LineState.NO_DATA, constraint, said)
    if machine.line is LineState.NO_DATA:
        return Target(LineState.NO_DATA, constraint, f"machine {machine.name}")
    if machine.produces:
        slow = status.slow or machine.line is LineState.SLOW
        return Target(LineState.SLOW if slow else LineState.RUNNING, constraint)
    shift = find_shift(at)
    if shift is None or shift.in_break(to_datetime(at)):
        return Target(LineState.PLANNED, None, "outside the shifts" if shift is None else "break")
    known = stop_reason(line, status, constraint)
    number = known.code if known is not None else None
    name = known.name if known is not None else f"machine {machine.name}"
    if known is not None and known.loss in ("planned", "setup"):
        state = LineState.PLANNED if known.loss == "planned" else LineState.SETUP
        return Target(state, constraint, name, number, OWN)
    if machine.activity is Activity.DECLARED:
        return Target(machine.line, constraint, name, number, OWN)
    if machine.waits:
        return _waiting(line, status, machine, name if known is not None else "", number)
    present = status.present
    stopped_since = present.since if present is not None and present.cause == OWN else at
    long = at - stopped_since >= _SHORT_STOP_US
    return Target(LineState.DOWN if long else LineState.SHORT_STOP, constraint, name, number, OWN)


def _waiting(
    line: LineInfo, status: LineStatus, machine: MachineState, reason: str, code: int | None
) -> Target:
    """Why the constraint waits, and for which machine: the first in the flow that stands for a
    cause of its own, else its neighbour."""
    behind, ahead = _standing(line, status, 1), _standing(line, status, -1)
    if machine.line is LineState.BLOCKED:
        state = LineState.BLOCKED
    elif machine.activity is Activity.WAITS and machine.name == "starved":
        state = LineState.STARVED
    else:
        waiting_here = value_of(line, status, line.constraint.id, Role.BUFFER)
        state = starved_or_blocked(
            downstream=behind[1] if behind is not None else None,
            waiting_here=float(waiting_here) if isinstance(waiting_here, int | float) else None,
        )
    blocked = state is LineState.BLOCKED
    cause, next_to_it = (behind, line.neighbour(1)) if blocked else (ahead, line.neighbour(-1))
    text = "no room at" if blocked else "no parts from"
    if cause is not None:
        unit, standing = cause
        why = _reason(line, status, unit.id) or f"machine {standing.name}"
        return Target(state, unit.id, f"{text} {unit.title}: {why}", code, WAITING)
    if next_to_it is None:
        where = "the next line" if blocked else "outside the line"
        return Target(state, None, reason or f"{text} {where}", code, WAITING)
    return Target(state, next_to_it.id, reason or f"{text} {next_to_it.title}", code, WAITING)


def _standing(
    line: LineInfo, status: LineStatus, step: int
) -> tuple[UnitInfo, MachineState] | None:
    """The first machine from the constraint on that stands for a cause of its own, where all
    between wait as well."""
    place = step
    while (unit := line.neighbour(place)) is not None:
        state = known_state(line, status, unit.id)
        if state is None or state.produces:
            return None
        if not state.waits:
            return None if state.lacks_parts else (unit, state)
        place += step
    return None


def _reason(line: LineInfo, status: LineStatus, unit: str) -> str:
    """The name of the stop reason that a unit gives; empty: none that is known."""
    known = stop_reason(line, status, unit)
    return known.name if known is not None else ""


def stop_reason(line: LineInfo, status: LineStatus, unit: str) -> StopReason | None:
    """The stop reason that a unit gives; None: none that the plant model knows."""
    code = value_of(line, status, unit, Role.STOP_REASON)
    if not isinstance(code, int | float) or not math.isfinite(code):
        return None
    return line.stop_reasons.get(int(code))


def value_of(line: LineInfo, status: LineStatus, unit: str, role: Role) -> float | str | None:
    """The newest value of a unit's signal with a role; None: none, or Bad."""
    return status.values.get(line.by_role.get((unit, role), ""))


def machine_state(line: LineInfo, status: LineStatus, unit: str) -> MachineState | Unknown | None:
    """What a unit's newest state value means in its vocabulary; None: no usable value."""
    signal = line.signals.get(line.by_role.get((unit, Role.STATE), ""))
    value = status.values.get(signal.id) if signal is not None else None
    return None if signal is None or value is None else read_state(signal.states, value)


def _next_step(line: LineInfo, unknown: Unknown) -> str:
    """What makes a value of the line's state known."""
    signal = line.signals[line.by_role[line.constraint.id, Role.STATE]]
    if isinstance(signal.states, str):  # the vocabulary has no room for it
        return f"say what it means under `states` of {signal.name} in the plant file"
    value = str(unknown.value)[:40]
    return f"add {value} under `states` of {signal.name} in the plant file"


def known_state(line: LineInfo, status: LineStatus, unit: str) -> MachineState | None:
    """Its state, where the vocabulary knows it."""
    state = machine_state(line, status, unit)
    return state if isinstance(state, MachineState) else None
