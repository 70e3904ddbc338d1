"""What goes into a line's state machine, and what it remembers: the snapshot of its key. Used by
line.py, processor.py."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field

from aurelian.fold.contract import State
from line_health.alarms import AlarmMemory
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
class Present:
    """The interval that the line is in. `revision` counts how often it was named anew."""

    state: str
    since: int
    unit: str | None
    reason: str
    code: int | None
    cause: str
    revision: int = 0


@dataclass(slots=True)
class LineMemory:
    """All that is remembered of a line; the snapshot of its key. Times in microseconds.

    Attributes:
        mark: up to where time has passed: every edge of the calendar until then is done.
        counted_to: up to where the present interval is in `shift`.
        heard: when data of the constraint unit last came, at the gateway.
        silent: the constraint unit is silent.
        newest: signal -> time of its newest value.
        values: signal -> newest value, of roles that are asked for later.
        totals: signal -> last total of a counter.
    """

    mark: int = 0
    counted_to: int = 0
    heard: int = 0
    silent: bool = False
    slow: bool = False
    kpi_told_at: int = 0
    present: Present | None = None
    shift: ShiftSums | None = None
    cycles: list[float] = field(default_factory=list)
    newest: dict[str, int] = field(default_factory=dict)
    values: dict[str, float | str | None] = field(default_factory=dict)
    totals: dict[str, float] = field(default_factory=dict)
    alarms: dict[str, AlarmMemory] = field(default_factory=dict)

    def snapshot(self) -> State:
        """JSON-ready form."""
        return asdict(self)

    @classmethod
    def restore(cls, snapshot: object) -> LineMemory:
        """The opposite of `snapshot`."""
        assert isinstance(snapshot, dict)
        present, shift = snapshot["present"], snapshot["shift"]
        restored = {
            "present": None if present is None else Present(**present),
            "shift": None if shift is None else ShiftSums(**shift),
            "alarms": {id: AlarmMemory(**alarm) for id, alarm in snapshot["alarms"].items()},
        }
        return cls(**{**snapshot, **restored})
