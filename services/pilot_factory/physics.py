"""How the machines of one line behave: cycles, buffers, stops, wear, heat. Pure; called by
`simulation.py`.

Same seed, same calls: same values. Pieces are conserved: what a line was fed is finished, scrapped,
in a buffer or in a machine (`Line.fed == finished + scrapped + held`).
"""

from __future__ import annotations

import math
import random
from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from aurelian.model.machine_states import PackMl


class Reason(IntEnum):
    """Codes that the machines give for a stop; the plant models name them under `stop_reasons`."""

    NONE = 0
    STARVED = 10
    BLOCKED = 11
    JAM = 20
    BEARING_FAILURE = 30
    TOOL_BREAKAGE = 31
    STOPPED_BY_HAND = 32
    CHANGE_OF_PRODUCT = 40


@dataclass(frozen=True, slots=True)
class Parameters:
    """What a machine is like; each may be given under a unit's `simulate` in the plant model.

    Attributes:
        cycle_s: time for one piece of the line's first product.
        jitter: standard deviation of a cycle as a share of it.
        scrap_rate: share of pieces that are scrap.
        buffer: places for pieces before the machine (not used for the first: raw material never
            ends).
        idle_kw, run_kw: electric power at rest and at work.
        ambient_c, rise_c, warm_up_s: temperature at rest, how much work adds, time constant.
        vibration_mm_s: RMS velocity at work with a new bearing; a bearing that fails has six times
            as much.
        bearing_life_h: hours at work until a bearing fails. A year's wear is pressed into a day, so
            that a visitor sees one fail.
        repair_s: mean time to change a bearing.
        micro_stops_per_h, micro_stop_s: jams per hour at work, mean length.
        stops_per_h, stop_s: tool breakages per hour at work, mean length.
    """

    cycle_s: float = 6.0
    jitter: float = 0.03
    scrap_rate: float = 0.01
    buffer: float = 12
    idle_kw: float = 0.8
    run_kw: float = 6.0
    ambient_c: float = 22.0
    rise_c: float = 30.0
    warm_up_s: float = 900.0
    vibration_mm_s: float = 1.3
    bearing_life_h: float = 14.0
    repair_s: float = 480.0
    micro_stops_per_h: float = 3.0
    micro_stop_s: float = 12.0
    stops_per_h: float = 0.12
    stop_s: float = 240.0


STARTING_S = 3.0
"""How long a machine takes from a stop to its next piece."""

VIBRATION_AT_FAILURE = 6.0
"""Vibration of a failing bearing, as a multiple of a new one's."""


class Machine:
    """One machine of a line; only its `Line` changes it. What it shows is plain attributes.

    Attributes:
        state, reason: PackML state and why it is not at work.
        good, scrap: totals of pieces.
        buffer: pieces waiting before it.
        cycle_s: duration of its last cycle at work.
        power_kw, energy_kwh, temperature_c, vibration_mm_s: as measured, noise included.
        wear: of the bearing, 0 new to 1 failed.
        wear_factor: how many times faster than usual it wears (a scripted fault).
        holding: has a piece in it, at work or waiting for a place behind the machine.
    """

    __slots__ = (
        "_down_s",
        "_down_state",
        "_next_micro_s",
        "_next_stop_s",
        "_remaining_s",
        "_rng",
        "_waits",
        "_worked_s",
        "buffer",
        "cycle_s",
        "energy_kwh",
        "good",
        "holding",
        "parameters",
        "power_kw",
        "reason",
        "scrap",
        "state",
        "temperature_c",
        "vibration_mm_s",
        "wear",
        "wear_factor",
    )

    def __init__(self, parameters: Parameters, rng: random.Random) -> None:
        self.parameters = p = parameters
        self._rng = rng
        self.state, self.reason = PackMl.EXECUTE, Reason.NONE
        self.good = self.scrap = 0
        self.buffer = 0
        self.cycle_s = p.cycle_s
        self.power_kw, self.energy_kwh = p.idle_kw, 0.0
        self.temperature_c = p.ambient_c + p.rise_c * rng.uniform(0.6, 0.9)
        self.vibration_mm_s = p.vibration_mm_s
        self.wear = rng.uniform(0.0, 0.7)
        self.wear_factor = 1.0
        self.holding = False
        self._waits = False  # the piece in it is ready and waits for a place
        self._remaining_s = 0.0
        self._down_s = 0.0
        self._down_state = PackMl.STARTING
        self._next_micro_s = _wait(rng, p.micro_stops_per_h)
        self._next_stop_s = _wait(rng, p.stops_per_h)
        self._worked_s = 0.0

    def stop(self, seconds: float, state: PackMl, reason: Reason) -> None:
        """Stop for `seconds`, or longer where it is stopped for longer already."""
        if seconds >= self._down_s:
            self._down_s, self._down_state, self.reason = seconds, state, reason

    def release(self) -> None:
        """End a stop; the machine starts again. Does nothing where it is starting, or has started,
        already."""
        if self._down_state is not PackMl.STARTING:
            self._down_s, self._down_state, self.reason = STARTING_S, PackMl.STARTING, Reason.NONE


class Line:
    """Machines in flow order with buffers between them.

    Attributes:
        machines: in flow order.
        product: index of the product that is made; the plant model has their names and cycle times.
        fed: pieces of raw material that the first machine took.
        finished: good pieces that left the last machine.
    """

    def __init__(
        self,
        parameters: Sequence[Parameters],
        seed: str,
        *,
        cycle_factors: Sequence[float] = (1.0,),
        changes_per_h: float = 0.1,
        setup_s: float = 240.0,
    ) -> None:
        """Make a line at work with half-full buffers.

        Args:
            parameters: of each machine.
            seed: any text; the same text gives the same line.
            cycle_factors: of each product, relative to the machines' `cycle_s`.
            changes_per_h: changes of product per hour; none where there is one product.
            setup_s: how long a change of product stops every machine.
        """
        self.machines = [Machine(p, random.Random(f"{seed}/{n}")) for n, p in enumerate(parameters)]
        self.product = 0
        self.fed = self.finished = 0
        self._factors = tuple(cycle_factors)
        self._changes_per_h, self._setup_s = changes_per_h, setup_s
        self._rng = random.Random(f"{seed}/line")
        self._next_change_s = self._until_change()
        for machine in self.machines[1:]:
            machine.buffer = int(machine.parameters.buffer) // 2
            self.fed += machine.buffer

    @property
    def held(self) -> int:
        """Pieces in buffers and in machines."""
        return sum(machine.buffer + machine.holding for machine in self.machines)

    @property
    def scrapped(self) -> int:
        """Pieces that any machine has scrapped."""
        return sum(machine.scrap for machine in self.machines)

    def step(self, dt_s: float, *, planned: bool = True, resolution_s: float = 1.0) -> None:
        """Let `dt_s` seconds pass. Long steps are cut into pieces of `resolution_s`, so that
        machines can wait for each other.

        Args:
            dt_s: seconds, at least 0.
            planned: False in a break: nobody feeds the first machine, and each finishes its piece
                and is idle.
            resolution_s: finest time between one machine's end of a piece and its neighbour's
                notice of it.
        """
        for machine in self.machines:
            machine._worked_s = 0.0
        self._change_product(dt_s if planned else 0.0)
        parts = max(1, math.ceil(dt_s / resolution_s))
        for _ in range(parts):
            for place in range(len(self.machines) - 1, -1, -1):
                self._advance(place, dt_s / parts, planned)
        for machine in self.machines:
            _measure(machine, dt_s)

    def _advance(self, place: int, dt_s: float, planned: bool) -> None:
        """Let one machine use `dt_s` seconds."""
        machine = self.machines[place]
        left = dt_s
        while left > 0:
            if machine._down_s > 0:
                left = _stand(machine, left)
            elif machine._waits and not self._pass_on(place):
                machine.state, machine.reason = PackMl.SUSPENDED, Reason.BLOCKED
                return
            elif not planned and not machine.holding:
                machine.state, machine.reason = PackMl.IDLE, Reason.NONE
                return
            elif not machine.holding and not self._take(place):
                machine.state, machine.reason = PackMl.SUSPENDED, Reason.STARVED
                return
            else:
                left = self._work(place, left)

    def _take(self, place: int) -> bool:
        """Take a piece from the buffer, or raw material; False: there is none."""
        machine = self.machines[place]
        if place == 0:
            self.fed += 1
        elif machine.buffer > 0:
            machine.buffer -= 1
        else:
            return False
        machine.holding = True
        p = machine.parameters
        usual = p.cycle_s * self._factors[self.product] * (1 + 0.08 * machine.wear**3)
        machine.cycle_s = machine._remaining_s = (
            max(0.5, 1 + p.jitter * machine._rng.gauss(0, 1)) * usual
        )
        return True

    def _pass_on(self, place: int) -> bool:
        """Put the finished piece into the next buffer, or out; False: that buffer is full."""
        machine = self.machines[place]
        if place + 1 == len(self.machines):
            self.finished += 1
        else:
            following = self.machines[place + 1]
            if following.buffer >= following.parameters.buffer:
                return False
            following.buffer += 1
        machine.holding = machine._waits = False
        return True

    def _work(self, place: int, left: float) -> float:
        """Work on the piece until it is ready, the time is used, or the machine breaks down; return
        the time left."""
        machine = self.machines[place]
        machine.state, machine.reason = PackMl.EXECUTE, Reason.NONE
        used = min(left, machine._remaining_s, machine._next_micro_s, machine._next_stop_s)
        machine._remaining_s -= used
        machine._next_micro_s -= used
        machine._next_stop_s -= used
        machine._worked_s += used
        machine.wear += used * machine.wear_factor / (machine.parameters.bearing_life_h * 3600)
        if machine.wear >= 1:
            _fail(machine)
        elif machine._next_stop_s <= 0:
            _break_down(machine)
        elif machine._next_micro_s <= 0:
            _jam(machine)
        if machine._remaining_s <= 0:
            if machine._rng.random() < machine.parameters.scrap_rate:
                machine.scrap += 1
                machine.holding = False
            else:
                machine.good += 1
                machine._waits = True
                self._pass_on(place)
        return left - used

    def _change_product(self, dt_s: float) -> None:
        self._next_change_s -= dt_s
        if self._next_change_s <= 0:
            self.product = (self.product + 1) % len(self._factors)
            self._next_change_s = self._until_change()
            for machine in self.machines:
                machine.stop(self._setup_s, PackMl.RESETTING, Reason.CHANGE_OF_PRODUCT)

    def _until_change(self) -> float:
        return math.inf if len(self._factors) < 2 else 1800 + _wait(self._rng, self._changes_per_h)


def _stand(machine: Machine, left: float) -> float:
    """Use time of a stop; return the time left after it."""
    used = min(left, machine._down_s)
    machine._down_s -= used
    if machine._down_s <= 0:
        machine.release()
    machine.state = machine._down_state
    return left - used


def _fail(machine: Machine) -> None:
    """The bearing fails; its repair makes it new."""
    machine.wear, machine.wear_factor = 0.0, 1.0
    seconds = machine.parameters.repair_s * machine._rng.uniform(0.7, 1.5)
    machine.stop(seconds, PackMl.ABORTED, Reason.BEARING_FAILURE)


def _break_down(machine: Machine) -> None:
    p = machine.parameters
    machine._next_stop_s = _wait(machine._rng, p.stops_per_h)
    machine.stop(30 + machine._rng.expovariate(1 / p.stop_s), PackMl.STOPPED, Reason.TOOL_BREAKAGE)


def _jam(machine: Machine) -> None:
    p = machine.parameters
    machine._next_micro_s = _wait(machine._rng, p.micro_stops_per_h)
    machine.stop(2 + machine._rng.expovariate(1 / p.micro_stop_s), PackMl.HELD, Reason.JAM)


def _measure(machine: Machine, dt_s: float) -> None:
    """Let the sensors see the last `dt_s` seconds."""
    p, noise = machine.parameters, machine._rng.gauss
    load = machine._worked_s / dt_s if dt_s > 0 else 0.0
    power = (p.idle_kw + (p.run_kw - p.idle_kw) * load) * (1 + 0.12 * machine.wear**3)
    machine.power_kw = max(0.0, power * (1 + 0.02 * noise(0, 1)))
    machine.energy_kwh += machine.power_kw * dt_s / 3600
    goal = p.ambient_c + p.rise_c * load * (1 + 0.35 * machine.wear**4)
    machine.temperature_c += (goal - machine.temperature_c) * (1 - math.exp(-dt_s / p.warm_up_s))
    bearing = 1 + (VIBRATION_AT_FAILURE - 1) * machine.wear**3
    machine.vibration_mm_s = max(
        0.02, p.vibration_mm_s * (0.06 + load * bearing) * (1 + 0.04 * noise(0, 1))
    )


def _wait(rng: random.Random, per_h: float) -> float:
    """Seconds at work until the next of events that come `per_h` times an hour by chance."""
    return rng.expovariate(1.0) * 3600 / per_h if per_h > 0 else math.inf
