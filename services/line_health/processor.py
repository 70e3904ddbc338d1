"""The fold of line_health: batches of samples to the state machine of their line. Pure; run by
`run_fold`."""

from __future__ import annotations

import logging
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

from aurelian.backbone.topics import ASSETS
from aurelian.fold.contract import Effects, NotLearned, State
from aurelian.fold.records import decode_batch, decode_source_event
from aurelian.fold.sequences import Sequences
from aurelian.model import codec
from aurelian.model.asset import AssetError, decode_asset
from aurelian.model.plant_parts import Role
from aurelian.model.record import Record
from aurelian.model.sample import SampleBatch
from line_health.alarms import AlarmState, fold_time, fold_value, is_quiet
from line_health.batch_content import SignalValues, lag_of, read_batch
from line_health.line import LineMachine
from line_health.line_status import LineStatus
from line_health.metrics import ALARMS, BATCHES, LATE, STATES
from line_health.plant import Assets, LineInfo
from line_health.presence import Presence
from line_health.rows import LineRow
from line_health.shift_past import Gap, Past

log = logging.getLogger(__name__)

_CATCHING_UP_US = 3_000_000
_MOST_ASKED = 10_000

_FOLDED, _SEEN, _UNKNOWN_LINE = map(BATCHES.labels, ("folded", "seen", "unknown_line"))


@dataclass(slots=True)
class WatchedLine:
    """A line with all that is kept for it; `machine` belongs to the newest assets when its `line`
    does."""

    status: LineStatus
    seen: Sequences
    machine: LineMachine | None = None


class Lines:
    """All lines whose partitions are ours. Implements `aurelian.fold.contract.Fold`."""

    def __init__(self) -> None:
        self.assets = Assets()
        self.presence: dict[str, Presence] = {}
        self.watched: dict[str, WatchedLine] = {}
        self.pasts: dict[str, Past] = {}
        self._changed: set[str] = set()
        self._unusable: set[str] = set()
        # Signals that are in no plant model as far as that is known, by line; None among them: the
        # line is in none.
        self._undeclared: dict[str, set[str | None]] = {}

    def learn(self, record: Record, now: int) -> None:
        """Take in an asset, or that a source was born, beats or died."""
        if record.topic == ASSETS.name:
            self.assets.learn((record.key or b"").decode(), decode_asset(record.value))
            self._unusable.clear()
            self._undeclared.clear()
        elif record.value is not None:
            self._learn_presence(decode_source_event(record, now))

    def fold(self, record: Record, now: int) -> Effects[LineRow]:
        """Take in a batch of samples."""
        batch = decode_batch(record, now)
        line = self._line(batch.line)
        self._look_for(batch, line)
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
        status = watched.status
        content = read_batch(line, status.clocks, batch)
        status.correct_times(line, content.clock_steps, now)
        status.mute = content.mute if content.mute or content.last else status.mute
        if content.last:
            status.received_at = now
            presence = self._presence(line.constraint.source)
            effects = machine.hear(content.first, content.last, presence, content.readings)
        else:
            effects = machine.read(content.readings)
        effects.add(_fold_limits(line, status, content.limited.values()))
        _count(effects)
        return effects

    def _look_for(self, batch: SampleBatch, line: LineInfo | None) -> None:
        """Ask once for what a batch has and no plant model: a new machine's first values may be the
        last for long, a state that stays."""
        lacking: set[str | None] = {None}
        if line is not None:
            known = line.unit_of
            lacking = {e.id for e in batch.signals if not (e.discovered or e.id in known)}
        asked = self._undeclared.get(batch.line, set())
        if lacking <= asked:
            return
        if len(self._undeclared) > _MOST_ASKED or len(asked) > _MOST_ASKED:
            self._undeclared.clear()  # whoever sends new names all the time fills no memory
        self._undeclared[batch.line] = asked | lacking
        raise NotLearned(batch.line)

    def tick(self, now: int) -> Effects[LineRow]:
        """Let time pass for every line."""
        effects: Effects[LineRow] = Effects()
        for path, watched in self.watched.items():
            line = self._line(path)
            if line is None:
                # No longer in the plant, or not as it should be: it still falls silent.
                if watched.machine is None:
                    continue
                line = watched.machine.line
            status, presence = watched.status, self._presence(line.constraint.source)
            catching_up = now - status.received_at < _CATCHING_UP_US
            machine = self._machine(line, watched)
            if path in self.pasts:
                machine.take_past(self.pasts.pop(path))
            effects.add(machine.refuse(self._refusals(line)))
            effects.add(machine.tick(now, presence, catching_up))
            if not status.silent:
                effects.add(_pass_alarms(line, status, now))
            if status.changed:
                self._changed.add(path)
        _count(effects)
        return effects

    def gaps(self, now: int) -> list[Gap]:
        """What of running shifts is to be looked for in the store; the answers go into `pasts`."""
        found = []
        for path, watched in self.watched.items():
            machine = watched.machine
            if path not in self.pasts and machine is not None:
                gap = machine.lacks(now)
                if gap is not None:
                    found.append(gap)
        return found

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
        self._changed, self.pasts = set(), {}

    def memory(self) -> State:
        """When the machines of each source were heard."""
        return {source: presence.snapshot() for source, presence in self.presence.items()}

    def recall(self, memory: State) -> None:
        """The opposite of `memory`."""
        self.presence = {
            source: Presence(
                kept["spans"],
                kept["died"],
                {id: (at, why) for id, (at, why) in kept.get("refused", {}).items()},
            )
            for source, kept in memory.items()
            if isinstance(kept, dict) and isinstance(kept["spans"], dict)
        }

    def _learn_presence(self, event: codec.SourceEvent) -> None:
        if event.WhichOneof("kind") == "command_result":
            return  # of a gateway; its `source` may be none
        presence = self._presence(event.source)
        match event.WhichOneof("kind"):
            case "heartbeat":
                presence.hear(event.heartbeat.heard_at or event.time, event.heartbeat.assets)
            case "birth":
                presence.hear(event.time, event.birth.assets)
            case "death":
                presence.die(event.time, event.death.assets)
            case "refused":
                presence.refuse(event.refused.signal, event.time, event.refused.reason)
            case _:
                return

    def _refusals(self, line: LineInfo) -> list[tuple[str, int, str]]:
        """Refused values of its state signals: signal, when, why."""
        found = []
        for unit in line.units:
            presence = self.presence.get(unit.source)
            if presence is not None and presence.refused:
                signal = line.by_role.get((unit.id, Role.STATE), "")
                if signal in presence.refused:
                    found.append((signal, *presence.refused[signal]))
        return found

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
            if at < alarm.newest:
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
            # A value that was long on its way, or has a slow clock, has not stood as long as that.
            until = now - lag_of(status.clocks, info.unit)
            found = fold_time(line, info, info.limits, alarm, until)
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
