"""What is known of each machine's state, and why it is not known where it is not. Pure; owned by
live.py.

The rules of `aurelian.model.evidence` (decision 9): the state signal's own last message may end the
state at once; what comes instead of signs of life is kept as a note for when the machine is stale.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from aurelian.model.evidence import (
    UNCERTAIN_INITIAL,
    UNCERTAIN_LAST_USABLE,
    UNCERTAIN_NO_COMMUNICATION,
    UNCERTAIN_SUBSTITUTE,
    MachineClock,
    time_is_refused,
)
from aurelian.model.sample import Value
from aurelian.model.time import SECOND_US
from dashboard import formats
from dashboard.encoding import to_json
from dashboard.presence import Presence
from dashboard.records import Body, LiveSignal, Message

UNDECLARED = "only values come that the plant model does not have"
EMPTY = "its state has no value"

BAD_REFUSED = 0x80070000
"""OPC UA status code BadDecodingError: of a value whose successors break their contract."""

_CODE = 0xFFFF0000
_NOT_READ = {
    UNCERTAIN_NO_COMMUNICATION: "no communication with the machine",
    UNCERTAIN_LAST_USABLE: "only the last usable value comes",
    UNCERTAIN_SUBSTITUTE: "only a substitute value comes",
    UNCERTAIN_INITIAL: "only an initial value comes",
}
_LONGEST = 160
_UNITS = (
    (365 * 86_400, "year"),
    (86_400, "day"),
    (3_600, "hour"),
    (60, "minute"),
    (1, "second"),
)


@dataclass(slots=True)
class UnitEvidence:
    """What was last heard of a machine's state.

    Attributes:
        clock: of the machine.
        ended: why its state is unknown; empty: it is known as long as the machine is not stale.
        ended_us: since when, by the gateway's clock.
        note: what came last instead of a sign of life; empty: nothing.
        last: the last state that an accepted value told.
        judged_us: receipt of what `ended` was judged by.
    """

    clock: MachineClock = field(default_factory=MachineClock)
    ended: str = ""
    ended_us: int = 0
    note: str = ""
    last: Value = None
    judged_us: int = 0

    def judge(self, trouble: str, at_us: int, value: Value = None) -> bool:
        """Take in the state signal's newest message: what is wrong with it (empty: nothing), its
        receipt and its value. True if what is said of the machine changed."""
        if at_us < self.judged_us:
            return False
        self.judged_us = at_us
        if not trouble:
            self.last = value
        if trouble == self.ended:
            return False
        if trouble and not self.ended:
            self.ended_us = at_us
        self.ended = trouble
        return True

    def set_note(self, note: str) -> bool:
        """Keep what came instead of a sign of life. True if it changed."""
        changed = note != self.note
        self.note = note
        return changed

    def body(self, unit: str) -> Body:
        """As the browser gets it."""
        return {
            "asset": unit,
            "ended": self.ended,
            "ended_at": self.ended_us // 1000,
            "note": self.note,
            "last": to_json(self.last),
        }

    def message(self, unit: str) -> Message:
        """As the stream sends it."""
        return Message("evidence", self.body(unit))


class EvidenceBook:
    """What is known of all machines. Times in microseconds unless a name says otherwise.

    Args:
        presence: told of each sign of life.
        live_ms: age up to which a machine is live.
    """

    def __init__(self, presence: Presence, live_ms: int) -> None:
        self._presence, self._live_ms = presence, live_ms
        self._units: dict[str, UnitEvidence] = {}

    def of(self, unit: str) -> UnitEvidence:
        """What is known of a machine; made on first use."""
        return self._units.setdefault(unit, UnitEvidence())

    def take(
        self,
        signal: LiveSignal,
        value: Value,
        *,
        status: int,
        flags: int,
        source_time: int,
        gateway_time: int,
        now_ms: int,
    ) -> list[Message]:
        """Take what a sample that is neither historical nor retained says of its machine."""
        unit = signal.asset
        evidence = self.of(unit)
        messages = self._presence.mark_heard(f"~{signal.source}", gateway_time, now_ms)
        if signal.discovered:
            # Beside declared ones they are nothing to tell of.
            silent = now_ms - self._presence.heard.get(unit, 0) > self._live_ms
            if silent and evidence.set_note(UNDECLARED):
                messages.append(evidence.message(unit))
            return messages
        trouble = trouble_of(status, flags, source_time, gateway_time)
        changed = False
        if signal.role == "state":
            empty = EMPTY if value is None else ""
            changed = evidence.judge(trouble or empty, gateway_time, value)
        if trouble:
            changed |= evidence.set_note(trouble)
        else:
            messages += self.hear(signal, source_time or gateway_time, gateway_time, now_ms)
        if changed:
            messages.append(evidence.message(unit))
        return messages

    def hear(
        self, signal: LiveSignal, source_time: int, gateway_time: int, now_ms: int
    ) -> list[Message]:
        """Take a sign of life of a machine, as old as its value is."""
        evidence = self.of(signal.asset)
        messages = [evidence.message(signal.asset)] if evidence.set_note("") else []
        if source_time != gateway_time:
            evidence.clock.note(source_time, gateway_time)
        at = evidence.clock.happened_at(source_time, gateway_time)
        return messages + self._presence.mark_source_heard(
            signal.source, [signal.asset], at, now_ms
        )

    def refuse(self, unit: str, reason: str, at: int, *, ends: bool) -> list[Message]:
        """A declared signal's value broke its contract; `ends`: it was the machine's state."""
        evidence, text = self.of(unit), refused_text(reason)
        changed = evidence.set_note(text)
        if ends:
            changed |= evidence.judge(text, at)
        return [evidence.message(unit)] if changed else []

    def bodies(self) -> list[Body]:
        """All that keeps a machine from being known, as the browser gets it."""
        return [each.body(unit) for unit, each in self._units.items() if each.ended or each.note]


def trouble_of(status: int, flags: int, source_time: int, gateway_time: int) -> str:
    """What keeps a sample from vouching for its machine, in words; empty: nothing.

    Times in microseconds since 1970.
    """
    if time_is_refused(flags, source_time):
        return _clock_text(source_time, gateway_time)
    if (status & _CODE) in _NOT_READ:
        return _NOT_READ[status & _CODE]
    if status >> 30 == 2:
        return f"bad quality: {formats.status_text(status)}"
    return ""


def refused_text(reason: str) -> str:
    """What is said of values that broke their contract."""
    text = f"values refused: {reason}"
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 1]}…"


def _clock_text(source_time: int, gateway_time: int) -> str:
    behind_s = (gateway_time - source_time) // SECOND_US
    size = abs(behind_s)
    for seconds, name in _UNITS:
        if size >= seconds:
            count = size // seconds
            plural = "" if count == 1 else "s"
            way = "behind" if behind_s > 0 else "ahead"
            return f"clock of the machine is {count:,} {name}{plural} {way}"
    return "clock of the machine stands still"
