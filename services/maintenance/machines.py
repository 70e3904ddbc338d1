"""The fold of the maintenance worker: samples of machines in, health rows, cases and events out.
Pure; run by processor.py."""

from __future__ import annotations

import uuid
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from aurelian.backbone.topics import MAINTENANCE_EVENTS
from aurelian.events.cloudevent import make_event
from aurelian.events.schemas import (
    MAINTENANCE_CASE_CLOSED,
    MAINTENANCE_CASE_OPENED,
    MAINTENANCE_HEALTH_UPDATED,
)
from aurelian.fold.contract import Effects, Outgoing, State
from aurelian.fold.records import decode_batch
from aurelian.model import machine_states
from aurelian.model.asset import decode_asset
from aurelian.model.plant_parts import NAMESPACE, Role
from aurelian.model.record import Record
from aurelian.model.time import SECOND_US, to_datetime, to_iso
from maintenance import metrics
from maintenance.detector import Assessment, Watched
from maintenance.evidence import judge_signals, read_machines, take_in
from maintenance.machine import Machine
from maintenance.machine_state import LineMachines, MachineState
from maintenance.settings import MaintenanceSettings

WATCHED = frozenset({Role.VIBRATION, Role.TEMPERATURE, Role.CURRENT, Role.POWER})
SOURCE = "/aurelian/maintenance"
STALE_US = 30 * SECOND_US
MINUTE_US = 60 * SECOND_US
REPEAT_US = 10 * MINUTE_US
INDEX_STEP = 0.02
BROKE_OFF_AFTER_S = 2.0
LONGEST_REASON = 300
HIGH_SCORE = 2.0


@dataclass(frozen=True, slots=True)
class MaintenanceRow:
    """A row for `maintenance.health` or `maintenance.case`, by column name."""

    table: str
    values: Mapping[str, object]


class Machines:
    """The fold (`aurelian.fold.contract.Fold`). Keyed by the line's path, as the samples are."""

    def __init__(self, settings: MaintenanceSettings) -> None:
        self._settings = settings
        self._known: dict[str, Machine] = {}
        self._machine_of: dict[str, Machine] = {}
        self._reasons: dict[str, dict[int, str]] = {}  # line id -> code -> name
        self._lines: dict[str, LineMachines] = {}
        self._changed: set[str] = set()

    def learn(self, record: Record, now: int) -> None:
        """Take in an asset."""
        asset = decode_asset(record.value)
        if asset is not None and asset.level == "line":
            reasons = asset.line_meaning().stop_reasons
            self._reasons[asset.id] = {code: each.name for code, each in reasons.items()}
        if asset is None or asset.level != "unit":
            return
        known = self._known.get(asset.id)
        if known is not None and known.owner != asset.owner:
            return  # what another company says of it is not heard
        signals = asset.unit_meaning().signals
        state = next((each for each in signals if each.role is Role.STATE), None)
        reason = next((each.id for each in signals if each.role is Role.STOP_REASON), None)
        machine = Machine(
            id=asset.id,
            owner=asset.owner,
            path=asset.path,
            line=asset.parent,
            watched={
                each.id: Watched(each.path, each.role, each.unit)
                for each in signals
                if each.role in WATCHED
            },
            state_signal=None if state is None else state.id,
            reason_signal=reason,
            states=machine_states.DEFAULT if state is None else state.states,
        )
        self._known[machine.id] = machine
        for signal in (*machine.watched, machine.state_signal, machine.reason_signal):
            if signal is not None:
                self._machine_of[signal] = machine

    def fold(self, record: Record, now: int) -> Effects[MaintenanceRow]:
        """Take in a batch of samples. Nothing follows at once: judging is `tick`'s."""
        batch = decode_batch(record, now)
        line = self._lines.setdefault(batch.line, LineMachines())
        if not line.seen.is_new(batch.gateway, batch.boot, batch.sequence):
            return Effects()
        self._changed.add(batch.line)
        for id, heard in read_machines(batch, self._machine_of, line.clocks).items():
            machine = self._known[id]
            state = line.machine(id)
            count = take_in(machine, state, heard, line.pending.setdefault(id, {}))
            metrics.SAMPLES.inc(count)
        return Effects()

    def tick(self, now: int) -> Effects[MaintenanceRow]:
        """Judge every machine that was heard of within 30 s."""
        effects: Effects[MaintenanceRow] = Effects()
        untrained = 0
        for path, line in self._lines.items():
            for id, state in line.machines.items():
                machine = self._known.get(id)
                if machine is None or now - state.newest > STALE_US:
                    continue
                verdict = judge_signals(machine, state)
                if not verdict.trained:
                    untrained += 1
                    continue
                before = state.judgement()
                effects.add(self._judge(machine, state, verdict, now))
                if state.judgement() != before:
                    line.unsaved.add(id)
                    self._changed.add(path)
        metrics.UNTRAINED.set(untrained)
        return effects

    def changed(self) -> Mapping[str, State]:
        """The parts of the lines that changed."""
        changed = {path: self._lines[path].unsaved_parts() for path in self._changed}
        self._changed = set()
        return changed

    def restore(self, states: Mapping[str, State]) -> None:
        """Go on from saved lines."""
        self._lines = {path: LineMachines.restore(parts) for path, parts in states.items()}
        self._changed = set()

    def memory(self) -> State:
        """Nothing: assets are compacted and read anew."""
        return {}

    def recall(self, memory: State) -> None:
        """Nothing to recall."""

    def _judge(
        self, machine: Machine, state: MachineState, verdict: Assessment, now: int
    ) -> Effects[MaintenanceRow]:
        effects: Effects[MaintenanceRow] = Effects()
        drivers = [
            {
                "signal": d.signal,
                "path": machine.watched[d.signal].path,
                "share": round(d.share, 4),
                "value": round(d.value, 6),
                "baseline": round(d.baseline, 6),
            }
            for d in verdict.drivers
            if d.signal in machine.watched
        ]
        index, score = round(verdict.index, 4), round(verdict.score, 4)
        minute = now - now % MINUTE_US
        if minute != state.minute:
            state.minute = minute
            effects.rows.append(
                MaintenanceRow(
                    "health",
                    {
                        "asset": machine.id,
                        "time": to_datetime(minute),
                        "owner": machine.owner,
                        "index": index,
                        "score": score,
                        "drivers": drivers,
                    },
                )
            )
        moved = state.published_index is None or abs(index - state.published_index) >= INDEX_STEP
        if moved or now - state.published_at >= REPEAT_US:
            state.published_index, state.published_at = index, now
            data = {"asset": machine.path, "index": index, "score": score, "drivers": drivers}
            effects.events.append(_event(MAINTENANCE_HEALTH_UPDATED, machine, now, data))
        effects.add(self._follow_case(machine, state, index, score, drivers, now))
        return effects

    def _stop_reason(self, machine: Machine, state: MachineState) -> str:
        """Why the machine stands, in the words of its plant; empty while it works or says
        nothing."""
        if state.mode is not None or not state.stop_reason:
            return ""
        names = self._reasons.get(machine.line or "", {})
        return names.get(state.stop_reason, f"reason {state.stop_reason}")

    def _follow_case(
        self,
        machine: Machine,
        state: MachineState,
        index: float,
        score: float,
        drivers: list[dict[str, object]],
        now: int,
    ) -> Effects[MaintenanceRow]:
        """Open a case when the score stays high while the machine runs, or when it stops by itself
        with a high one; close it when the score stays low; at most one is open."""
        ran_s, broke_off = state.ran_s, state.broke_off
        state.broke_off = False
        needed_s = self._settings.case_opens_after_s
        if broke_off:
            needed_s = min(needed_s, BROKE_OFF_AFTER_S)
        opens = state.case is None and _lasted(state.over_since, ran_s, needed_s)
        closes = state.case is not None and _lasted(
            state.calm_since, ran_s, self._settings.case_closes_after_s
        )
        reason = state.case_reason
        if opens:
            reason = describe(machine, drivers)
        if state.case is not None or opens:
            stop = self._stop_reason(machine, state)
            if stop and stop not in reason:
                reason = f"{reason}; stopped: {stop}"[:LONGEST_REASON]
        told = state.case is not None and reason != state.case_reason
        if not opens and not closes and not told:
            return Effects()
        state.case_reason = reason
        severity = "high" if score >= HIGH_SCORE else "medium"
        if opens:
            state.case_opened_at = now
            state.case = str(uuid.uuid5(NAMESPACE, f"{machine.id}|case|{now}"))
            metrics.CASES.labels(severity).inc()
        settings = self._settings
        case, closed_at = state.case, now if closes else None
        down_s = settings.high_down_s if severity == "high" else settings.medium_down_s
        facts: dict[str, object] = {
            "severity": severity,
            "score": score,
            "index": index,
            "drivers": drivers,
            "expected_down_s": 0.0 if closes else down_s,
            "reason": reason,
        }
        row = {
            "id": case,
            "asset": machine.id,
            "owner": machine.owner,
            "opened_at": to_datetime(state.case_opened_at),
            "closed_at": to_datetime(closed_at) if closed_at else None,
            **facts,
        }
        data = {
            "asset": machine.path,
            "case": case,
            **facts,
            "opened_at": to_iso(to_datetime(state.case_opened_at)),
            "closed_at": to_iso(to_datetime(closed_at)) if closed_at else None,
        }
        if not opens and not closes:
            return Effects([MaintenanceRow("case", row)])
        if closes:
            state.case, state.case_reason = None, ""
        kind = MAINTENANCE_CASE_CLOSED if closes else MAINTENANCE_CASE_OPENED
        return Effects([MaintenanceRow("case", row)], [_event(kind, machine, now, data)])


def describe(machine: Machine, drivers: Sequence[Mapping[str, object]]) -> str:
    """Why a case is open, for people: the signal that drives it, with its baseline."""
    if not drivers:
        return ""
    first = drivers[0]
    watched = machine.watched[str(first["signal"])]
    unit = f" {watched.unit}" if watched.unit else ""
    name = watched.path.rpartition("/")[2]
    return f"{name} {first['value']:.4g}{unit} at work, baseline {first['baseline']:.4g}{unit}"


def _lasted(since: float | None, ran_s: float, seconds: float) -> bool:
    return since is not None and ran_s - since >= seconds


def _event(type: str, machine: Machine, now: int, data: dict[str, object]) -> Outgoing:
    event = make_event(
        type,
        source=SOURCE,
        subject=machine.id,
        owner=machine.owner,
        time=to_datetime(now),
        data=data,
    )
    return Outgoing(MAINTENANCE_EVENTS, machine.id, event)
