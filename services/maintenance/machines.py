"""The fold of the maintenance worker: samples of machines in, health rows, cases and events out.
Pure; run by processor.py."""

from __future__ import annotations

import math
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime

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
from aurelian.fold.sequences import Sequences
from aurelian.model import codec
from aurelian.model.asset import decode_asset
from aurelian.model.packml import PackMl
from aurelian.model.plant_parts import NAMESPACE, Role
from aurelian.model.record import Record
from aurelian.model.sample import Flag, SampleBatch
from maintenance import metrics
from maintenance.detector import Assessment, SignalState, assess, update_signal
from maintenance.settings import MaintenanceSettings

WATCHED = frozenset({Role.VIBRATION, Role.TEMPERATURE, Role.CURRENT, Role.POWER})
SOURCE = "/aurelian/maintenance"
STALE_US = 30_000_000
MINUTE_US = 60_000_000
REPEAT_US = 10 * MINUTE_US
INDEX_STEP = 0.02
CLOSE_SCORE = 0.7
HIGH_SCORE = 2.0
BAD_SEVERITY = 2  # top two bits of an OPC UA status code


@dataclass(frozen=True, slots=True)
class Machine:
    """What the plant model says of a machine: watched signal ids with their paths, and its state
    signal."""

    id: str
    owner: str
    path: str
    watched: Mapping[str, str]
    state_signal: str | None


@dataclass(slots=True)
class Memory:
    """What is kept of a machine between batches."""

    signals: dict[str, SignalState] = field(default_factory=dict)
    state: int | None = None
    state_time: int = 0
    newest: int = 0
    told_index: float | None = None
    told_at: int = 0
    minute: int = 0
    over_since: int | None = None
    calm_since: int | None = None
    case: str | None = None
    case_opened_at: int = 0


@dataclass(frozen=True, slots=True)
class Row:
    """A row for `maintenance.health` or `maintenance.case`, by column name."""

    table: str
    values: Mapping[str, object]


@dataclass(slots=True)
class LineMemory:
    """State of one key (a line): batches seen and its machines."""

    seen: Sequences = field(default_factory=Sequences)
    machines: dict[str, Memory] = field(default_factory=dict)


class Machines:
    """The fold (`aurelian.fold.contract.Fold`). Keyed by the line's path, as the samples are."""

    def __init__(self, settings: MaintenanceSettings) -> None:
        self._settings = settings
        self._known: dict[str, Machine] = {}
        self._machine_of: dict[str, Machine] = {}
        self._lines: dict[str, LineMemory] = {}
        self._dirty: set[str] = set()

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

    def fold(self, record: Record, now: int) -> Effects[Row]:
        """Take in a batch of samples. Nothing follows at once: judging is `tick`'s."""
        batch = codec.decode(record.value or b"")
        line = self._lines.setdefault(batch.line, LineMemory())
        if not line.seen.is_new(batch.gateway, batch.boot, batch.sequence):
            return Effects()
        self._dirty.add(batch.line)
        unusable = (batch.flags & np.uint32(Flag.HISTORICAL)) != 0
        unusable |= (batch.status >> np.uint32(30)) >= BAD_SEVERITY
        columns = self._columns(batch, ~unusable)
        for signal, (times, values) in columns.items():
            machine = self._machine_of[signal]
            if signal == machine.state_signal and len(times) and machine.owner == batch.owner:
                memory = line.machines.setdefault(machine.id, Memory())
                _keep_state(memory, times, values)
        for signal, (times, values) in columns.items():
            machine = self._machine_of[signal]
            if signal == machine.state_signal or machine.owner != batch.owner:
                continue
            memory = line.machines.setdefault(machine.id, Memory())
            if machine.state_signal is not None:
                states = columns.get(machine.state_signal)
                executing = _executing(memory, states, times)
                times, values = times[executing], values[executing]
            update_signal(memory.signals.setdefault(signal, SignalState()), times, values)
            if len(times):
                memory.newest = max(memory.newest, int(times[-1]))
                metrics.SAMPLES.inc(len(times))
        return Effects()

    def tick(self, now: int) -> Effects[Row]:
        """Judge every machine that was heard of within 30 s."""
        effects: Effects[Row] = Effects()
        untrained = 0
        for path, line in self._lines.items():
            for id, memory in line.machines.items():
                machine = self._known.get(id)
                if machine is None or now - memory.newest > STALE_US:
                    continue
                verdict = assess(memory.signals)
                if not verdict.trained:
                    untrained += 1
                    continue
                self._dirty.add(path)
                effects.add(self._judge(machine, memory, verdict, now))
        metrics.UNTRAINED.set(untrained)
        return effects

    def changed(self) -> Mapping[str, State]:
        """Snapshots of the lines that changed."""
        changed = {path: _snapshot(self._lines[path]) for path in self._dirty}
        self._dirty.clear()
        return changed

    def restore(self, states: Mapping[str, State]) -> None:
        """Go on from saved lines."""
        self._lines = {path: _restore(state) for path, state in states.items()}
        self._dirty.clear()

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
        self, machine: Machine, memory: Memory, verdict: Assessment, now: int
    ) -> Effects[Row]:
        effects: Effects[Row] = Effects()
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
        if minute != memory.minute:
            memory.minute = minute
            effects.rows.append(
                Row(
                    "health",
                    {
                        "asset": machine.id,
                        "time": _utc(minute),
                        "owner": machine.owner,
                        "index": index,
                        "score": score,
                        "drivers": drivers,
                    },
                )
            )
        moved = memory.told_index is None or abs(index - memory.told_index) >= INDEX_STEP
        if moved or now - memory.told_at >= REPEAT_US:
            memory.told_index, memory.told_at = index, now
            data = {"asset": machine.path, "index": index, "score": score, "drivers": drivers}
            effects.events.append(_event(MAINTENANCE_HEALTH_UPDATED, machine, now, data))
        effects.add(self._follow_case(machine, memory, index, score, drivers, now))
        return effects

    def _follow_case(
        self,
        machine: Machine,
        memory: Memory,
        index: float,
        score: float,
        drivers: list[dict[str, object]],
        now: int,
    ) -> Effects[Row]:
        """Open a case when the score stays high, close it when it stays low; at most one is
        open."""
        memory.over_since = None if score < 1 else memory.over_since or now
        memory.calm_since = None if score >= CLOSE_SCORE else memory.calm_since or now
        opens = memory.case is None and _lasted(
            memory.over_since, now, self._settings.case_opens_after_s
        )
        closes = memory.case is not None and _lasted(
            memory.calm_since, now, self._settings.case_closes_after_s
        )
        if not opens and not closes:
            return Effects()
        severity = "high" if score >= HIGH_SCORE else "medium"
        if opens:
            memory.case_opened_at = now
            memory.case = str(uuid.uuid5(NAMESPACE, f"{machine.id}|case|{now}"))
            metrics.CASES.labels(severity).inc()
        settings = self._settings
        case, closed_at = memory.case, now if closes else None
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
            "opened_at": _utc(memory.case_opened_at),
            "closed_at": _utc(closed_at) if closed_at else None,
            **facts,
        }
        data = {
            "asset": machine.path,
            "case": case,
            **facts,
            "opened_at": _utc(memory.case_opened_at).isoformat(),
            "closed_at": _utc(closed_at).isoformat() if closed_at else None,
        }
        if closes:
            memory.case = None
        kind = MAINTENANCE_CASE_CLOSED if closes else MAINTENANCE_CASE_OPENED
        return Effects([Row("case", row)], [_event(kind, machine, now, data)])


def _keep_state(memory: Memory, times: NDArray[np.int64], values: NDArray[np.float64]) -> None:
    if int(times[-1]) >= memory.state_time:
        memory.state_time, memory.state = int(times[-1]), int(values[-1])


def _executing(
    memory: Memory,
    states: tuple[NDArray[np.int64], NDArray[np.float64]] | None,
    times: NDArray[np.int64],
) -> NDArray[np.bool_]:
    """Which times fall into execution: by the batch's state values where they reach back, else by
    the kept state."""
    if states is None or len(states[0]) == 0:
        return np.full(len(times), memory.state == PackMl.EXECUTE)
    at = np.searchsorted(states[0], times, side="right") - 1
    executing: NDArray[np.bool_] = states[1][np.maximum(at, 0)] == PackMl.EXECUTE
    return executing


def _lasted(since: int | None, now: int, seconds: float) -> bool:
    return since is not None and now - since >= seconds * 1e6


def _event(type: str, machine: Machine, now: int, data: dict[str, object]) -> Outgoing:
    event = make_event(
        type, source=SOURCE, subject=machine.id, owner=machine.owner, time=_utc(now), data=data
    )
    return Outgoing(MAINTENANCE_EVENTS, machine.id, event)


def _utc(microseconds: int) -> datetime:
    return datetime.fromtimestamp(microseconds / 1e6, UTC)


def _snapshot(line: LineMemory) -> State:
    machines: dict[str, object] = {}
    for id, memory in line.machines.items():
        kept = {name: getattr(memory, name) for name in Memory.__slots__ if name != "signals"}
        kept["signals"] = {
            signal: [
                _json(s.smoothed),
                s.time,
                [round(v, 6) for v in s.training],
                _json(s.median),
                _json(s.deviation),
            ]
            for signal, s in memory.signals.items()
        }
        machines[id] = kept
    return {"seen": line.seen.snapshot(), "machines": machines}


def _restore(state: State) -> LineMemory:
    line = LineMemory(Sequences.restore(state.get("seen")))
    machines = state.get("machines")
    for id, kept in (machines if isinstance(machines, dict) else {}).items():
        signals = {
            signal: SignalState(
                _number(smoothed), time, list(training), _number(median), _number(deviation)
            )
            for signal, (smoothed, time, training, median, deviation) in kept.pop("signals").items()
        }
        line.machines[id] = Memory(signals=signals, **kept)
    return line


def _json(value: float) -> float | None:
    return None if math.isnan(value) else value


def _number(value: float | None) -> float:
    return math.nan if value is None else value
