"""What is kept of a line between events: measurements, open cases, what was published. Pure; used
by lines.py.

Event times, not arrival, decide what is newest, so that an event that comes again changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, datetime, tzinfo

from aurelian.events.cloudevent import Event
from aurelian.events.schemas import MAINTENANCE_CASE_CLOSED
from aurelian.fold.contract import State
from aurelian.model.calendar import start_of_week
from aurelian.model.plant_parts import LineState
from aurelian.model.time import SECOND_US, to_datetime, to_us
from capacity.model import Measured

RUNNING = frozenset({LineState.RUNNING, LineState.SLOW})
DOWN = frozenset({LineState.DOWN, LineState.SHORT_STOP})
KEPT_SHIFTS = 3
KEPT_WEEKS = 2
KEPT_CLOSED_CASES = 100


@dataclass(slots=True)
class LineHistory:
    """The state of a line's key; each field is a part of it. Times are seconds since 1970.

    Attributes:
        shifts: shift start -> [computed_at, production_s, ideal_s, good, scrap], the newest few.
        published: week's Monday -> [available, direction, revision].
        cases: open maintenance cases -> expected downtime in seconds.
        made: week's Monday -> good pieces made in it, the newest few.
        settled: cases that were closed, so that an opening that comes late changes nothing.
    """

    measured: Measured = field(default_factory=Measured)
    state: str = LineState.NO_DATA
    since: float = 0.0
    shifts: dict[str, list[float]] = field(default_factory=dict)
    published: dict[str, list[float]] = field(default_factory=dict)
    cases: dict[str, float] = field(default_factory=dict)
    settled: list[str] = field(default_factory=list)
    made: dict[str, float] = field(default_factory=dict)

    @property
    def is_measured_now(self) -> bool:
        """Tell whether time alone changes what is measured: it runs, or is down."""
        return self.state in RUNNING or self.state in DOWN

    def snapshot(self, parts: set[str]) -> State:
        """JSON-ready content of parts."""
        return {
            name: asdict(self.measured) if name == "measured" else getattr(self, name)
            for name in parts
        }

    @classmethod
    def restore(cls, state: State) -> LineHistory:
        """From the parts that were saved; one that never changed has its default."""
        kept = dict(state)
        measured = kept.pop("measured", {})
        assert isinstance(measured, dict)
        return cls(measured=Measured(**measured), **kept)  # type: ignore[arg-type]


def measured_until(history: LineHistory, at: float) -> Measured:
    """What is measured with the running state counted to `at`; the time of the newest measurement
    stays."""
    if not history.since or at <= history.since:
        return history.measured
    return replace(_counted(history, at), at=history.measured.at)


def keep_state(history: LineHistory, state: str, since: float) -> set[str]:
    """Count the state that ended; an event that is no newer than the kept one changes nothing.
    Returns the parts that changed, as the others here."""
    if since <= history.since:
        return set()
    history.measured = _counted(history, since)
    history.state, history.since = state, since
    return {"measured", "state", "since"}


def keep_kpi(history: LineHistory, data: Mapping[str, object], zone: tzinfo = UTC) -> set[str]:
    """Add what the shift's running totals grew by since they were last seen; `zone`: the site's,
    for the week that the pieces count in."""
    start, computed = str(data["shift_start"]), to_seconds(str(data["computed_at"]))
    production_s, good, scrap = (
        _number(data["production_s"]),
        _number(data["good"]),
        _number(data["scrap"]),
    )
    effectiveness = data["effectiveness"]
    ideal_s = production_s * _number(effectiveness) if effectiveness is not None else 0.0
    last = history.shifts.get(start, [0.0, 0.0, 0.0, 0.0, 0.0])
    if computed <= last[0]:
        return set()
    measured = history.measured.forget(computed)
    history.measured = replace(
        measured,
        produced_s=max(0.0, measured.produced_s + production_s - last[1]),
        ideal_s=max(0.0, measured.ideal_s + ideal_s - last[2]),
        good=max(0.0, measured.good + good - last[3]),
        produced=max(0.0, measured.produced + good + scrap - last[3] - last[4]),
    )
    # A shift over midnight on Sunday: what it makes counts in the week in which it is seen.
    week = start_of_week(to_datetime(round((computed - 1) * SECOND_US)), zone).isoformat()
    history.made[week] = max(0.0, history.made.get(week, 0.0) + good - last[3])
    for old in sorted(history.made)[:-KEPT_WEEKS]:
        del history.made[old]
    history.shifts[start] = [computed, production_s, ideal_s, good, scrap]
    for old in sorted(history.shifts)[:-KEPT_SHIFTS]:
        del history.shifts[old]
    return {"measured", "shifts", "made"}


def keep_case(history: LineHistory, case: str, event: Event) -> set[str]:
    """Open or close a maintenance case; one that was closed stays so."""
    if event.type == MAINTENANCE_CASE_CLOSED:
        history.cases.pop(case, None)
        history.settled = [*history.settled, case][-KEPT_CLOSED_CASES:]
        return {"cases", "settled"}
    if case in history.settled:
        return set()
    history.cases[case] = _number(event.data["expected_down_s"])
    return {"cases"}


def to_seconds(time: str) -> float:
    """Seconds since 1970 of an ISO 8601 time."""
    return to_us(datetime.fromisoformat(time)) / SECOND_US


def _counted(history: LineHistory, until: float) -> Measured:
    lasted = until - history.since if history.since else 0.0
    measured = history.measured.forget(until)
    if history.state in RUNNING:
        return replace(measured, running_s=measured.running_s + lasted)
    if history.state in DOWN:
        return replace(measured, down_s=measured.down_s + lasted)
    return measured


def _number(value: object) -> float:
    if isinstance(value, int | float):
        return float(value)
    raise TypeError(f"{value!r} is no number")
