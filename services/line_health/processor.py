"""The fold of line_health: batches of samples to the state machine of their line. Pure; run by
`run_fold`."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from aurelian.backbone.topics import ASSETS
from aurelian.fold.contract import Effects, State
from aurelian.fold.sequences import Sequences
from aurelian.model import codec
from aurelian.model.asset import AssetError, decode_asset
from aurelian.model.plant_parts import Role
from aurelian.model.record import Record
from aurelian.model.sample import BAD, Flag, SampleBatch
from line_health.alarms import AlarmMemory, fold_time, fold_value, is_quiet
from line_health.line import LineMachine
from line_health.memory import LineMemory, Reading
from line_health.metrics import ALARMS, BATCHES, LATE, STATES
from line_health.plant import Assets, LineInfo
from line_health.presence import Presence
from line_health.rows import Row

log = logging.getLogger(__name__)

_NOT_NOW = np.uint32(Flag.HISTORICAL)
_NOT_HEARD = np.uint32(Flag.HISTORICAL | Flag.RETAINED)
_CATCHING_UP_US = 3_000_000

_ROLES = frozenset(
    {
        Role.STATE,
        Role.GOOD_COUNT,
        Role.SCRAP_COUNT,
        Role.CYCLE_TIME,
        Role.STOP_REASON,
        Role.PRODUCT,
        Role.BUFFER,
    }
)


@dataclass(slots=True)
class Seat:
    """A line with all that is kept for it. `fed_at`: when its constraint unit's data last came in,
    by our clock."""

    memory: LineMemory
    seen: Sequences
    machine: LineMachine | None = None
    fed_at: int = 0

    def snapshot(self) -> State:
        """JSON-ready form."""
        return {"memory": self.memory.snapshot(), "seen": self.seen.snapshot()}

    @classmethod
    def restore(cls, state: State) -> Seat:
        """The opposite of `snapshot`."""
        return cls(LineMemory.restore(state["memory"]), Sequences.restore(state["seen"]))


@dataclass(frozen=True, slots=True)
class Columns:
    """Which signals of a batch's dictionary matter for a line; (n signals,) each."""

    role: NDArray[np.bool_]
    limited: NDArray[np.bool_]
    constraint: NDArray[np.bool_]  # of the constraint unit


class Lines:
    """All lines whose partitions are ours. Implements `aurelian.fold.contract.Fold`."""

    def __init__(self) -> None:
        self.assets = Assets()
        self.presence: dict[str, Presence] = {}
        self.seats: dict[str, Seat] = {}
        self._changed: set[str] = set()
        self._unusable: set[str] = set()
        self._columns = lru_cache(maxsize=512)(_choose_columns)

    def learn(self, record: Record, now: int) -> None:
        """Take in an asset, or that a source was born, beats or died."""
        if record.topic == ASSETS.name:
            self.assets.learn((record.key or b"").decode(), decode_asset(record.value))
            self._columns.cache_clear()
            self._unusable.clear()
            for seat in self.seats.values():
                seat.machine = None
        elif record.value is not None:
            self._learn_presence(codec.decode_event(record.value))

    def fold(self, record: Record, now: int) -> Effects[Row]:
        """Take in a batch of samples."""
        batch = codec.decode(record.value or b"")
        line = self._line(batch.line)
        if line is None:
            BATCHES.labels("unknown_line").inc()
            return Effects()
        seat = self._seat(line)
        if not seat.seen.is_new(batch.gateway, batch.boot, batch.sequence):
            BATCHES.labels("seen").inc()
            return Effects()
        BATCHES.labels("folded").inc()
        self._changed.add(line.path)
        machine = self._machine(line, seat)
        columns = self._columns(batch.signals, line)
        effects = self._hear(line, seat, machine, batch, columns, now)
        effects.add(machine.read(_readings(line, batch, columns.role[batch.signal])))
        effects.add(_fold_limits(line, seat.memory, batch, columns.limited))
        _count(effects)
        return effects

    def tick(self, now: int) -> Effects[Row]:
        """Let time pass for every line."""
        effects: Effects[Row] = Effects()
        for path, seat in self.seats.items():
            line = self._line(path)
            if line is None:
                continue
            presence = self.presence.setdefault(line.constraint.source, Presence())
            machine = self._machine(line, seat)
            found = machine.tick(now, presence, now - seat.fed_at < _CATCHING_UP_US)
            if not seat.memory.silent:
                found.add(_pass_alarms(line, seat.memory, now))
            if found:
                self._changed.add(path)
                effects.add(found)
        _count(effects)
        return effects

    def changed(self) -> Mapping[str, State]:
        """Snapshots of the lines that changed."""
        states = {path: self.seats[path].snapshot() for path in self._changed}
        self._changed = set()
        return states

    def restore(self, states: Mapping[str, State]) -> None:
        """Forget all lines and take these."""
        self.seats = {path: Seat.restore(state) for path, state in states.items()}
        self._changed = set()

    def memory(self) -> State:
        """When the machines of each source were heard."""
        return {source: presence.snapshot() for source, presence in self.presence.items()}

    def recall(self, memory: State) -> None:
        """The opposite of `memory`."""
        self.presence = {
            source: Presence(kept["spans"], kept["died"])
            for source, kept in memory.items()
            if isinstance(kept, dict) and isinstance(kept["spans"], dict)
        }

    def _learn_presence(self, event: codec.SourceEvent) -> None:
        presence = self.presence.setdefault(event.source, Presence())
        match event.WhichOneof("kind"):
            case "heartbeat":
                presence.hear(event.heartbeat.heard_at or event.time, event.heartbeat.assets)
            case "birth":
                presence.hear(event.time, event.birth.assets)
            case "death":
                presence.die(event.time, event.death.assets)
            case _:
                return

    def _hear(
        self,
        line: LineInfo,
        seat: Seat,
        machine: LineMachine,
        batch: SampleBatch,
        columns: Columns,
        now: int,
    ) -> Effects[Row]:
        # Bad may mean that the server cannot reach the machine: no sign of it.
        fresh = ((batch.flags & _NOT_HEARD) == 0) & (batch.status < BAD)
        ours = columns.constraint[batch.signal] & fresh
        if not ours.any():
            return Effects()
        seat.fed_at = now
        times = batch.gateway_time[ours]
        presence = self.presence.setdefault(line.constraint.source, Presence())
        return machine.hear(int(times.min()), int(times.max()), presence)

    def _line(self, path: str) -> LineInfo | None:
        if path in self._unusable:
            return None
        try:
            return self.assets.line(path)
        except AssetError as error:
            self._unusable.add(path)
            log.error(
                "line is not watched", extra={"fields": {"line": path, "because": str(error)}}
            )
            return None

    def _seat(self, line: LineInfo) -> Seat:
        return self.seats.setdefault(line.path, Seat(LineMemory(), Sequences()))

    def _machine(self, line: LineInfo, seat: Seat) -> LineMachine:
        if seat.machine is None or seat.machine.line is not line:
            seat.machine = LineMachine(line, seat.memory)
        return seat.machine


def _choose_columns(signals: tuple[object, ...], line: LineInfo) -> Columns:
    known = [line.signals.get(getattr(signal, "id", "")) for signal in signals]
    return Columns(
        role=np.array([s is not None and s.role in _ROLES for s in known], np.bool_),
        limited=np.array([s is not None and s.limits is not None for s in known], np.bool_),
        constraint=np.array(
            [getattr(s, "asset", "") == line.constraint.id for s in signals], np.bool_
        ),
    )


def _readings(line: LineInfo, batch: SampleBatch, wanted: NDArray[np.bool_]) -> Iterable[Reading]:
    """The samples with a role, in the order of the times at which they count."""
    wanted = wanted & ((batch.flags & _NOT_NOW) == 0)
    if not wanted.any():
        return []
    part = batch.take(wanted)
    times = np.minimum(part.time, part.gateway_time)
    values, status, signal = part.values(), part.status.tolist(), part.signal.tolist()
    return [
        Reading(
            line.signals[batch.signals[signal[i]].id],
            int(times[i]),
            None if status[i] & BAD else values[i],
        )
        for i in np.argsort(times, kind="stable").tolist()
    ]


def _fold_limits(
    line: LineInfo, memory: LineMemory, batch: SampleBatch, limited: NDArray[np.bool_]
) -> Effects[Row]:
    """Hold the samples that have limits against them; without a loop where all of a signal's are
    inside."""
    effects: Effects[Row] = Effects()
    chosen = limited[batch.signal]
    if not chosen.any():
        return effects
    numbers, times = batch.numbers(), np.minimum(batch.time, batch.gateway_time)
    usable = chosen & ~np.isnan(numbers) & ((batch.flags & _NOT_NOW) == 0) & (batch.status < BAD)
    for index in np.unique(batch.signal[usable]).tolist():
        info = line.signals[batch.signals[index].id]
        assert info.limits is not None
        mine = usable & (batch.signal == index)
        values, at = numbers[mine], times[mine]
        alarm = memory.alarms.setdefault(info.id, AlarmMemory())
        if is_quiet(info.limits, alarm, float(values.min()), float(values.max())):
            alarm.newest = max(alarm.newest, int(at.max()))
            continue
        for i in np.argsort(at, kind="stable").tolist():
            if int(at[i]) <= alarm.newest:
                LATE.inc()
            effects.add(fold_value(line, info, info.limits, alarm, int(at[i]), float(values[i])))
    return effects


def _pass_alarms(line: LineInfo, memory: LineMemory, now: int) -> Effects[Row]:
    effects: Effects[Row] = Effects()
    for id, alarm in memory.alarms.items():
        info = line.signals.get(id)
        if (
            info is not None
            and info.limits is not None
            and (alarm.beyond_since or alarm.calm_since)
        ):
            effects.add(fold_time(line, info, info.limits, alarm, now))
    return effects


def _count(effects: Effects[Row]) -> None:
    for out in effects.events:
        kind = out.event.type.rsplit(".", 2)[1]
        if kind == "state-changed":
            STATES.labels(str(out.event.data["state"])).inc()
        elif kind == "alarm-raised":
            ALARMS.labels(str(out.event.data["priority"])).inc()
