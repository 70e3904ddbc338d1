"""What a batch of samples says of a line: who lives, values with a role, values with limits. Pure;
called by processor.py."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from aurelian.model.evidence import (
    STALE_S,
    STEADY_US,
    UNCERTAIN_INITIAL,
    UNCERTAIN_NO_COMMUNICATION,
    UNCERTAIN_SUBSTITUTE,
    MachineClock,
    time_is_refused,
    vouches,
)
from aurelian.model.plant_parts import Role
from aurelian.model.sample import BAD, Flag, SampleBatch
from aurelian.model.time import SECOND_US
from line_health.line_status import Reading
from line_health.plant import LineInfo, SignalInfo

_ROLES = frozenset(
    {
        Role.STATE,
        Role.GOOD_COUNT,
        Role.SCRAP_COUNT,
        Role.CYCLE_TIME,
        Role.STOP_REASON,
        Role.PRODUCT,
        Role.BUFFER,
    }
)
_NOTHING_NEW = int(Flag.HISTORICAL | Flag.HEARTBEAT)
_OLD = int(Flag.HISTORICAL | Flag.RETAINED)
_STALE_US = STALE_S * SECOND_US
_NO_COMMUNICATION = (0x80050000, 0x80310000, 0x808A0000, UNCERTAIN_NO_COMMUNICATION)


@dataclass(slots=True)
class SignalValues:
    """The usable values of one signal with limits in a batch, in the order of the batch."""

    info: SignalInfo
    times: list[int] = field(default_factory=list)
    values: list[float] = field(default_factory=list)


@dataclass(slots=True)
class BatchContent:
    """A batch, sorted. Times in microseconds by the gateway's clock.

    Attributes:
        first, last: of the values of the constraint unit that say that it lives; 0: none.
        mute: why its newest value does not say so; empty: it does, or there is none.
        readings: values with a role, in the order in which they count.
        limited: values with limits, by signal.
        clock_steps: how far the clock of a unit was found to be off from what was known.
    """

    first: int = 0
    last: int = 0
    mute: str = ""
    readings: list[Reading] = field(default_factory=list)
    limited: dict[str, SignalValues] = field(default_factory=dict)
    clock_steps: dict[str, int] = field(default_factory=dict)


def read_batch(line: LineInfo, clocks: dict[str, MachineClock], batch: SampleBatch) -> BatchContent:
    """Sort a batch. What is historical, a repeat, or of a signal that nobody declared says nothing
    of now.

    Args:
        line: of the batch.
        clocks: of its units, where off; is changed.
        batch: of the line.
    """
    content = BatchContent()
    if clocks or int((batch.gateway_time - batch.time).max(initial=0)) > STEADY_US:
        content.clock_steps = _learn_clocks(line, clocks, batch)
    # A loop, not arrays: a batch of a line has about ten samples, of which each array operation
    # would cost as much as the whole loop.
    wanted = [line.signals.get(signal.id) for signal in batch.signals]
    units = [line.unit_of.get(signal.id) for signal in batch.signals]
    constraint, readings = line.constraint.id, content.readings
    for index, time, received, source_time, value, status, flags in zip(
        batch.signal.tolist(),
        batch.time.tolist(),
        batch.gateway_time.tolist(),
        batch.source_time.tolist(),
        batch.values(),
        batch.status.tolist(),
        batch.flags.tolist(),
        strict=True,
    ):
        unit = units[index]
        if unit is None or flags & _NOTHING_NEW:
            continue
        alive = not (status or flags) or vouches(status, flags, source_time)
        if unit in clocks:
            at = clocks[unit].happened_at(time, received)
        else:
            at = time if time < received else received
        if unit == constraint:
            if not alive:
                content.mute = (
                    content.mute if flags & _OLD else doubt_of(status, flags, source_time, received)
                )
            elif received - at <= _STALE_US:
                content.first = min(content.first, at) if content.first else at
                content.last, content.mute = max(content.last, at), ""
        info = wanted[index]
        if info is None:
            continue
        if info.role in _ROLES:
            known = None if status & BAD else value
            doubt = ""
            if info.role is Role.STATE and not alive and not flags & _OLD:
                known, doubt = None, doubt_of(status, flags, source_time, received)
            readings.append(Reading(info, at, known, received, alive, doubt))
        if (
            info.limits is not None
            and (alive or vouches(status, 0, 0))
            and isinstance(value, int | float)
            and math.isfinite(value)
        ):
            of_signal = content.limited.get(info.id)
            if of_signal is None:
                of_signal = content.limited[info.id] = SignalValues(info)
            of_signal.times.append(at)
            of_signal.values.append(float(value))
    readings.sort(key=lambda reading: reading.at)
    return content


def doubt_of(status: int, flags: int, source_time: int, received: int) -> str:
    """Why a value is no sign of life, for people."""
    code = status & 0xFFFF0000
    if code in _NO_COMMUNICATION:
        return "no communication with the machine"
    if status & BAD:
        return "the value is of bad quality"
    if code == UNCERTAIN_INITIAL:
        return "no value from the machine yet"
    if code == UNCERTAIN_SUBSTITUTE:
        return "a substitute value, not the machine's"
    if time_is_refused(flags, source_time):
        return clock_text(source_time - received)
    return "the last value that could be read, not the present one"


def clock_text(ahead_us: int) -> str:
    """`clock of the machine is 26 years behind`."""
    size = abs(ahead_us) / SECOND_US
    for unit, seconds in _UNITS:
        if size >= 2 * seconds or unit == "s":
            amount = round(size / seconds)
            break
    if amount == 0:
        return "the time of the machine stands still"
    return f"clock of the machine is {amount} {unit} {'ahead' if ahead_us > 0 else 'behind'}"


_UNITS = (("years", 31_556_952), ("days", 86_400), ("hours", 3_600), ("min", 60), ("s", 1))


def _learn_clocks(
    line: LineInfo, clocks: dict[str, MachineClock], batch: SampleBatch
) -> dict[str, int]:
    """Note the times of a batch in the clocks of its units; return by how much each changed."""
    before = {unit: clock.behind_us for unit, clock in clocks.items()}
    units = [line.unit_of.get(signal.id) for signal in batch.signals]
    right: set[str] = set()
    for index, time, received, source_time, status, flags in zip(
        batch.signal.tolist(),
        batch.time.tolist(),
        batch.gateway_time.tolist(),
        batch.source_time.tolist(),
        batch.status.tolist(),
        batch.flags.tolist(),
        strict=True,
    ):
        unit = units[index]
        if unit is None or not source_time or not vouches(status, flags, source_time):
            continue
        clock = clocks.get(unit)
        if received - time > STEADY_US and clock is None:
            clock = clocks[unit] = MachineClock()
        if clock is not None:
            clock.note(time, received)
            right.discard(unit)
            if not clock.behind_us and received - time <= STEADY_US:
                right.add(unit)
    steps = {
        unit: clock.behind_us - before.get(unit, 0)
        for unit, clock in clocks.items()
        if clock.behind_us != before.get(unit, 0)
    }
    for unit in right:
        del clocks[unit]  # nothing to keep of a clock that is right
    return steps


def lag_of(clocks: dict[str, MachineClock], unit: str) -> int:
    """How much later than it happened a unit's newest value was received, where that is not
    little: a queue, or a clock whose error is not known yet."""
    clock = clocks.get(unit)
    return 0 if clock is None else clock.lag_us
