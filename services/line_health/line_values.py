"""What a line keeps of its values: states and their doubts, reasons, counts, cycles. Pure; called
by line.py."""

from __future__ import annotations

import math
from statistics import median

from aurelian.model.machine_states import Unknown, read_state
from aurelian.model.plant_parts import Role
from line_health.counter import Total, follow
from line_health.line_status import LineStatus, Reading
from line_health.metrics import HELD_TOTALS, UNKNOWN_STATES
from line_health.plant import LineInfo, SignalInfo
from line_health.target import value_of

SLOW_AT, FAST_AGAIN_AT = 1.15, 1.10
"""Median cycle over ideal cycle from which a line is slow, and below which it is no longer."""

_CYCLES, _FEWEST_CYCLES = 5, 3
_LONGEST_TEXT = 200


def remember(line: LineInfo, status: LineStatus, reading: Reading) -> bool:
    """Keep a value; True when the state of the line may follow from it."""
    signal, value = reading.signal, reading.value
    match signal.role:
        case Role.GOOD_COUNT | Role.SCRAP_COUNT:
            total = _number(value)
            if signal.unit == line.output.id and total is not None and total >= 0:
                _count(line, status, signal, total, reading.at)
            return False
        case Role.CYCLE_TIME:
            cycle_s = _number(value)
            if signal.unit != line.constraint.id or cycle_s is None or cycle_s <= 0:
                return False
            status.cycles = [*status.cycles[1 - _CYCLES :], cycle_s]
            ratio = median(status.cycles) / ideal_cycle_s(line, status)
            limit = FAST_AGAIN_AT if status.slow else SLOW_AT
            status.slow = len(status.cycles) >= _FEWEST_CYCLES and ratio > limit
            return True
        case Role.STATE:
            return _remember_state(status, reading)
        case Role.STOP_REASON | Role.BUFFER | Role.PRODUCT:
            status.values[signal.id] = _kept(value)
            return signal.role != Role.PRODUCT
        case _:
            return False


def ideal_cycle_s(line: LineInfo, status: LineStatus) -> float:
    """Planned run time per item (ISO 22400 PRI) of the product that the line makes now."""
    product = value_of(line, status, line.constraint.id, Role.PRODUCT)
    return line.product(product if isinstance(product, str) else None).ideal_cycle_s


def _remember_state(status: LineStatus, reading: Reading) -> bool:
    """Keep a state, or why it is not known. A doubt ends with a value that vouches for its machine
    and was received after what raised it."""
    signal, value = reading.signal, reading.value
    known = status.doubts.get(signal.id)
    if known is not None and (not reading.vouches or reading.received < known[1]):
        if reading.doubt:
            status.doubts[signal.id] = reading.doubt, max(reading.received, known[1])
        return bool(reading.doubt)
    status.state_received[signal.id] = reading.received
    if reading.doubt:
        status.doubts[signal.id] = reading.doubt, reading.received
    else:
        status.doubts.pop(signal.id, None)
    status.values[signal.id] = _kept(value)
    if value is not None and isinstance(read_state(signal.states, value), Unknown):
        UNKNOWN_STATES.inc()
    return True


def _count(line: LineInfo, status: LineStatus, signal: SignalInfo, total: float, at: int) -> None:
    shift = status.shift
    counter = status.totals.get(signal.id)
    if counter is None:
        status.totals[signal.id] = Total(total, at)
        if shift is not None and at > shift.start:
            shift.counted_from = max(shift.counted_from, at)
            shift.firsts[signal.id] = [total, at]
        return
    known_at, cycle_s = counter.at, ideal_cycle_s(line, status)
    made = follow(counter, total, at, cycle_s, signal.wraps_at)
    if counter.held is not None:
        HELD_TOTALS.inc()
    if shift is not None and made:
        bridged = status.silent or known_at < status.silent_until
        shift.add_pieces(made, signal.role is Role.SCRAP_COUNT, cycle_s, bridged)


def _number(value: object) -> float | None:
    """A finite number; None: it is none."""
    if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value):
        return float(value)
    return None


def _kept(value: object) -> float | str | None:
    """A value as it can be saved: no text without end, no number that JSON does not have."""
    if isinstance(value, str):
        return value[:_LONGEST_TEXT]
    return value if isinstance(value, int | float) and math.isfinite(value) else None
