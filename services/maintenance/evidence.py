"""Which values of a batch say something of a machine at work, and when they were true. Pure; used
by machines.py.

A machine that stands, runs up or runs down shows other values than one at work: none of those gets
into its running average. A value is used when the machine was in one operating state from
`RUN_UP_US` before it until `RUN_DOWN_US` after it.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np

from aurelian.model.evidence import NOT_OF_NOW, MachineClock, vouching
from aurelian.model.machine_states import Activity
from aurelian.model.plant_parts import LineState
from aurelian.model.sample import SampleBatch, Value
from aurelian.model.time import SECOND_US
from maintenance.detector import Assessment, SignalState, assess, update_signal
from maintenance.machine import Machine
from maintenance.machine_state import MachineState

RUN_UP_US = 2 * SECOND_US
RUN_DOWN_US = SECOND_US
CLOSE_SCORE = 0.7
"""Below it a case closes in the end."""

MOST_PENDING = 1000
"""Values of a signal that wait to be used; one that sends more a second loses the oldest."""

_OLD = np.uint32(NOT_OF_NOW)


@dataclass(slots=True)
class Heard:
    """What a batch has of one machine, in the order of (time, sub, arrival).

    Attributes:
        states: (time, sub, value); value None: the state was not read, or cannot be.
        values: by watched signal, (time, value).
        reason: the newest stop reason's code.
        newest: time of the newest vouching value.
    """

    states: list[tuple[int, int, Value]] = field(default_factory=list)
    values: dict[str, list[tuple[int, float]]] = field(default_factory=dict)
    reason: int | None = None
    newest: int = 0


def read_machines(
    batch: SampleBatch, machine_of: Mapping[str, Machine], clocks: dict[str, MachineClock]
) -> dict[str, Heard]:
    """Sort a batch by machine. Historical, retained and repeated values say nothing of now, and
    those of another owner nothing at all; `clocks` learns."""
    machines = [
        machine if machine is not None and machine.owner == batch.owner else None
        for machine in (machine_of.get(signal.id) for signal in batch.signals)
    ]
    if not any(machines):
        return {}
    good = vouching(batch)
    current = (batch.flags & _OLD) == 0
    times, received, subs = batch.time.copy(), batch.gateway_time, batch.sub
    numbers, found, plain = batch.numbers(), {}, None
    for id in {machine.id for machine in machines if machine is not None}:
        of_it = [i for i, each in enumerate(machines) if each is not None and each.id == id]
        mine = np.flatnonzero(np.isin(batch.signal, of_it) & current)
        if not len(mine):
            continue
        clock = clocks.setdefault(id, MachineClock())
        good_of_it = mine[good[mine]]
        if len(good_of_it):
            last = int(good_of_it[-1])
            clock.note(int(times[last]), int(received[last]))
        times[mine] = np.minimum(times[mine] + clock.behind_us, received[mine])
        heard = found[id] = Heard()
        machine = next(each for each in machines if each is not None and each.id == id)
        for at in mine[np.lexsort((subs[mine], times[mine]))].tolist():
            signal, time, usable = batch.signals[batch.signal[at]].id, int(times[at]), good[at]
            if usable:
                heard.newest = max(heard.newest, time)
            if signal == machine.state_signal:
                plain = batch.values() if plain is None else plain
                heard.states.append((time, int(subs[at]), plain[at] if usable else None))
            elif usable and signal == machine.reason_signal:
                if not np.isnan(numbers[at]):
                    heard.reason = int(numbers[at])
            elif usable and not np.isnan(numbers[at]):
                heard.values.setdefault(signal, []).append((time, float(numbers[at])))
    return found


def take_in(
    machine: Machine,
    state: MachineState,
    heard: Heard,
    pending: dict[str, list[tuple[int, float]]],
) -> int:
    """Fold what a batch has of a machine into its state; return how many values were used.
    `pending`: its values that wait, by signal."""
    starts, modes = [state.mode_since], [state.mode]
    for time, sub, value in heard.states:
        if (time, sub) < (state.state_time, state.state_sub):
            continue
        state.state_time, state.state_sub = time, sub
        state.state = value if isinstance(value, int | float | str) else None
        mode = machine.mode(state.state)
        if mode != modes[-1]:
            state.broke_off |= modes[-1] is not None and _stands(machine, state.state)
            starts.append(time)
            modes.append(mode)
    state.mode, state.mode_since = modes[-1], starts[-1]
    state.newest = max(state.newest, heard.newest)
    if heard.reason is not None:
        state.stop_reason = heard.reason
    known_until = max(heard.newest, state.state_time) - RUN_DOWN_US
    used, ran_s = 0, 0.0
    for signal in {*heard.values, *pending}:
        waiting = [*pending.get(signal, []), *heard.values.get(signal, [])]
        pending[signal] = [each for each in waiting if each[0] > known_until][-MOST_PENDING:]
        by_mode: dict[str, list[tuple[int, float]]] = {}
        for time, value in waiting:
            mode = _mode_at(starts, modes, time)
            if mode is not None and time <= known_until:
                by_mode.setdefault(mode, []).append((time, value))
        for mode, values in by_mode.items():
            kept = state.signals.setdefault(f"{mode}/{signal}", SignalState())
            times = np.array([time for time, _ in values], np.int64)
            covered = update_signal(
                kept, times, np.array([v for _, v in values]), machine.watched.get(signal)
            )
            ran_s = max(ran_s, covered)
            used += len(values)
    state.ran_s += ran_s
    if used:
        # Here, not when the machine is judged: a backlog is judged once for many batches.
        verdict = judge_signals(machine, state)
        high, low = verdict.score >= 1, verdict.trained and verdict.score < CLOSE_SCORE
        state.over_since = _since(state.over_since, high, state.ran_s)
        state.calm_since = _since(state.calm_since, low, state.ran_s)
    return used


def judge_signals(machine: Machine, state: MachineState) -> Assessment:
    """Judge a machine by the operating state in which it worked last."""
    newest: dict[str, int] = {}
    for name, kept in state.signals.items():
        mode = name.partition("/")[0]
        newest[mode] = max(newest.get(mode, 0), kept.time)
    mode = state.mode if state.mode in newest else max(newest, key=newest.__getitem__, default="")
    signals = {
        name.partition("/")[2]: kept
        for name, kept in state.signals.items()
        if name.partition("/")[0] == mode
    }
    known = {name: kept for name, kept in signals.items() if name in machine.watched}
    return assess(known, dict(machine.watched))


def _mode_at(starts: list[int], modes: list[str | None], time: int) -> str | None:
    """The operating state at a time where it is settled, else None."""
    at = bisect_right(starts, time) - 1
    if at < 0 or modes[at] is None or time - starts[at] < RUN_UP_US:
        return None
    if at + 1 < len(starts) and starts[at + 1] - time < RUN_DOWN_US:
        return None
    return modes[at]


def _stands(machine: Machine, value: object) -> bool:
    """Whether a state value says that it stands for a cause of its own."""
    read = machine.read(value)
    return read is not None and read.activity is Activity.STANDS and read.line is LineState.DOWN


def _since(since: float | None, holds: bool, ran_s: float) -> float | None:
    if not holds:
        return None
    return ran_s if since is None else since
