"""The fold of the capacity worker: line and maintenance events in, weekly estimates and their
events out. Pure.

Run by processor.py, which also gives it the commitments. Event times, not arrival, decide what is
newest, so that an event that comes again changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import asdict, dataclass, field, replace
from datetime import UTC, date, datetime, timedelta
from zoneinfo import ZoneInfo

from aurelian.backbone.topics import CAPACITY_EVENTS
from aurelian.events.cloudevent import Event, EventError, decode_event, make_event
from aurelian.events.schemas import (
    CAPACITY_ESTIMATE_UPDATED,
    LINE_KPI_UPDATED,
    LINE_STATE_CHANGED,
    MAINTENANCE_CASE_CLOSED,
    MAINTENANCE_CASE_OPENED,
)
from aurelian.fold.contract import Effects, Outgoing, State
from aurelian.model.asset import decode_asset
from aurelian.model.calendar import iso_week, planned_week_seconds, start_of_week
from aurelian.model.plant_parts import CalendarModel, LineState
from aurelian.model.record import Record
from capacity import metrics
from capacity.model import METHOD, Estimate, Measured, Published, estimate_week, is_worth_publishing
from capacity.settings import CapacitySettings

SOURCE = "/aurelian/capacity"
RUNNING = frozenset({LineState.RUNNING, LineState.SLOW})
DOWN = frozenset({LineState.DOWN, LineState.SHORT_STOP})
KEPT_SHIFTS = 3


@dataclass(frozen=True, slots=True)
class LineFacts:
    """What the plant model says of a line: calendar, zone and the default product's PRI in seconds
    per piece."""

    id: str
    owner: str
    path: str
    calendar: CalendarModel
    zone: ZoneInfo
    ideal_cycle_s: float
    unit: str


@dataclass(slots=True)
class LineMemory:
    """What is kept of a line. Times are seconds since 1970.

    Attributes:
        shifts: shift start -> [computed_at, production_s, ideal_s, good, scrap], the newest few.
        published: week's Monday -> [available, direction, revision].
        cases: open maintenance cases -> expected downtime in seconds.
        settled: cases that were closed, so that an opening that comes late changes nothing.
    """

    measured: Measured = field(default_factory=Measured)
    state: str = LineState.NO_DATA
    since: float = 0.0
    shifts: dict[str, list[float]] = field(default_factory=dict)
    published: dict[str, list[float]] = field(default_factory=dict)
    cases: dict[str, float] = field(default_factory=dict)
    settled: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Row:
    """A row for `capacity.estimate`, by column name."""

    values: Mapping[str, object]


class Lines:
    """The fold (`aurelian.fold.contract.Fold`). Keyed by line id."""

    def __init__(self, settings: CapacitySettings) -> None:
        self._settings = settings
        self._facts: dict[str, LineFacts] = {}
        self._line_of: dict[str, str] = {}  # unit id -> line id
        self._lines: dict[str, LineMemory] = {}
        self._dirty: set[str] = set()
        self._urgent: set[str] = set()
        self._estimated: dict[str, int] = {}
        self._commitments: Mapping[tuple[str, date], float] = {}
        self._planned: dict[tuple[str, date, str], float] = {}

    def set_commitments(self, commitments: Mapping[tuple[str, date], float]) -> None:
        """Take the pieces promised by (line id, week's Monday); a change is estimated at the next
        tick."""
        before, self._commitments = self._commitments, commitments
        for line, _week in {key for key, _ in before.items() ^ commitments.items()}:
            if line in self._facts:
                self._urgent.add(line)

    def learn(self, record: Record, now: int) -> None:
        """Take in an asset."""
        asset = decode_asset(record.value)
        if asset is None:
            return
        if asset.level == "unit" and asset.parent is not None:
            self._line_of[asset.id] = asset.parent
        elif asset.level == "line":
            meaning = asset.line_meaning()
            product = meaning.products[0]
            self._facts[asset.id] = LineFacts(
                id=asset.id,
                owner=asset.owner,
                path=asset.path,
                calendar=meaning.calendar,
                zone=meaning.zone,
                ideal_cycle_s=product.ideal_cycle_s,
                unit=product.unit,
            )
            self._planned.clear()
            self._urgent.add(asset.id)

    def fold(self, record: Record, now: int) -> Effects[Row]:
        """Take in an event. What follows is `tick`'s."""
        event = decode_event(record.value or b"")
        try:
            line = self._fold_event(event)
        except (KeyError, TypeError, ValueError) as error:
            raise EventError(f"{event.type} without usable data: {error!r}") from error
        if line is not None:
            self._dirty.add(line)
        return Effects()

    def tick(self, now: int) -> Effects[Row]:
        """Estimate lines that are due, and at once those whose state, cases or commitments
        changed."""
        effects: Effects[Row] = Effects()
        for id, facts in self._facts.items():
            due = now - self._estimated.get(id, 0) >= self._settings.estimate_every_s * 1e6
            if due or id in self._urgent:
                self._estimated[id] = now
                effects.add(self._estimate(facts, now))
        self._urgent.clear()
        newest = [memory.measured.at for memory in self._lines.values() if memory.measured.at]
        if newest:
            metrics.OLDEST_DATA_S.set(max(0.0, now / 1e6 - min(newest)))
        return effects

    def changed(self) -> Mapping[str, State]:
        """Snapshots of the lines that changed."""
        changed = {id: _snapshot(self._lines[id]) for id in self._dirty}
        self._dirty.clear()
        return changed

    def restore(self, states: Mapping[str, State]) -> None:
        """Go on from saved lines."""
        self._lines = {id: _restore(state) for id, state in states.items()}
        self._dirty.clear()
        self._urgent.update(self._facts)

    def memory(self) -> State:
        """Nothing: assets are compacted and read anew."""
        return {}

    def recall(self, memory: State) -> None:
        """Nothing to recall."""

    def _fold_event(self, event: Event) -> str | None:
        """Change the state of the line that the event is about and return its id; None: it is about
        nothing kept here."""
        if event.type == LINE_STATE_CHANGED:
            memory = self._lines.setdefault(event.subject, LineMemory())
            _keep_state(memory, str(event.data["state"]), _seconds(str(event.data["since"])))
            self._urgent.add(event.subject)
            return event.subject
        if event.type == LINE_KPI_UPDATED:
            _keep_kpi(self._lines.setdefault(event.subject, LineMemory()), event.data)
            return event.subject
        line = self._line_of.get(event.subject)
        if line is None or event.type not in (MAINTENANCE_CASE_OPENED, MAINTENANCE_CASE_CLOSED):
            return None
        _keep_case(self._lines.setdefault(line, LineMemory()), str(event.data["case"]), event)
        self._urgent.add(line)
        return line

    def _estimate(self, facts: LineFacts, now: int) -> Effects[Row]:
        effects: Effects[Row] = Effects()
        memory = self._lines.setdefault(facts.id, LineMemory())
        self._dirty.add(facts.id)
        at = now / 1e6
        measured = _with_ongoing(memory, at)
        monday = start_of_week(datetime.fromtimestamp(at, UTC), facts.zone)
        weeks = [monday + timedelta(weeks=i) for i in range(self._settings.weeks)]
        for number, week in enumerate(weeks):
            # The repair of an open case is expected in the coming week.
            down_s = sum(memory.cases.values()) if number == 1 else 0.0
            estimate = estimate_week(
                self._planned_s(facts, week),
                facts.ideal_cycle_s,
                measured,
                down_s,
                self._commitments.get((facts.id, week), 0.0),
            )
            effects.add(self._publish(facts, memory, week, estimate, measured, down_s, now))
        memory.published = {week.isoformat(): memory.published[week.isoformat()] for week in weeks}
        metrics.ESTIMATES.inc(len(weeks))
        return effects

    def _planned_s(self, facts: LineFacts, week: date) -> float:
        key = (facts.id, week, facts.zone.key)
        if key not in self._planned:
            self._planned[key] = planned_week_seconds(facts.calendar, facts.zone, week)
        return self._planned[key]

    def _publish(
        self,
        facts: LineFacts,
        memory: LineMemory,
        week: date,
        estimate: Estimate,
        measured: Measured,
        down_s: float,
        now: int,
    ) -> Effects[Row]:
        """The week's row, and its event and a new revision where Available moved enough."""
        last = memory.published.get(week.isoformat())
        previous = Published(last[0], int(last[1])) if last else None
        revision = int(last[2]) if last else 0
        effects: Effects[Row] = Effects()
        tell = is_worth_publishing(previous, estimate.available)
        if tell:
            revision += 1
            change = estimate.available - previous.available if previous else 0.0
            memory.published[week.isoformat()] = [
                estimate.available,
                (change > 0) - (change < 0),
                revision,
            ]
        when = datetime.fromtimestamp(now / 1e6, UTC)
        data_time = datetime.fromtimestamp(measured.at, UTC) if measured.at else None
        reasons = [{"reason": name, "quantity": quantity} for name, quantity in estimate.reasons]
        numbers = {
            name: round(getattr(estimate, name), 3)
            for name in ("total", "available", "committed", "unattainable")
        }
        shown: dict[str, object] = {
            **numbers,
            "available_p10": None,
            "available_p90": None,
            "unit": facts.unit,
            "reasons": reasons,
            "method": METHOD,
            "revision": revision,
        }
        inputs = {
            "ideal_cycle_s": facts.ideal_cycle_s,
            "technical": round(measured.technical, 6),
            "speed": round(measured.speed, 6),
            "quality": round(measured.quality(facts.ideal_cycle_s), 6),
            "predicted_down_s": down_s,
        }
        effects.rows.append(
            Row(
                {
                    "line": facts.id,
                    "owner": facts.owner,
                    "week": week,
                    **shown,
                    "inputs": inputs,
                    "data_time": data_time,
                    "computed_at": when,
                }
            )
        )
        if tell:
            metrics.PUBLISHED.inc()
            data: dict[str, object] = {
                "line": facts.path,
                "week": iso_week(week),
                "week_start": week.isoformat(),
                **shown,
                "previous_available": round(previous.available, 3) if previous else None,
                "data_time": data_time.isoformat() if data_time else None,
            }
            event = make_event(
                CAPACITY_ESTIMATE_UPDATED,
                source=SOURCE,
                subject=facts.id,
                owner=facts.owner,
                time=when,
                data=data,
                # Two weeks of a line may be published in the same microsecond: the week makes their
                # ids differ.
                revision=int(week.strftime("%Y%m%d")) * 100_000 + revision,
            )
            effects.events.append(Outgoing(CAPACITY_EVENTS, facts.owner, event))
        return effects


def sum_commitments(rows: Iterable[tuple[str, date, float]]) -> dict[tuple[str, date], float]:
    """Pieces promised by (line, week) from rows of (line, week, quantity)."""
    sums: dict[tuple[str, date], float] = {}
    for line, week, quantity in rows:
        sums[line, week] = sums.get((line, week), 0.0) + quantity
    return sums


def _keep_state(memory: LineMemory, state: str, since: float) -> None:
    """Count the state that ended; an event that is no newer than the kept one changes nothing."""
    if since <= memory.since:
        return
    memory.measured = _counted(memory, since)
    memory.state, memory.since = state, since


def _counted(memory: LineMemory, until: float) -> Measured:
    lasted = until - memory.since if memory.since else 0.0
    measured = memory.measured.forget(until)
    if memory.state in RUNNING:
        return replace(measured, running_s=measured.running_s + lasted)
    if memory.state in DOWN:
        return replace(measured, down_s=measured.down_s + lasted)
    return measured


def _with_ongoing(memory: LineMemory, at: float) -> Measured:
    """What is measured with the running state counted to now; the time of the newest measurement
    stays."""
    if not memory.since or at <= memory.since:
        return memory.measured
    return replace(_counted(memory, at), at=memory.measured.at)


def _keep_kpi(memory: LineMemory, data: Mapping[str, object]) -> None:
    """Add what the shift's running totals grew by since they were last seen."""
    start, computed = str(data["shift_start"]), _seconds(str(data["computed_at"]))
    production_s, good, scrap = (
        _number(data["production_s"]),
        _number(data["good"]),
        _number(data["scrap"]),
    )
    effectiveness = data["effectiveness"]
    ideal_s = production_s * _number(effectiveness) if effectiveness is not None else 0.0
    last = memory.shifts.get(start, [0.0, 0.0, 0.0, 0.0, 0.0])
    if computed <= last[0]:
        return
    measured = memory.measured.forget(computed)
    memory.measured = replace(
        measured,
        produced_s=max(0.0, measured.produced_s + production_s - last[1]),
        ideal_s=max(0.0, measured.ideal_s + ideal_s - last[2]),
        good=max(0.0, measured.good + good - last[3]),
        produced=max(0.0, measured.produced + good + scrap - last[3] - last[4]),
    )
    memory.shifts[start] = [computed, production_s, ideal_s, good, scrap]
    for old in sorted(memory.shifts)[:-KEPT_SHIFTS]:
        del memory.shifts[old]


def _keep_case(memory: LineMemory, case: str, event: Event) -> None:
    if event.type == MAINTENANCE_CASE_CLOSED:
        memory.cases.pop(case, None)
        memory.settled = [*memory.settled, case][-100:]
    elif case not in memory.settled:
        memory.cases[case] = _number(event.data["expected_down_s"])


def _seconds(time: str) -> float:
    return datetime.fromisoformat(time).timestamp()


def _number(value: object) -> float:
    if isinstance(value, int | float):
        return float(value)
    raise TypeError(f"{value!r} is no number")


def _snapshot(memory: LineMemory) -> State:
    return {name: getattr(memory, name) for name in LineMemory.__slots__} | {
        "measured": asdict(memory.measured)
    }


def _restore(state: State) -> LineMemory:
    kept = dict(state)
    measured = kept.pop("measured")
    assert isinstance(measured, dict)
    return LineMemory(measured=Measured(**measured), **kept)  # type: ignore[arg-type]
