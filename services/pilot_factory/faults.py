"""Scripted faults: what may be asked for, and how it reaches machines and cables. Called by
`factory.py` and `control.py`."""

from __future__ import annotations

import time
from dataclasses import dataclass, field
from enum import StrEnum

from aurelian.model.machine_states import PackMl
from aurelian.model.plant import Unit
from pilot_factory.outlet import Outlet
from pilot_factory.physics import Machine, Reason


class FaultKind(StrEnum):
    """What can be done to a machine."""

    STOP = "stop"  # it stands still and gives a reason
    CABLE = "cable"  # it runs on, and nobody hears of it
    WEAR = "wear"  # its bearing wears faster


@dataclass(slots=True)
class Fault:
    """A fault that is on. `until`: on the monotonic clock, seconds."""

    unit: Unit
    kind: FaultKind
    seconds: float
    factor: float
    until: float = field(default=0.0)

    def as_dict(self) -> dict[str, object]:
        """JSON-ready form."""
        return {
            "unit": self.unit.path,
            "fault": self.kind.value,
            "seconds": self.seconds,
            "factor": self.factor,
            "remaining_s": round(max(0.0, self.until - time.monotonic()), 1),
        }


class Faults:
    """The faults that are on: one of each kind per unit."""

    def __init__(self) -> None:
        self._on: dict[tuple[str, FaultKind], tuple[Fault, Machine, Outlet]] = {}

    def __len__(self) -> int:
        return len(self._on)

    def listing(self) -> list[Fault]:
        """All that are on."""
        return [fault for fault, _, _ in self._on.values()]

    def begin(self, fault: Fault, machine: Machine, outlet: Outlet, *, speed: float) -> None:
        """Switch a fault on; the same one again replaces it. `speed`: of the simulation, since
        `seconds` are real ones."""
        fault.until = time.monotonic() + fault.seconds
        self._on[fault.unit.path, fault.kind] = (fault, machine, outlet)
        match fault.kind:
            case FaultKind.STOP:
                machine.release()
                machine.stop(fault.seconds * speed, PackMl.STOPPED, Reason.STOPPED_BY_HAND)
            case FaultKind.CABLE:
                outlet.cut(fault.unit)
            case FaultKind.WEAR:
                machine.wear_factor = fault.factor

    def end(self, path: str | None = None) -> int:
        """Switch off the faults of one unit, or all; returns how many there were."""
        chosen = [key for key in self._on if path is None or key[0] == path]
        for key in chosen:
            self._end(key)
        return len(chosen)

    def end_expired(self) -> None:
        """Switch off what has lasted its time."""
        now = time.monotonic()
        for key in [key for key, (fault, _, _) in self._on.items() if fault.until <= now]:
            self._end(key)

    def _end(self, key: tuple[str, FaultKind]) -> None:
        fault, machine, outlet = self._on.pop(key)
        match fault.kind:
            case FaultKind.STOP:
                machine.release()
            case FaultKind.CABLE:
                outlet.mend(fault.unit)
            case FaultKind.WEAR:
                machine.wear_factor = 1.0
