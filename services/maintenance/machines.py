"""The fold of the maintenance worker: samples of machines in, health rows, cases and events out.
Pure; run by processor.py."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from aurelian.backbone.topics import MAINTENANCE_EVENTS
from aurelian.events.cloudevent import make_event
from aurelian.events.schemas import (
    MAINTENANCE_CASE_CLOSED,
    MAINTENANCE_CASE_OPENED,
    MAINTENANCE_HEALTH_UPDATED,
)
from aurelian.fold.contract import Effects, Outgoing, State
from aurelian.model import codec
from aurelian.model.asset import decode_asset
from aurelian.model.packml import PackMl
from aurelian.model.plant_parts import NAMESPACE, Role
from aurelian.model.record import Record
from aurelian.model.sample import BAD, Flag, SampleBatch
from aurelian.model.time import SECOND_US, to_datetime, to_iso
from maintenance import metrics
from maintenance.detector import Assessment, SignalState, assess, update_signal
from maintenance.machine_state import LineMachines, MachineState
from maintenance.settings import MaintenanceSettings

WATCHED = frozenset({Role.VIBRATION, Role.TEMPERATURE, Role.CURRENT, Role.POWER})
SOURCE = "/aurelian/maintenance"
STALE_US = 30 * SECOND_US
MINUTE_US = 60 * SECOND_US
REPEAT_US = 10 * MINUTE_US
INDEX_STEP = 0.02
CLOSE_SCORE = 0.7
HIGH_SCORE = 2.0


@dataclass(frozen=True, slots=True)
class Machine:
    """What the plant model says of a machine: watched signal ids with their paths, and its state
    signal."""

    id: str
    owner: str
    path: str
    watched: Mapping[str, str]
    state_signal: str | None


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
        self._lines: dict[str, LineMachines] = {}
        self._changed: set[str] = set()

    def learn(self, record: Record, now: int) -> None:
        """Take in an asset."""
        asset = decode_asset(record.value)
        if asset is None or asset.level != "unit":
            return
        signals = asset.unit_meaning().signals
        machine = Machine(
            id=asset.id,
            owner=asset.owner,
            path=asset.path,
            watched={each.id: each.path for each in signals if each.role in WATCHED},
            state_signal=next((each.id for each in signals if each.role is Role.STATE), None),
        )
        self._known[machine.id] = machine
        for signal in (*machine.watched, *([machine.state_signal] if machine.state_signal else [])):
            self._machine_of[signal] = machine

    def fold(self, record: Record, now: int) -> Effects[MaintenanceRow]:
        """Take in a batch of samples. Nothing follows at once: judging is `tick`'s."""
        batch = codec.decode(record.value or b"")
        line = self._lines.setdefault(batch.line, LineMachines())
        if not line.seen.is_new(batch.gateway, batch.boot, batch.sequence):
            return Effects()
        self._changed.add(batch.line)
        unusable = (batch.flags & np.uint32(Flag.HISTORICAL)) != 0
        unusable |= batch.status >= BAD
        columns = self._columns(batch, ~unusable)
        for signal, (times, values) in columns.items():
            machine = self._machine_of[signal]
            if signal == machine.state_signal and len(times) and machine.owner == batch.owner:
                state = line.machine(machine.id)
                _keep_state(state, times, values)
        for signal, (times, values) in columns.items():
            machine = self._machine_of[signal]
            if signal == machine.state_signal or machine.owner != batch.owner:
                continue
            state = line.machine(machine.id)
            if machine.state_signal is not None:
                states = columns.get(machine.state_signal)
                executing = _executing(state, states, times)
                times, values = times[executing], values[executing]
            update_signal(state.signals.setdefault(signal, SignalState()), times, values)
            if len(times):
                state.newest = max(state.newest, int(times[-1]))
                metrics.SAMPLES.inc(len(times))
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
                verdict = assess(state.signals)
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

    def _columns(
        self, batch: SampleBatch, usable: NDArray[np.bool_]
    ) -> dict[str, tuple[NDArray[np.int64], NDArray[np.float64]]]:
        """Times and values of each signal that matters here, in time order."""
        times, numbers, columns = batch.time, batch.numbers(), {}
        for index, signal in enumerate(batch.signals):
            if signal.id not in self._machine_of:
                continue
            chosen = usable & (batch.signal == index) & ~np.isnan(numbers)
            order = np.argsort(times[chosen], kind="stable")
            columns[signal.id] = (times[chosen][order], numbers[chosen][order])
        return columns

    def _judge(
        self, machine: Machine, state: MachineState, verdict: Assessment, now: int
    ) -> Effects[MaintenanceRow]:
        effects: Effects[MaintenanceRow] = Effects()
        drivers = [
            {
                "signal": d.signal,
                "path": machine.watched[d.signal],
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

    def _follow_case(
        self,
        machine: Machine,
        state: MachineState,
        index: float,
        score: float,
        drivers: list[dict[str, object]],
        now: int,
    ) -> Effects[MaintenanceRow]:
        """Open a case when the score stays high, close it when it stays low; at most one is
        open."""
        state.over_since = None if score < 1 else state.over_since or now
        state.calm_since = None if score >= CLOSE_SCORE else state.calm_since or now
        opens = state.case is None and _lasted(
            state.over_since, now, self._settings.case_opens_after_s
        )
        closes = state.case is not None and _lasted(
            state.calm_since, now, self._settings.case_closes_after_s
        )
        if not opens and not closes:
            return Effects()
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
        if closes:
            state.case = None
        kind = MAINTENANCE_CASE_CLOSED if closes else MAINTENANCE_CASE_OPENED
        return Effects([MaintenanceRow("case", row)], [_event(kind, machine, now, data)])


def _keep_state(state: MachineState, times: NDArray[np.int64], values: NDArray[np.float64]) -> None:
    if int(times[-1]) >= state.state_time:
        state.state_time, state.state = int(times[-1]), int(values[-1])


def _executing(
    state: MachineState,
    states: tuple[NDArray[np.int64], NDArray[np.float64]] | None,
    times: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Which times fall into execution: by the batch's state values where they reach back, else by
    the kept state."""
    if states is None or len(states[0]) == 0:
        return np.full(len(times), state.state == PackMl.EXECUTE)
    at = np.searchsorted(states[0], times, side="right") - 1
    executing: NDArray[np.bool_] = states[1][np.maximum(at, 0)] == PackMl.EXECUTE
    return executing


def _lasted(since: int | None, now: int, seconds: float) -> bool:
    return since is not None and now - since >= seconds * SECOND_US


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
