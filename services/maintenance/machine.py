"""A machine as the plant model has it. Pure; used by machines.py and evidence.py."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from aurelian.model import machine_states
from maintenance.detector import Watched


@dataclass(frozen=True, slots=True)
class Machine:
    """What the plant model says of a machine: watched signals by id, its state signal and that of
    its stop reasons. One without a state signal is not judged: it may stand still."""

    id: str
    owner: str
    path: str
    line: str | None
    watched: Mapping[str, Watched]
    state_signal: str | None
    reason_signal: str | None = None
    states: machine_states.Vocabulary = machine_states.DEFAULT

    def read(self, state: object) -> machine_states.MachineState | None:
        """What a value of its state signal means; None: it is unknown."""
        read = machine_states.read_state(self.states, state)
        return read if isinstance(read, machine_states.MachineState) else None

    def mode(self, state: object) -> str | None:
        """The operating state that a value of its state signal says, where it works on parts."""
        read = self.read(state)
        return read.name if read is not None and read.executing else None
