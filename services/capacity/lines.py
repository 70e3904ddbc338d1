"""The fold of the capacity worker: line and maintenance events in, weekly estimates and their
events out. Pure.

Run by processor.py, which also gives it the commitments. A line costs something when what its
estimate follows from has changed: its measured ratios, cases, commitments, calendar or week.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
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
from aurelian.model.calendar import (
    iso_week,
    planned_seconds,
    planned_week_seconds,
    start_of_week,
    week_span,
)
from aurelian.model.plant_parts import CalendarModel
from aurelian.model.record import Record
from aurelian.model.time import SECOND_US, to_datetime, to_iso
from capacity import metrics
from capacity.line_history import (
    LineHistory,
    keep_case,
    keep_kpi,
    keep_state,
    measured_until,
    to_seconds,
)
from capacity.model import METHOD, Estimate, Measured, Published, estimate_week, is_worth_publishing
from capacity.settings import CapacitySettings

SOURCE = "/aurelian/capacity"

RATIO_DIGITS = 4
"""An estimate is written again when a measured ratio changes in this decimal: 0.01 % of a week."""

REMAINING_US = 300 * SECOND_US
"""What remains of the running week is estimated anew this often while planned time passes."""

REFRESH_US = 300 * SECOND_US
"""The rows of a line that is heard are written again this often, so that `data_time` says so."""


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


@dataclass(frozen=True, slots=True)
class EstimateRow:
    """A row for `capacity.estimate`, by column name."""

    values: Mapping[str, object]


@dataclass(slots=True)
class Written:
    """What was last estimated of a line: when, from which inputs, and the content of its rows by
    week without their times. `planned`: seconds by week, of the running week what remains of
    `whole_s`. Not part of the saved state: after a restart all is written once."""

    inputs: object = None
    at: int = 0
    data_at: float = 0.0
    slot: int = 0
    planned: dict[date, float] = field(default_factory=dict)
    whole_s: float = 0.0
    rows: dict[date, Mapping[str, object]] = field(default_factory=dict)


class Lines:
    """The fold (`aurelian.fold.contract.Fold`). Keyed by line id."""

    def __init__(self, settings: CapacitySettings) -> None:
        self._settings = settings
        self._facts: dict[str, LineFacts] = {}
        self._line_of: dict[str, str] = {}  # unit id -> line id
        self._lines: dict[str, LineHistory] = {}
        self._unsaved: dict[str, set[str]] = {}  # line id -> parts
        self._urgent: set[str] = set()
        self._news: set[str] = set()  # lines with events since they were last looked at
        self._looked_at: dict[str, int] = {}
        self._written: dict[str, Written] = {}
        self._commitments: Mapping[tuple[str, date], float] = {}

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
            known = self._facts.get(asset.id)
            if known is not None and known.owner != asset.owner:
                return  # what another company says of it is not heard
            meaning = asset.line_meaning()
            product = meaning.products[0]
            facts = LineFacts(
                id=asset.id,
                owner=asset.owner,
                path=asset.path,
                calendar=meaning.calendar,
                zone=meaning.zone,
                ideal_cycle_s=product.ideal_cycle_s,
                unit=product.unit,
            )
            if facts != self._facts.get(asset.id):
                self._facts[asset.id] = facts
                self._written.pop(asset.id, None)
                self._urgent.add(asset.id)

    def fold(self, record: Record, now: int) -> Effects[EstimateRow]:
        """Take in an event. What follows is `tick`'s."""
        event = decode_event(record.value or b"")
        try:
            self._fold_event(event)
        except (KeyError, TypeError, ValueError) as error:
            raise EventError(f"{event.type} without usable data: {error!r}") from error
        return Effects()

    def tick(self, now: int) -> Effects[EstimateRow]:
        """Estimate lines that are due, and at once those whose state, cases or commitments
        changed."""
        effects: Effects[EstimateRow] = Effects()
        period_us = int(self._settings.estimate_every_s * SECOND_US)
        for id, facts in self._facts.items():
            if id in self._urgent or now - self._looked_at.get(id, 0) >= period_us:
                self._looked_at[id] = now
                effects.add(self._look_at(facts, now))
        self._urgent.clear()
        newest = [history.measured.at for history in self._lines.values() if history.measured.at]
        if newest:
            metrics.OLDEST_DATA_S.set(max(0.0, now / SECOND_US - min(newest)))
        return effects

    def changed(self) -> Mapping[str, State]:
        """The parts of the lines that changed."""
        changed = {id: self._lines[id].snapshot(parts) for id, parts in self._unsaved.items()}
        self._unsaved = {}
        return changed

    def restore(self, states: Mapping[str, State]) -> None:
        """Go on from saved lines."""
        self._lines = {id: LineHistory.restore(state) for id, state in states.items()}
        self._unsaved, self._written = {}, {}
        self._urgent.update(self._facts)

    def memory(self) -> State:
        """Nothing: assets are compacted and read anew."""
        return {}

    def recall(self, memory: State) -> None:
        """Nothing to recall."""

    def _fold_event(self, event: Event) -> None:
        """Change the history of the line that the event is about, if it is kept here."""
        if event.type == LINE_STATE_CHANGED:
            since = to_seconds(str(event.data["since"]))
            line, urgent = event.subject, True
            changed = keep_state(self._history(line), str(event.data["state"]), since)
        elif event.type == LINE_KPI_UPDATED:
            line, urgent = event.subject, False
            facts = self._facts.get(line)
            zone = UTC if facts is None else facts.zone
            changed = keep_kpi(self._history(line), event.data, zone)
        elif event.type in (MAINTENANCE_CASE_OPENED, MAINTENANCE_CASE_CLOSED):
            line, urgent = self._line_of.get(event.subject, ""), True
            if not line:
                return
            changed = keep_case(self._history(line), str(event.data["case"]), event)
        else:
            return
        if changed:
            self._unsaved.setdefault(line, set()).update(changed)
            self._news.add(line)
            if urgent:
                self._urgent.add(line)

    def _history(self, line: str) -> LineHistory:
        history = self._lines.get(line)
        if history is None:
            history = self._lines[line] = LineHistory()
        return history

    def _look_at(self, facts: LineFacts, now: int) -> Effects[EstimateRow]:
        """Estimate a line if what its estimate follows from has changed."""
        history, written = self._history(facts.id), self._written.setdefault(facts.id, Written())
        monday = start_of_week(to_datetime(now), facts.zone)
        news = facts.id in self._news or facts.id in self._urgent or history.is_measured_now
        slot = now // REMAINING_US
        if not news and next(iter(written.planned), None) == monday and slot == written.slot:
            return Effects()
        if slot != written.slot or next(iter(written.planned), None) != monday:
            written.slot = slot
            self._plan(facts, written, monday, now)
        self._news.discard(facts.id)
        weeks = list(written.planned)
        measured = measured_until(history, now / SECOND_US)
        ratios = measured.technical, measured.speed, measured.quality(facts.ideal_cycle_s)
        inputs = (
            monday,
            tuple(round(ratio, RATIO_DIGITS) for ratio in ratios),
            sum(history.cases.values()),
            tuple(self._commitments.get((facts.id, week), 0.0) for week in weeks),
            written.planned[monday],
        )
        refresh = measured.at != written.data_at and now - written.at >= REFRESH_US
        if inputs == written.inputs and not refresh:
            return Effects()
        written.inputs, written.at, written.data_at = inputs, now, measured.at
        return self._estimate(facts, history, written, measured, now, refresh)

    def _plan(self, facts: LineFacts, written: Written, monday: date, now: int) -> None:
        """Planned time of all weeks; of the running one what is left of it."""
        known = written.planned
        weeks = [monday + timedelta(weeks=i) for i in range(self._settings.weeks)]
        if next(iter(known), None) != monday:
            written.whole_s = planned_week_seconds(facts.calendar, facts.zone, monday)
        written.planned = {
            week: known[week]
            if week in known and week != monday
            else planned_week_seconds(facts.calendar, facts.zone, week)
            for week in weeks[1:]
        }
        end = week_span(monday, facts.zone).end
        left_s = planned_seconds(facts.calendar, facts.zone, to_datetime(now), end)
        written.planned = {monday: left_s, **written.planned}

    def _estimate(
        self,
        facts: LineFacts,
        history: LineHistory,
        written: Written,
        measured: Measured,
        now: int,
        refresh: bool,
    ) -> Effects[EstimateRow]:
        effects: Effects[EstimateRow] = Effects()
        rows: dict[date, Mapping[str, object]] = {}
        for number, (week, planned_s) in enumerate(written.planned.items()):
            # The repair of an open case is expected in the coming week.
            down_s = sum(history.cases.values()) if number == 1 else 0.0
            estimate = estimate_week(
                planned_s,
                facts.ideal_cycle_s,
                measured,
                down_s,
                self._commitments.get((facts.id, week), 0.0),
                history.made.get(week.isoformat(), 0.0) if number == 0 else 0.0,
            )
            whole = written.whole_s / facts.ideal_cycle_s if number == 0 else None
            rows[week], event = self._publish(
                facts, history, week, estimate, measured, down_s, now, whole
            )
            if refresh or rows[week] != written.rows.get(week):
                times = {"data_time": _data_time(measured), "computed_at": to_datetime(now)}
                effects.rows.append(EstimateRow({**rows[week], **times}))
            effects.events += event
        written.rows = rows
        published = {week.isoformat(): history.published[week.isoformat()] for week in rows}
        if effects.events or published != history.published:
            history.published = published
            self._unsaved.setdefault(facts.id, set()).add("published")
        metrics.ESTIMATES.inc(len(rows))
        return effects

    def _publish(
        self,
        facts: LineFacts,
        history: LineHistory,
        week: date,
        estimate: Estimate,
        measured: Measured,
        down_s: float,
        now: int,
        running_total: float | None,
    ) -> tuple[Mapping[str, object], list[Outgoing]]:
        """The content of the week's row, and its event and a new revision where Available moved
        enough."""
        last = history.published.get(week.isoformat())
        previous = Published(last[0], int(last[1])) if last else None
        revision = int(last[2]) if last else 0
        publish = is_worth_publishing(previous, estimate.available, running_total)
        if publish:
            revision += 1
            change = estimate.available - previous.available if previous else 0.0
            history.published[week.isoformat()] = [
                estimate.available,
                (change > 0) - (change < 0),
                revision,
            ]
        shown = _shown(facts, estimate, revision)
        inputs: dict[str, object] = {
            "ideal_cycle_s": facts.ideal_cycle_s,
            "technical": round(measured.technical, 6),
            "speed": round(measured.speed, 6),
            "quality": round(measured.quality(facts.ideal_cycle_s), 6),
            "predicted_down_s": down_s,
            "measured_since": _time_text(measured.since),
            "measured_h": round((measured.running_s + measured.down_s) / 3600, 1),
            "confidence": round(measured.weight, 3),
        }
        if running_total is not None:
            used = history.made.get(week.isoformat(), 0.0)
            inputs |= {"used": used, "whole_week_total": round(running_total, 3)}
        row = {"line": facts.id, "owner": facts.owner, "week": week, **shown, "inputs": inputs}
        if not publish:
            return row, []
        metrics.PUBLISHED.inc()
        data_time = _data_time(measured)
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
            time=to_datetime(now),
            data=data,
            # Two weeks of a line may be published in the same microsecond: the week makes their
            # ids differ.
            revision=int(week.strftime("%Y%m%d")) * 100_000 + revision,
        )
        return row, [Outgoing(CAPACITY_EVENTS, facts.owner, event)]


def sum_commitments(rows: Iterable[tuple[str, date, float]]) -> dict[tuple[str, date], float]:
    """Pieces promised by (line, week) from rows of (line, week, quantity)."""
    sums: dict[tuple[str, date], float] = {}
    for line, week, quantity in rows:
        sums[line, week] = sums.get((line, week), 0.0) + quantity
    return sums


def _shown(facts: LineFacts, estimate: Estimate, revision: int) -> dict[str, object]:
    return {
        "total": round(estimate.total, 3),
        "available": round(estimate.available, 3),
        "committed": round(estimate.committed, 3),
        "unattainable": round(estimate.unattainable, 3),
        "available_p10": None,
        "available_p90": None,
        "unit": facts.unit,
        "reasons": [{"reason": name, "quantity": quantity} for name, quantity in estimate.reasons],
        "method": METHOD,
        "revision": revision,
    }


def _data_time(measured: Measured) -> datetime | None:
    return to_datetime(round(measured.at * SECOND_US)) if measured.at else None


def _time_text(seconds: float) -> str | None:
    return to_iso(to_datetime(round(seconds * SECOND_US))) if seconds else None
