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
from maintenance.detector import SignalState

_MACHINE, _TRAINING = "machine/", "training/"


@dataclass(slots=True)
class MachineState:
    """What is kept of a machine between batches. Times in microseconds since 1970.

    Attributes:
        state, state_time: the newest PackML state, and its time.
        newest: time of the newest value used.
        published_index, published_at: of the health event that went out last.
        minute: of the newest health row.
        over_since, calm_since: since when the score is at 1 or more, or below the closing score.
        case, case_opened_at: the open case.
    """

    signals: dict[str, SignalState] = field(default_factory=dict)
    state: int | None = None
    state_time: int = 0
    newest: int = 0
    published_index: float | None = None
    published_at: int = 0
    minute: int = 0
    over_since: int | None = None
    calm_since: int | None = None
    case: str | None = None
    case_opened_at: int = 0

    def judgement(self) -> tuple[object, ...]:
        """What judging may change, to see whether it did."""
        return _JUDGEMENT(self)


@dataclass(slots=True)
class LineMachines:
    """State of one key (a line): batches seen and its machines.

    Attributes:
        unsaved: machines of which something changed since the last snapshot.
        training: machines whose saved part with training values is not empty.
    """

    seen: Sequences = field(default_factory=Sequences)
    machines: dict[str, MachineState] = field(default_factory=dict)
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
                name: [_json(s.smoothed), s.time, _json(s.median), _json(s.deviation)]
                for name, s in machine.signals.items()
            }
            parts[_MACHINE + id] = [signals, *_FIELDS(machine)]
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
            signals = {
                name: SignalState(
                    _float(smoothed), time, training.get(name, []), _float(median), _float(spread)
                )
                for name, (smoothed, time, median, spread) in content[0].items()
            }
            line.machines[id] = MachineState(signals, *content[1:])
            line.unsaved.discard(id)
            if training:
                line.training.add(id)
        return line


def _restore_whole(line: LineMachines, machines: object) -> None:
    """From the one object that the version before saved; a machine is written in parts when it
    changes."""
    renamed = {"told_index": "published_index", "told_at": "published_at"}
    for id, kept in (machines if isinstance(machines, dict) else {}).items():
        signals = {
            name: SignalState(
                _float(smoothed), time, list(training), _float(median), _float(deviation)
            )
            for name, (smoothed, time, training, median, deviation) in kept["signals"].items()
        }
        rest = {renamed.get(name, name): kept[name] for name in kept if name != "signals"}
        line.machines[id] = MachineState(signals=signals, **rest)


def _json(value: float) -> float | None:
    return None if math.isnan(value) else value


def _float(value: float | None) -> float:
    return math.nan if value is None else value


_FIELDS = attrgetter(*(each.name for each in fields(MachineState) if each.name != "signals"))
_JUDGEMENT = attrgetter(
    "published_index",
    "published_at",
    "minute",
    "over_since",
    "calm_since",
    "case",
    "case_opened_at",
)
