"""What a line should be in by all that is known: its constraint unit's state, the calendar, stop
reasons and its neighbours. Pure; called by line.py."""

from __future__ import annotations

from collections.abc import Callable

from aurelian.model.calendar import ShiftSpan
from aurelian.model.packml import PackMl
from aurelian.model.plant_parts import LineState, Role
from aurelian.model.time import SECOND_US, to_datetime
from line_health.line_status import OWN, WAITING, LineStatus, Target
from line_health.plant import LineInfo
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
    if status.silent:
        return Target(LineState.NO_DATA, constraint, "the machine is silent")
    packml = _packml(line, status, constraint)
    if packml is None:
        return Target(LineState.NO_DATA, constraint, "no usable state signal")
    if packml.produces:
        return Target(LineState.SLOW if status.slow else LineState.RUNNING, constraint)
    shift = find_shift(at)
    if shift is None or shift.in_break(to_datetime(at)):
        return Target(LineState.PLANNED, None, "outside the shifts" if shift is None else "break")
    code = value_of(line, status, constraint, Role.STOP_REASON)
    known = line.stop_reasons.get(int(code)) if isinstance(code, int | float) else None
    number = known.code if known is not None else None
    name = known.name if known is not None else f"machine {packml.name.lower()}"
    if known is not None and known.loss in ("planned", "setup"):
        state = LineState.PLANNED if known.loss == "planned" else LineState.SETUP
        return Target(state, constraint, name, number, OWN)
    if packml.waits:
        return _waiting(line, status, name if known is not None else "", number)
    present = status.present
    stopped_since = present.since if present is not None and present.cause == OWN else at
    long = at - stopped_since >= _SHORT_STOP_US
    return Target(LineState.DOWN if long else LineState.SHORT_STOP, constraint, name, number, OWN)


def _waiting(line: LineInfo, status: LineStatus, reason: str, code: int | None) -> Target:
    before, after = line.neighbour(-1), line.neighbour(1)
    waiting_here = value_of(line, status, line.constraint.id, Role.BUFFER)
    state = starved_or_blocked(
        downstream=_packml(line, status, after.id) if after is not None else None,
        waiting_here=float(waiting_here) if isinstance(waiting_here, int | float) else None,
    )
    unit = after if state is LineState.BLOCKED else before
    where = (
        unit.title
        if unit is not None
        else "the next line"
        if before is unit
        else "outside the line"
    )
    text = reason or (
        f"no room at {where}" if state is LineState.BLOCKED else f"no parts from {where}"
    )
    return Target(state, unit.id if unit is not None else None, text, code, WAITING)


def value_of(line: LineInfo, status: LineStatus, unit: str, role: Role) -> float | str | None:
    """The newest value of a unit's signal with a role; None: none, or Bad."""
    return status.values.get(line.by_role.get((unit, role), ""))


def _packml(line: LineInfo, status: LineStatus, unit: str) -> PackMl | None:
    number = value_of(line, status, unit, Role.STATE)
    return PackMl(int(number)) if isinstance(number, int | float) else None
