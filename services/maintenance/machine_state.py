"""What is kept of the machines of a line: the state of its key, by part. Used by machines.py. Pure.

Parts: `seen`, a part a machine with what moves, and a part a machine with its training values, of
which there are many and only until the baseline stands.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field, fields
from operator import attrgetter

from aurelian.fold.contract import State
from aurelian.fold.sequences import Sequences
from aurelian.model.evidence import MachineClock
from maintenance.detector import SignalState

_MACHINE, _TRAINING = "machine/", "training/"


@dataclass(slots=True)
class MachineState:
    """What is kept of a machine between batches. Times in microseconds since 1970, corrected for
    the machine's clock.

    Attributes:
        signals: by operating state and signal id, `mode/id`.
        state, state_time, state_sub: the newest value of its state signal, its time and ordinal.
        mode: the operating state in which it works on parts; None: it does not, or is unknown.
        mode_since: since when.
        newest: time of the newest vouching value.
        ran_s: running time that was judged.
        published_index, published_at: of the health event that went out last.
        minute: of the newest health row.
        over_since, calm_since: `ran_s` since when the score is at 1 or more, or below the closing
            score.
        broke_off: it stopped by itself since it was last judged.
        stop_reason: the newest code that it gave.
        case, case_opened_at, case_reason: the open case, and why as it was last written.
    """

    signals: dict[str, SignalState] = field(default_factory=dict)
    state: float | str | None = None
    state_time: int = 0
    newest: int = 0
    published_index: float | None = None
    published_at: int = 0
    minute: int = 0
    over_since: float | None = None
    calm_since: float | None = None
    case: str | None = None
    case_opened_at: int = 0
    state_sub: int = 0
    mode: str | None = None
    mode_since: int = 0
    ran_s: float = 0.0
    broke_off: bool = False
    stop_reason: int | None = None
    case_reason: str = ""

    def judgement(self) -> tuple[object, ...]:
        """What judging may change, to see whether it did."""
        return _JUDGEMENT(self)


@dataclass(slots=True)
class LineMachines:
    """State of one key (a line): batches seen and its machines.

    Attributes:
        clocks: of each machine; not saved, a restart learns them anew.
        pending: by machine and signal, its newest values (time, value), of which it is not known
            yet whether it was running down.
        unsaved: machines of which something changed since the last snapshot.
        training: machines whose saved part with training values is not empty.
    """

    seen: Sequences = field(default_factory=Sequences)
    machines: dict[str, MachineState] = field(default_factory=dict)
    clocks: dict[str, MachineClock] = field(default_factory=dict)
    pending: dict[str, dict[str, list[tuple[int, float]]]] = field(default_factory=dict)
    unsaved: set[str] = field(default_factory=set)
    training: set[str] = field(default_factory=set)

    def machine(self, id: str) -> MachineState:
        """The state of a machine, which the caller is about to change."""
        self.unsaved.add(id)
        machine = self.machines.get(id)
        if machine is None:
            machine = self.machines[id] = MachineState()
        return machine

    def unsaved_parts(self) -> State:
        """The parts that changed since the last call."""
        parts: State = {"seen": self.seen.snapshot()}
        for id in self.unsaved:
            machine = self.machines[id]
            signals = {
                name: [_json(getattr(s, each)) for each in _SIGNAL]
                for name, s in machine.signals.items()
            }
            parts[_MACHINE + id] = [signals, *_FIELDS(machine), self.pending.get(id, {})]
            training = {name: s.training for name, s in machine.signals.items() if s.training}
            if training or id in self.training:
                parts[_TRAINING + id] = training
            if training:
                self.training.add(id)
            else:
                self.training.discard(id)
        self.unsaved = set()
        return parts

    @classmethod
    def restore(cls, parts: State) -> LineMachines:
        """From all parts that were saved."""
        line = cls(Sequences.restore(parts.get("seen")))
        _restore_whole(line, parts.get("machines"))
        for part, content in parts.items():
            if not part.startswith(_MACHINE):
                continue
            id = part.removeprefix(_MACHINE)
            assert isinstance(content, list)
            training = parts.get(_TRAINING + id, {})
            assert isinstance(training, dict)
            # What another method learned says nothing to this one.
            signals = {
                name: _signal(kept, training.get(name, []))
                for name, kept in content[0].items()
                if len(kept) == len(_SIGNAL)
            }
            pending = content[-1]
            if isinstance(pending, dict):
                line.machines[id] = MachineState(signals, *content[1:-1])
                line.pending[id] = {
                    name: [(time, value) for time, value in kept] for name, kept in pending.items()
                }
            else:  # of the version before, which counted clock time
                line.machines[id] = MachineState(signals, *content[1:])
                line.machines[id].over_since = line.machines[id].calm_since = None
            line.unsaved.discard(id)
            if training:
                line.training.add(id)
        return line


def _restore_whole(line: LineMachines, machines: object) -> None:
    """From the one object that the version before saved; a machine is written in parts when it
    changes."""
    renamed = {"told_index": "published_index", "told_at": "published_at"}
    for id, kept in (machines if isinstance(machines, dict) else {}).items():
        dropped = {"signals", "over_since", "calm_since"}
        rest = {renamed.get(name, name): kept[name] for name in kept if name not in dropped}
        line.machines[id] = MachineState(**rest)


def _json(value: float) -> float | None:
    return None if math.isnan(value) else value


def _signal(kept: list[float | None], training: list[float]) -> SignalState:
    smoothed, time, raw, resolution, seen_s, median, spread = kept
    return SignalState(
        _float(smoothed),
        int(time or 0),
        _float(raw),
        resolution or 0.0,
        seen_s or 0.0,
        training,
        _float(median),
        _float(spread),
    )


def _float(value: float | None) -> float:
    return math.nan if value is None else value


_FIELDS = attrgetter(*(each.name for each in fields(MachineState) if each.name != "signals"))
_SIGNAL = ("smoothed", "time", "raw", "resolution", "seen_s", "median", "spread")
_JUDGEMENT = attrgetter(
    "published_index",
    "published_at",
    "minute",
    "over_since",
    "calm_since",
    "case",
    "case_opened_at",
    "case_reason",
    "broke_off",
)
