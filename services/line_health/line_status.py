"""What goes into a line's state machine, and what is kept of the line: the state of its key, by
part. Used by line.py, processor.py."""

from __future__ import annotations

from dataclasses import dataclass, field, fields
from operator import attrgetter

from aurelian.fold.contract import State
from aurelian.fold.sequences import Sequences
from line_health.alarms import AlarmState
from line_health.plant import SignalInfo
from line_health.shift import ShiftSums


@dataclass(frozen=True, slots=True)
class Reading:
    """One value of a signal with a role. `at`: when it counts, microseconds; `value`: None where
    its quality is Bad."""

    signal: SignalInfo
    at: int
    value: object


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
    """The interval that the line is in. `revision` counts how often its state or reason was
    corrected."""

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
        heard: when data of the constraint unit last came, at the gateway.
        received_at: when they last came here, by our clock.
        silent: the constraint unit is silent.
        newest: signal -> time of its newest value.
        values: signal -> newest value, of roles that are asked for later.
        totals: signal -> last total of a counter.
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
    totals: dict[str, float] = field(default_factory=dict)
    alarms: dict[str, AlarmState] = field(default_factory=dict)
    changed: bool = True
    saved_signals: tuple[int, ...] = ()

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
                [*self.totals.values()],
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
        heard, time_passed, received_at, silent, alarm_newest, runs = seen
        since, slow, kpi_published_at, present, shift, cycles, *kept, active = memory
        times, last_values, last_totals = kept
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
            totals=dict(zip(totals, last_totals, strict=True)),
            alarms={
                id: AlarmState(heard + at) for id, at in zip(alarms, alarm_newest, strict=True)
            },
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
    return status


_ALARM_FIELDS = tuple(each.name for each in fields(AlarmState) if each.name != "newest")
_ALARM = attrgetter(*_ALARM_FIELDS)
_INTERVAL = attrgetter(*(each.name for each in fields(Interval)))
_SHIFT = attrgetter(*(each.name for each in fields(ShiftSums)))
