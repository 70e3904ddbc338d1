"""The fold of line_health: batches of samples to the state machine of their line. Pure; run by
`run_fold`."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from aurelian.backbone.topics import ASSETS
from aurelian.fold.contract import Effects, State
from aurelian.fold.sequences import Sequences
from aurelian.model import codec
from aurelian.model.asset import AssetError, decode_asset
from aurelian.model.plant_parts import Role
from aurelian.model.record import Record
from aurelian.model.sample import BAD, Flag, SampleBatch
from line_health.alarms import AlarmState, fold_time, fold_value, is_quiet
from line_health.line import LineMachine
from line_health.line_status import LineStatus, Reading
from line_health.metrics import ALARMS, BATCHES, LATE, STATES
from line_health.plant import Assets, LineInfo, SignalInfo
from line_health.presence import Presence
from line_health.rows import LineRow

log = logging.getLogger(__name__)

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

_FOLDED, _SEEN, _UNKNOWN_LINE = map(BATCHES.labels, ("folded", "seen", "unknown_line"))


@dataclass(slots=True)
class WatchedLine:
    """A line with all that is kept for it; `machine` belongs to the newest assets when its `line`
    does."""

    status: LineStatus
    seen: Sequences
    machine: LineMachine | None = None


@dataclass(slots=True)
class SignalValues:
    """The usable values of one signal with limits in a batch, in the order of the batch."""

    info: SignalInfo
    times: list[int]
    values: list[float]


class Lines:
    """All lines whose partitions are ours. Implements `aurelian.fold.contract.Fold`."""

    def __init__(self) -> None:
        self.assets = Assets()
        self.presence: dict[str, Presence] = {}
        self.watched: dict[str, WatchedLine] = {}
        self._changed: set[str] = set()
        self._unusable: set[str] = set()

    def learn(self, record: Record, now: int) -> None:
        """Take in an asset, or that a source was born, beats or died."""
        if record.topic == ASSETS.name:
            self.assets.learn((record.key or b"").decode(), decode_asset(record.value))
            self._unusable.clear()
        elif record.value is not None:
            self._learn_presence(codec.decode_event(record.value))

    def fold(self, record: Record, now: int) -> Effects[LineRow]:
        """Take in a batch of samples."""
        batch = codec.decode(record.value or b"")
        line = self._line(batch.line)
        if line is None:
            _UNKNOWN_LINE.inc()
            return Effects()
        watched = self._watched(line)
        if not watched.seen.is_new(batch.gateway, batch.boot, batch.sequence):
            _SEEN.inc()
            return Effects()
        _FOLDED.inc()
        self._changed.add(line.path)
        machine = self._machine(line, watched)
        effects = self._hear(line, watched.status, machine, batch, now)
        readings, limited = _sort_out(line, batch)
        effects.add(machine.read(readings))
        effects.add(_fold_limits(line, watched.status, limited))
        _count(effects)
        return effects

    def tick(self, now: int) -> Effects[LineRow]:
        """Let time pass for every line."""
        effects: Effects[LineRow] = Effects()
        for path, watched in self.watched.items():
            line = self._line(path)
            if line is None:
                continue
            status, presence = watched.status, self._presence(line.constraint.source)
            catching_up = now - status.received_at < _CATCHING_UP_US
            effects.add(self._machine(line, watched).tick(now, presence, catching_up))
            if not status.silent:
                effects.add(_pass_alarms(line, status, now))
            if status.changed:
                self._changed.add(path)
        _count(effects)
        return effects

    def changed(self) -> Mapping[str, State]:
        """The parts of the lines that changed."""
        states = {}
        for path in self._changed:
            watched = self.watched[path]
            states[path] = watched.status.unsaved_parts(watched.seen)
        self._changed = set()
        return states

    def restore(self, states: Mapping[str, State]) -> None:
        """Forget all lines and take these."""
        self.watched = {
            path: WatchedLine(*LineStatus.restore(parts)) for path, parts in states.items()
        }
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
        presence = self._presence(event.source)
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
        status: LineStatus,
        machine: LineMachine,
        batch: SampleBatch,
        now: int,
    ) -> Effects[LineRow]:
        constraint = line.constraint.id
        ours = [signal.asset == constraint for signal in batch.signals]
        if not any(ours):
            return Effects()
        heard = np.array(ours, np.bool_)[batch.signal]
        if batch.flags.any() or batch.status.any():
            # Bad may mean that the server cannot reach the machine: no sign of it.
            heard &= ((batch.flags & _NOT_HEARD) == 0) & (batch.status < BAD)
        times = batch.gateway_time[heard]
        if not len(times):
            return Effects()
        status.received_at = now
        presence = self._presence(line.constraint.source)
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

    def _watched(self, line: LineInfo) -> WatchedLine:
        watched = self.watched.get(line.path)
        if watched is None:
            watched = self.watched[line.path] = WatchedLine(LineStatus(), Sequences())
        return watched

    def _machine(self, line: LineInfo, watched: WatchedLine) -> LineMachine:
        if watched.machine is None or watched.machine.line is not line:
            watched.machine = LineMachine(line, watched.status)
        return watched.machine

    def _presence(self, source: str) -> Presence:
        presence = self.presence.get(source)
        if presence is None:
            presence = self.presence[source] = Presence()
        return presence


_HISTORICAL = int(Flag.HISTORICAL)
_NOT_HEARD = np.uint32(Flag.HISTORICAL | Flag.RETAINED)


def _sort_out(line: LineInfo, batch: SampleBatch) -> tuple[list[Reading], Iterable[SignalValues]]:
    """The samples with a role, in the order of the times at which they count, and those with
    limits by signal. Historical ones are in neither, Bad ones are readings without a value."""
    # A loop, not arrays: a batch of a line has about ten samples, of which each array operation
    # would cost as much as the whole loop.
    wanted = [line.signals.get(signal.id) for signal in batch.signals]
    readings: list[Reading] = []
    limited: dict[str, SignalValues] = {}
    samples = zip(
        batch.signal.tolist(),
        np.minimum(batch.time, batch.gateway_time).tolist(),
        batch.values(),
        batch.status.tolist(),
        batch.flags.tolist(),
        strict=True,
    )
    for index, at, value, status, flags in samples:
        info = wanted[index]
        if info is None or flags & _HISTORICAL:
            continue
        if info.role in _ROLES:
            readings.append(Reading(info, at, None if status & BAD else value))
        if (
            info.limits is not None
            and status < BAD
            and isinstance(value, int | float)
            and value == value
        ):
            of_signal = limited.get(info.id)
            if of_signal is None:
                of_signal = limited[info.id] = SignalValues(info, [], [])
            of_signal.times.append(at)
            of_signal.values.append(float(value))
    readings.sort(key=lambda reading: reading.at)
    return readings, limited.values()


def _fold_limits(
    line: LineInfo, status: LineStatus, limited: Iterable[SignalValues]
) -> Effects[LineRow]:
    """Hold values against the limits of their signals; at once where all of a signal's are
    inside."""
    effects: Effects[LineRow] = Effects()
    for of_signal in limited:
        info, times, values = of_signal.info, of_signal.times, of_signal.values
        assert info.limits is not None
        alarm = status.alarms.get(info.id)
        if alarm is None:
            alarm = status.alarms[info.id] = AlarmState()
        if is_quiet(info.limits, alarm, min(values), max(values)):
            alarm.newest = max(alarm.newest, *times)
            continue
        status.changed = True
        for at, value in sorted(zip(times, values, strict=True), key=lambda pair: pair[0]):
            if at <= alarm.newest:
                LATE.inc()
            effects.add(fold_value(line, info, info.limits, alarm, at, value))
    return effects


def _pass_alarms(line: LineInfo, status: LineStatus, now: int) -> Effects[LineRow]:
    effects: Effects[LineRow] = Effects()
    for id, alarm in status.alarms.items():
        if not (alarm.beyond_since or alarm.calm_since):
            continue
        info = line.signals.get(id)
        if info is not None and info.limits is not None:
            found = fold_time(line, info, info.limits, alarm, now)
            if found:
                status.changed = True
                effects.add(found)
    return effects


def _count(effects: Effects[LineRow]) -> None:
    for out in effects.events:
        kind = out.event.type.rsplit(".", 2)[1]
        if kind == "state-changed":
            STATES.labels(str(out.event.data["state"])).inc()
        elif kind == "alarm-raised":
            ALARMS.labels(str(out.event.data["priority"])).inc()
