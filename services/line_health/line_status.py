"""What goes into a line's state machine, and what is kept of the line: the state of its key, by
part. Used by line.py, processor.py."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from operator import attrgetter

from aurelian.fold.contract import State
from aurelian.fold.sequences import Sequences
from aurelian.model.evidence import MachineClock
from line_health.alarms import AlarmState
from line_health.counter import Total
from line_health.plant import LineInfo, SignalInfo
from line_health.shift import ShiftSums


@dataclass(frozen=True, slots=True)
class Reading:
    """One value of a signal with a role. Times in microseconds.

    Attributes:
        at: when it counts.
        value: None where it says nothing of now.
        received: at the gateway.
        vouches: it is a sign of life of its machine (aurelian.model.evidence).
        doubt: why the value is not the present one; empty: it is, or it is only old.
    """

    signal: SignalInfo
    at: int
    value: object
    received: int = 0
    vouches: bool = True
    doubt: str = ""


OWN, WAITING, OTHER = "own", "waiting", "other"
"""Causes: the constraint itself stands, it waits for its neighbours, or neither."""


@dataclass(frozen=True, slots=True)
class Target:
    """What the line should be in by all that is known."""

    state: str
    unit: str | None = None
    reason: str = ""
    code: int | None = None
    cause: str = OTHER


@dataclass(slots=True)
class Interval:
    """The interval that the line is in. `revision` counts how often state or reason of an
    interval of the line were corrected."""

    state: str
    since: int
    unit: str | None
    reason: str
    code: int | None
    cause: str
    revision: int = 0


@dataclass(slots=True)
class LineStatus:
    """All that is kept of a line. Times in microseconds.

    Saved in three parts, so that a commit writes what changed: `seen` with nearly every batch (what
    was received up to when), `memory` when a value with a role or the state changed, `signals` when
    a signal was seen for the first time. The other two hold lists in its order.

    Attributes:
        time_passed: up to where time has passed: every edge of the calendar until then is done.
        counted_to: up to where the present interval is in `shift`.
        heard: the newest time at which data of the constraint unit say that it lives, by the
            gateway's clock.
        received_at: when they last came here, by our clock.
        silent: the constraint unit is silent.
        newest: signal -> time of its newest value.
        values: signal -> newest value, of roles that are asked for later.
        totals: signal -> its counter as followed.
        doubts: state signal -> why its present value is not known, and when that was received.
        state_received: state signal -> when its newest value was received.
        clocks: unit -> its clock, where that is off.
        mute: why the newest value of the constraint unit says nothing of now.
        silent_until: when the line was last heard again after time without data.
        plan: checksum of the part of the plant model that the present state follows from; 0: not
            known.
        changed: the part `memory` is not as it was saved; whoever changes a field of it says so.
        saved_signals: how many signals of each kind the saved part `signals` names.
    """

    time_passed: int = 0
    counted_to: int = 0
    heard: int = 0
    received_at: int = 0
    silent: bool = False
    slow: bool = False
    kpi_published_at: int = 0
    present: Interval | None = None
    shift: ShiftSums | None = None
    cycles: list[float] = field(default_factory=list)
    newest: dict[str, int] = field(default_factory=dict)
    values: dict[str, float | str | None] = field(default_factory=dict)
    totals: dict[str, Total] = field(default_factory=dict)
    alarms: dict[str, AlarmState] = field(default_factory=dict)
    doubts: dict[str, tuple[str, int]] = field(default_factory=dict)
    state_received: dict[str, int] = field(default_factory=dict)
    clocks: dict[str, MachineClock] = field(default_factory=dict)
    mute: str = ""
    silent_until: int = 0
    plan: int = 0
    changed: bool = True
    saved_signals: tuple[int, ...] = ()

    def correct_times(self, line: LineInfo, clock_steps: dict[str, int], now: int) -> None:
        """Move the times that were taken from a machine's clock, now that more is known of it:
        what has its time moves with it."""
        for unit, step in clock_steps.items():
            self.changed = True
            for id, at in self.newest.items():
                if line.unit_of.get(id) == unit:
                    self.newest[id] = min(at + step, max(at, now))
            for id, alarm in self.alarms.items():
                if line.unit_of.get(id) == unit:
                    alarm.move(step, now)

    def unsaved_parts(self, seen: Sequences) -> State:
        """The parts that changed since the last call, with `seen`: which batches were folded."""
        heard = self.heard
        parts: State = {
            "seen": [
                heard,
                self.time_passed,
                self.received_at,
                self.silent,
                [alarm.newest - heard for alarm in self.alarms.values()],
                seen.runs,
                self.mute,
                {unit: clock.snapshot() for unit, clock in self.clocks.items()},
            ]
        }
        counts = len(self.newest), len(self.values), len(self.totals), len(self.alarms)
        if counts != self.saved_signals:
            parts["signals"] = [
                list(each) for each in (self.newest, self.values, self.totals, self.alarms)
            ]
            self.saved_signals = counts
        if self.changed:
            since = self.counted_to
            parts["memory"] = [
                since,
                self.slow,
                self.kpi_published_at,
                None if self.present is None else _INTERVAL(self.present),
                None if self.shift is None else _SHIFT(self.shift),
                self.cycles,
                [at - since for at in self.newest.values()],
                [*self.values.values()],
                [_TOTAL(each) for each in self.totals.values()],
                [self.doubts, self.state_received, self.silent_until, self.plan],
                [
                    [index, *_ALARM(alarm)]
                    for index, alarm in enumerate(self.alarms.values())
                    if alarm.raised_at or alarm.beyond_since
                ],
            ]
            self.changed = False
        return parts

    @classmethod
    def restore(cls, parts: State) -> tuple[LineStatus, Sequences]:
        """The status and what was seen, from all parts that were saved."""
        seen, memory, signals = parts["seen"], parts["memory"], parts.get("signals")
        if not isinstance(seen, list) or not isinstance(memory, list):
            return _restore_whole(memory), Sequences.restore(seen)
        assert isinstance(signals, list)
        newest, values, totals, alarms = signals
        heard, time_passed, received_at, silent, alarm_newest, runs, *rest = seen
        mute, clocks = rest or ("", {})
        since, slow, kpi_published_at, present, shift, cycles, *kept, active = memory
        times, last_values, last_totals, *rest = kept
        doubts, state_received, silent_until, plan = rest[0] if rest else ({}, {}, 0, 0)
        status = cls(
            time_passed=time_passed,
            counted_to=since,
            heard=heard,
            received_at=received_at,
            silent=silent,
            slow=slow,
            kpi_published_at=kpi_published_at,
            present=None if present is None else Interval(*present),
            shift=None if shift is None else ShiftSums(*shift),
            cycles=cycles,
            newest={id: since + at for id, at in zip(newest, times, strict=True)},
            values=dict(zip(values, last_values, strict=True)),
            totals={
                id: _restore_total(total, since)
                for id, total in zip(totals, last_totals, strict=True)
            },
            alarms={
                id: AlarmState(heard + at) for id, at in zip(alarms, alarm_newest, strict=True)
            },
            doubts={id: (text, at) for id, (text, at) in doubts.items()},
            state_received=state_received,
            clocks={unit: MachineClock.restore(clock) for unit, clock in clocks.items()},
            mute=mute,
            silent_until=silent_until,
            plan=plan,
            changed=False,
            saved_signals=tuple(map(len, signals)),
        )
        for index, *state in active:
            alarm = status.alarms[alarms[index]]
            for name, value in zip(_ALARM_FIELDS, state, strict=True):
                setattr(alarm, name, value)
        return status, Sequences.restore(runs)


def _restore_whole(memory: object) -> LineStatus:
    """From the one object that the version before saved; its first commit here writes all parts."""
    assert isinstance(memory, dict)
    renamed = {"mark": "time_passed", "kpi_told_at": "kpi_published_at"}
    status = LineStatus(
        **{renamed.get(str(name), str(name)): value for name, value in memory.items()}
    )
    present, shift = memory["present"], memory["shift"]
    status.present = None if present is None else Interval(**present)
    status.shift = None if shift is None else ShiftSums(**shift)
    status.alarms = {id: AlarmState(**alarm) for id, alarm in memory["alarms"].items()}
    status.totals = {id: Total(each, status.counted_to) for id, each in memory["totals"].items()}
    return status


def _restore_total(kept: float | list[float], at: int) -> Total:
    """A counter as saved; the version before saved the total alone."""
    return Total(*kept) if isinstance(kept, list) else Total(kept, at)  # type: ignore[arg-type]


_ALARM_FIELDS = tuple(each.name for each in fields(AlarmState) if each.name != "newest")
_ALARM = attrgetter(*_ALARM_FIELDS)
_INTERVAL = attrgetter(*(each.name for each in fields(Interval)))
_TOTAL = attrgetter(*(each.name for each in fields(Total)))
_SHIFT = attrgetter(*(each.name for each in fields(ShiftSums)))
