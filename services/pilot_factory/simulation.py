"""A plant of the plant model as machines that run: what each unit's signals show at a time. Pure
but for its own state.

Called by `factory.py` (live) and `seed.py` (the past). A unit is simulated when its `simulate`
mapping is not empty.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, fields
from datetime import UTC, datetime, timedelta

from aurelian.model.calendar import planned_seconds
from aurelian.model.machine_states import PackMl
from aurelian.model.plant import Line as LineAsset
from aurelian.model.plant import Plant, Unit
from aurelian.model.plant_file import PlantError
from aurelian.model.plant_parts import Role, SignalModel
from aurelian.model.sample import GOOD, Signal, Value, ValueType
from aurelian.model.source_model import SourceModel
from pilot_factory.physics import Line, Machine, Parameters


@dataclass(frozen=True, slots=True)
class Measurement:
    """One value that a machine shows. `source_time`: microseconds since 1970."""

    signal: SimulatedSignal
    value: Value
    source_time: int
    status: int = GOOD


@dataclass(frozen=True, slots=True, eq=False)
class SimulatedSignal:
    """A signal with the way to read it off its machine.

    Attributes:
        steady: shown at every step; the others only when their value changes.
    """

    unit: Unit
    model: SignalModel
    signal: Signal
    read: Callable[[SimulatedLine, Machine], Value]
    steady: bool


class SimulatedLine:
    """A line of the plant model whose units are simulated.

    Attributes:
        asset: where it stands in its plant.
        units: the simulated ones, in flow order; `machines[i]` is that of `units[i]`.
    """

    def __init__(self, asset: LineAsset, units: list[Unit], seed: str) -> None:
        self.asset, self.units = asset, units
        products = asset.model.products
        self._line = Line(
            [parameters_of(unit) for unit in units],
            f"{seed}/{asset.path}",
            cycle_factors=[
                product.ideal_cycle_s / products[0].ideal_cycle_s for product in products
            ],
        )
        self._signals = [list(_simulated_signals(unit)) for unit in units]
        self._shown: dict[SimulatedSignal, Value] = {}
        self._planned = (-1, True)

    @property
    def machines(self) -> list[Machine]:
        """The machines in flow order."""
        return self._line.machines

    @property
    def product(self) -> str:
        """Id of the product that is made."""
        return self.asset.model.products[self._line.product].id

    @property
    def ideal_cycle_s(self) -> float:
        """Planned run time per item of the product that is made."""
        return self.asset.model.products[self._line.product].ideal_cycle_s

    def signals(self) -> Iterator[SimulatedSignal]:
        """All signals, unit by unit."""
        for signals in self._signals:
            yield from signals

    def step(self, dt_s: float, now: int, resolution_s: float = 1.0) -> None:
        """Let `dt_s` seconds pass that end at `now` (microseconds since 1970)."""
        self._line.step(dt_s, planned=self._is_planned(now), resolution_s=resolution_s)

    def measure(self, now: int, *, everything: bool = False) -> list[Measurement]:
        """What the machines show at `now`: steady signals, and others that changed since the last
        call (or `everything`)."""
        found = []
        for machine, signals in zip(self.machines, self._signals, strict=True):
            for signal in signals:
                value = signal.read(self, machine)
                if signal.steady or everything or self._shown.get(signal) != value:
                    self._shown[signal] = value
                    found.append(Measurement(signal, value, now))
        return found

    def _is_planned(self, now: int) -> bool:
        """Whether the calendar has the line at work; asked once a minute."""
        minute = now // 60_000_000
        if self._planned[0] != minute:
            moment = datetime.fromtimestamp(minute * 60, UTC)
            plant = self.asset.plant
            seconds = planned_seconds(
                self.asset.calendar, plant.zone, moment, moment + timedelta(minutes=1)
            )
            self._planned = (minute, seconds > 0)
        return self._planned[1]


def simulate_lines(plants: Iterable[Plant], seed: str) -> list[SimulatedLine]:
    """The lines of the plants that have simulated units.

    Raises:
        PlantError: a unit's `simulate` or one of its signals is nothing that can be simulated.
    """
    lines = []
    for plant in plants:
        for line in plant.lines():
            units = [unit for unit in line.units if unit.model.simulate]
            if units:
                lines.append(SimulatedLine(line, units, seed))
    return lines


def source_of(unit: Unit) -> SourceModel:
    """The connection that the unit's values go through."""
    return next(each for each in unit.line.plant.sources if each.id == unit.model.source)


def parameters_of(unit: Unit) -> Parameters:
    """Read a unit's `simulate` mapping.

    Raises:
        PlantError: an unknown name, or a value that is no number.
    """
    known = {field.name for field in fields(Parameters)}
    given: dict[str, float] = {}
    for name, value in unit.model.simulate.items():
        if name not in known:
            raise PlantError(
                f"unit {unit.path!r}: simulate: {name!r} is not known; use one of "
                f"{', '.join(sorted(known))}"
            )
        if not isinstance(value, (int, float)):
            raise PlantError(f"unit {unit.path!r}: simulate: {name} is {value!r}, not a number")
        given[name] = float(value)
    return Parameters(**given)


def _simulated_signals(unit: Unit) -> Iterator[SimulatedSignal]:
    for model, signal in zip(unit.model.signals, unit.signals(), strict=True):
        key = model.role.value if model.role is not Role.OTHER else model.name
        if key not in _READ:
            raise PlantError(
                f"signal {signal.path!r}: the pilot plant has nothing for role "
                f"{model.role.value!r}; "
                f"it has {', '.join(_READ)}"
            )
        steady, type_, read = _READ[key]
        if key == Role.STATE.value and model.type is ValueType.TEXT:
            type_, read = ValueType.TEXT, lambda line, m: m.state.name.capitalize()
        if type_ is not model.type:
            raise PlantError(
                f"signal {signal.path!r}: the pilot plant's {key} is {type_.name.lower()}, not "
                f"{model.type.name.lower()}"
            )
        yield SimulatedSignal(unit, model, signal, read, steady)


_AMPERE_PER_KW = 1000 / (3**0.5 * 400 * 0.85)
"""Three phases of 400 V at a power factor of 0.85."""

_DOUBLE, _INT, _TEXT, _BOOL = ValueType.DOUBLE, ValueType.INT64, ValueType.TEXT, ValueType.BOOL

_READ: dict[str, tuple[bool, ValueType, Callable[[SimulatedLine, Machine], Value]]] = {
    "state": (False, _INT, lambda line, m: int(m.state)),
    "good_count": (False, _INT, lambda line, m: m.good),
    "scrap_count": (False, _INT, lambda line, m: m.scrap),
    "buffer": (False, _INT, lambda line, m: m.buffer),
    "stop_reason": (False, _INT, lambda line, m: int(m.reason)),
    "product": (False, _TEXT, lambda line, m: line.product),
    "door_open": (False, _BOOL, lambda line, m: m.state in (PackMl.STOPPED, PackMl.ABORTED)),
    "cycle_time": (False, _DOUBLE, lambda line, m: round(m.cycle_s, 2)),
    "power": (True, _DOUBLE, lambda line, m: round(m.power_kw, 3)),
    "current": (True, _DOUBLE, lambda line, m: round(m.power_kw * _AMPERE_PER_KW, 2)),
    "energy": (True, _DOUBLE, lambda line, m: round(m.energy_kwh, 4)),
    "temperature": (True, _DOUBLE, lambda line, m: round(m.temperature_c, 2)),
    "vibration": (True, _DOUBLE, lambda line, m: round(m.vibration_mm_s, 3)),
}
"""By role, or by name for signals without one: steady or on change, type, how to read it."""
