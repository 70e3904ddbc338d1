"""Which batches were folded already: part of the state of services that fold samples (line_health,
maintenance). Pure."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import ClassVar


@dataclass(slots=True)
class Sequences:
    """Which batches of a line were folded already, by (gateway, boot, sequence); part of a line's
    state.

    Gateways send again in order what may not have arrived, after failures and into each new log.
    Per run of a gateway
    it keeps the sequence up to which all are known and those seen above a hole, at most
    `MAX_BEYOND`: then the hole counts as lost. It remembers `MAX_RUNS` runs.
    """

    MAX_BEYOND: ClassVar[int] = 64
    MAX_RUNS: ClassVar[int] = 16

    runs: dict[str, list[int]] = field(default_factory=dict)
    """"gateway/boot" -> [through, then the sequences seen beyond a hole, ascending]."""

    def is_new(self, gateway: str, boot: int, sequence: int) -> bool:
        """Note a batch; False when it was noted before."""
        key = f"{gateway}/{boot}"
        run = self.runs.pop(key, [0])
        self.runs[key] = run  # the newest last
        while len(self.runs) > self.MAX_RUNS:
            del self.runs[next(iter(self.runs))]
        if sequence <= run[0] or sequence in run[1:]:
            return False
        run.append(sequence)
        run[1:] = sorted(run[1:])
        if len(run) > self.MAX_BEYOND + 1:
            run[0] = run[1] - 1
        while len(run) > 1 and run[1] == run[0] + 1:
            run[0] = run.pop(1)
        return True

    def snapshot(self) -> dict[str, list[int]]:
        """JSON-ready form."""
        return {key: list(run) for key, run in self.runs.items()}

    @classmethod
    def restore(cls, snapshot: object) -> Sequences:
        """The opposite of `snapshot`; anything else than its result gives an empty one."""
        if not isinstance(snapshot, dict):
            return cls()
        return cls({str(key): [int(number) for number in run] for key, run in snapshot.items()})
