"""Limit alarms: on delay, hysteresis, and an off delay that makes one alarm of chattering. Pure;
called by line.py.

An alarm is raised when a signal stays beyond a limit for the limit's `delay_s`. It clears when the
signal has stayed
inside by `deadband` for as long, and at least `CALM_S`. A signal whose source is silent changes
nothing: its alarm stands. Values of Bad quality and late ones are passed over.
"""

from __future__ import annotations

from dataclasses import dataclass

from aurelian.fold.contract import Effects
from aurelian.model.plant_parts import AlarmLimits
from aurelian.model.time import to_datetime
from line_health.plant import LineInfo, SignalInfo
from line_health.rows import AlarmRow, LineRow, alarm_event, derive_id

CALM_S = 10.0
"""A signal must stay inside its limits this long before its alarm clears, or the `delay_s` of its
limits."""


@dataclass(slots=True)
class AlarmState:
    """One signal's alarm. Times in microseconds, 0: none.

    Attributes:
        newest: time of the newest value.
        value: that value.
        beyond_since: since when the value is beyond a limit without an alarm.
        limit: the limit that it is or was beyond.
        raised_at: when the present alarm was raised.
        raised_value: the value then.
        calm_since: since when the value is inside, while the alarm stands.
    """

    newest: int = 0
    value: float = 0.0
    beyond_since: int = 0
    limit: float = 0.0
    raised_at: int = 0
    raised_value: float = 0.0
    calm_since: int = 0

    def move(self, by: int, latest: int) -> None:
        """Move the times that are still running by `by`, at most to `latest`."""
        self.newest = min(self.newest + by, max(self.newest, latest))
        if self.beyond_since:
            self.beyond_since = min(self.beyond_since + by, latest)
        if self.calm_since:
            self.calm_since = min(self.calm_since + by, latest)


def fold_value(
    line: LineInfo,
    signal: SignalInfo,
    limits: AlarmLimits,
    alarm: AlarmState,
    at: int,
    value: float,
) -> Effects[LineRow]:
    """Take in a value with the time `at`; say what is raised or cleared until then."""
    if at < alarm.newest:
        return Effects()
    effects = fold_time(line, signal, limits, alarm, at)
    alarm.newest, alarm.value = at, value
    beyond = _limit_beyond(limits, value)
    if not alarm.raised_at:
        if beyond is None:
            alarm.beyond_since = 0
        elif not alarm.beyond_since:
            alarm.beyond_since, alarm.limit = at, beyond
    elif _is_calm(limits, alarm.limit, value):
        alarm.calm_since = alarm.calm_since or at
    else:
        alarm.calm_since = 0
    effects.add(fold_time(line, signal, limits, alarm, at))
    return effects


def fold_time(
    line: LineInfo, signal: SignalInfo, limits: AlarmLimits, alarm: AlarmState, now: int
) -> Effects[LineRow]:
    """Say what is raised or cleared because the last value has stood until `now`."""
    delay = int(limits.delay_s * 1_000_000)
    if alarm.beyond_since and now >= alarm.beyond_since + delay:
        alarm.raised_at, alarm.raised_value = alarm.beyond_since + delay, alarm.value
        alarm.beyond_since = alarm.calm_since = 0
        return _alarm_effects(line, signal, limits, alarm, None)
    calm = max(delay, int(CALM_S * 1_000_000))
    if alarm.calm_since and now >= alarm.calm_since + calm:
        effects = _alarm_effects(line, signal, limits, alarm, alarm.calm_since + calm)
        alarm.raised_at = alarm.calm_since = 0
        return effects
    return Effects()


def is_quiet(limits: AlarmLimits, alarm: AlarmState, lowest: float, highest: float) -> bool:
    """Tell whether values between `lowest` and `highest` change nothing: the usual case, decided
    without a loop."""
    return (
        not (alarm.raised_at or alarm.beyond_since)
        and (limits.high is None or highest <= limits.high)
        and (limits.low is None or lowest >= limits.low)
    )


def _limit_beyond(limits: AlarmLimits, value: float) -> float | None:
    if limits.high is not None and value > limits.high:
        return limits.high
    if limits.low is not None and value < limits.low:
        return limits.low
    return None


def _is_calm(limits: AlarmLimits, limit: float, value: float) -> bool:
    if _limit_beyond(limits, value) is not None:
        return False
    return (
        value <= limit - limits.deadband
        if limit == limits.high
        else value >= limit + limits.deadband
    )


def _alarm_effects(
    line: LineInfo,
    signal: SignalInfo,
    limits: AlarmLimits,
    alarm: AlarmState,
    cleared_at: int | None,
) -> Effects[LineRow]:
    side = "above" if alarm.limit == limits.high else "below"
    unit = f" {signal.ucum}" if signal.ucum else ""
    row = AlarmRow(
        id=derive_id(signal.id, "alarm", alarm.raised_at),
        owner=line.owner,
        line=line.id,
        asset=signal.unit,
        signal=signal.id,
        priority=limits.priority,
        message=f"{signal.unit_title}: {signal.name} {alarm.raised_value:g}{unit} is {side} "
        f"{alarm.limit:g}{unit}",
        action=limits.action,
        value=alarm.raised_value,
        limit=alarm.limit,
        raised_at=to_datetime(alarm.raised_at),
        cleared_at=None if cleared_at is None else to_datetime(cleared_at),
    )
    return Effects([row], [alarm_event(line, signal, row)])
