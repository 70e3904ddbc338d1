"""What a machine's state value means: the published vocabularies, and a machine's own. Pure.

The one home of these numbers and words: line_health, maintenance, dashboard and pilot_factory take
them from here. A value that its vocabulary lacks is unknown, is counted and shown, and is never
guessed.

Sources: PackML, ISA-TR88.00.02 and `StateNumber` of OPC 30050; OPC 30060 (tobacco machines),
`StateEnumeration`; OPC 40001-1, `MachineryItemState` and `MachineryOperationMode`; MTConnect,
`Execution`. The numbers of OPC 30060 are not those of PackML.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum, IntEnum, StrEnum


class LineState(StrEnum):
    """The one vocabulary of a line's and a unit's state (operator sheet 3.4)."""

    RUNNING = "running"
    SLOW = "slow"
    SHORT_STOP = "short_stop"
    DOWN = "down"
    PLANNED = "planned"
    SETUP = "setup"
    STARVED = "starved"
    BLOCKED = "blocked"
    NO_DATA = "no_data"


class PackMl(IntEnum):
    """`StateCurrent` of ISA-TR88.00.02.

    0 is "undefined". The super-states Running and Cleared of OPC 30050 are left out: their numbers
    differ between editions of its NodeSet.
    """

    CLEARING = 1
    STOPPED = 2
    STARTING = 3
    IDLE = 4
    SUSPENDED = 5
    EXECUTE = 6
    STOPPING = 7
    ABORTING = 8
    ABORTED = 9
    HOLDING = 10
    HELD = 11
    UNHOLDING = 12
    SUSPENDING = 13
    UNSUSPENDING = 14
    RESETTING = 15
    COMPLETING = 16
    COMPLETE = 17


class Activity(Enum):
    """What a machine does in a state, for the rules of its line."""

    PRODUCES = "produces"  # at work, or runs up to it or out of it
    WAITS = "waits"  # could work, but has no parts or no room: an external cause
    IDLE = "idle"  # nothing to work on
    STANDS = "stands"  # for a cause of its own
    DECLARED = "declared"  # the vocabulary says what it is to the line: no rule changes that


@dataclass(frozen=True, slots=True)
class MachineState:
    """A state that its vocabulary knows.

    Attributes:
        name: in the vocabulary, lower case.
        line: how a machine in this state is shown, in the vocabulary of lines.
        word: for people.
        executing: it works on parts: its sensors show it under load.
    """

    name: str
    line: LineState
    word: str
    activity: Activity
    executing: bool = False

    @property
    def produces(self) -> bool:
        """The unit is at work, or runs up to it or out of it."""
        return self.activity is Activity.PRODUCES

    @property
    def waits(self) -> bool:
        """It could work, but has no parts or no room: an external cause."""
        return self.activity is Activity.WAITS

    @property
    def lacks_parts(self) -> bool:
        """It waits, or has none left to work on."""
        return self.activity in (Activity.WAITS, Activity.IDLE)


@dataclass(frozen=True, slots=True)
class Unknown:
    """A value that no state of the vocabulary has."""

    value: object

    @property
    def text(self) -> str:
        """What people are told: `unknown state 23`."""
        return f"unknown state {str(self.value)[:40]}"


Vocabulary = str | Mapping[str, LineState]
"""The name of a published vocabulary, or a machine's own values (`state_key`) and what each is."""

DEFAULT = "packml"


_SIGNS = re.compile(r"(?<=\d)([\W_]+)(?=\d)|[\W_]+")
"""What is neither letter nor digit; the group: between digits."""


def state_key(value: object) -> str | None:
    """How a value is looked up: numbers without a fraction as digits, words by their letters and
    digits only, so that `FEED_HOLD` is `Feed hold`. A text of digits and signs without a letter
    stays as it is, and digits that are apart stay so: 1.7 is not 17. None: it can be no state."""
    match value:
        case bool():
            return "true" if value else "false"
        case int():
            return str(value)
        case float():
            return str(int(value)) if value.is_integer() else None
        case str():
            text = unicodedata.normalize("NFC", value.strip()).casefold()
            digits = text.removeprefix("-")
            if digits.isdecimal() and text.isascii():
                digits = digits.lstrip("0") or "0"
                return digits if digits == "0" else text[: text.startswith("-")] + digits
            if not any(map(str.isalnum, text)):
                return None
            if not any(map(str.isalpha, text)):
                return text
            return _SIGNS.sub(lambda found: "." if found[1] else "", text)
        case _:
            return None


def read_state(vocabulary: Vocabulary, value: object) -> MachineState | Unknown:
    """Read a machine's value: a number of the vocabulary, or a name in any spelling."""
    key = state_key(value)
    if isinstance(vocabulary, str):
        known = _NAMED[vocabulary].get(key) if key is not None else None
    else:
        line = vocabulary.get(key) if key is not None else None
        known = None if line is None else _DECLARED[line]
    return Unknown(value) if known is None else known


def states_of(vocabulary: Vocabulary) -> dict[str, MachineState]:
    """All states of a vocabulary by `state_key`: for the pages."""
    if isinstance(vocabulary, str):
        return dict(_NAMED[vocabulary])
    return {key: _DECLARED[line] for key, line in vocabulary.items()}


def _state(
    name: str, line: LineState, activity: Activity, word: str = "", executing: bool = False
) -> MachineState:
    return MachineState(
        name.lower().replace("_", " "),
        line,
        word or name.capitalize().replace("_", " "),
        activity,
        executing,
    )


_PRODUCES, _WAITS, _IDLE, _STANDS = (
    Activity.PRODUCES,
    Activity.WAITS,
    Activity.IDLE,
    Activity.STANDS,
)
_DOWN, _HELD, _RUNS = LineState.DOWN, LineState.SHORT_STOP, LineState.RUNNING

_PACKML = {
    state.name: _state(state.name, line, activity, word, state is PackMl.EXECUTE)
    for state, line, activity, word in (
        (PackMl.CLEARING, _DOWN, _STANDS, ""),
        (PackMl.STOPPED, _DOWN, _STANDS, ""),
        (PackMl.STARTING, _RUNS, _PRODUCES, ""),
        (PackMl.IDLE, LineState.PLANNED, _IDLE, ""),
        (PackMl.SUSPENDED, LineState.STARVED, _WAITS, "Waiting"),
        (PackMl.EXECUTE, _RUNS, _PRODUCES, "Running"),
        (PackMl.STOPPING, _DOWN, _STANDS, ""),
        (PackMl.ABORTING, _DOWN, _STANDS, ""),
        (PackMl.ABORTED, _DOWN, _STANDS, ""),
        (PackMl.HOLDING, _HELD, _STANDS, ""),
        (PackMl.HELD, _HELD, _STANDS, ""),
        (PackMl.UNHOLDING, _HELD, _STANDS, ""),
        (PackMl.SUSPENDING, LineState.STARVED, _WAITS, "Waiting"),
        (PackMl.UNSUSPENDING, LineState.STARVED, _WAITS, "Waiting"),
        (PackMl.RESETTING, LineState.SETUP, _STANDS, ""),
        (PackMl.COMPLETING, _RUNS, _PRODUCES, ""),
        (PackMl.COMPLETE, LineState.PLANNED, _IDLE, ""),
    )
}

_OPC30060 = (
    "STOPPED",
    "RESETTING",
    "IDLE",
    "STARTING",
    "EXECUTE",
    "COMPLETING",
    "COMPLETE",
    "ABORTING",
    "ABORTED",
    "STOPPING",
    "CLEARING",
    "SUSPENDING",
    "SUSPENDED",
    "UNSUSPENDING",
    "HOLDING",
    "HELD",
    "UNHOLDING",
)

_MACHINERY = (
    _state("NOT_AVAILABLE", _DOWN, _STANDS),
    _state("OUT_OF_SERVICE", _DOWN, _STANDS),
    _state("NOT_EXECUTING", LineState.PLANNED, _IDLE),
    _state("EXECUTING", _RUNS, _PRODUCES, "Running", executing=True),
)
_OPERATION_MODE = (
    _state("NONE", LineState.PLANNED, _IDLE, "No operation mode"),
    _state("MAINTENANCE", LineState.PLANNED, Activity.DECLARED),
    _state("SETUP", LineState.SETUP, Activity.DECLARED, "Set-up"),
    _state("PROCESSING", _RUNS, _PRODUCES, "Running", executing=True),
)
_MTCONNECT = (
    _state("ACTIVE", _RUNS, _PRODUCES, "Running", executing=True),
    _state("READY", LineState.PLANNED, _IDLE),
    _state("WAIT", LineState.STARVED, _WAITS, "Waiting"),
    _state("INTERRUPTED", _HELD, _STANDS),
    _state("FEED_HOLD", _HELD, _STANDS),
    _state("STOPPED", _DOWN, _STANDS),
    _state("OPTIONAL_STOP", _HELD, _STANDS),
    _state("PROGRAM_STOPPED", _HELD, _STANDS),
    _state("PROGRAM_COMPLETED", LineState.PLANNED, _IDLE),
    _state("PROGRAM_OPTIONAL_STOP", _HELD, _STANDS),
    _state("UNAVAILABLE", LineState.NO_DATA, Activity.DECLARED),
)


def _by_key(numbered: Mapping[int, MachineState]) -> dict[str, MachineState]:
    """States by number and by name; a name stands for its state whatever the number."""
    named = {str(state_key(state.name)): state for state in numbered.values()}
    return {str(number): state for number, state in numbered.items()} | named


_NAMED: dict[str, dict[str, MachineState]] = {
    "packml": _by_key({int(state): _PACKML[state.name] for state in PackMl}),
    "opc30060": _by_key({n: _PACKML[name] for n, name in enumerate(_OPC30060)}),
    "machinery": _by_key(dict(enumerate(_MACHINERY))),
    "operation_mode": _by_key(dict(enumerate(_OPERATION_MODE))),
    "mtconnect": {str(state_key(state.name)): state for state in _MTCONNECT},
}

VOCABULARIES = tuple(_NAMED)
"""Names of the published vocabularies."""

_DECLARED = {
    LineState.RUNNING: _state("running", _RUNS, _PRODUCES, "Running", executing=True),
    LineState.SLOW: _state("slow", LineState.SLOW, _PRODUCES, executing=True),
    LineState.SHORT_STOP: _state("stopped", _HELD, _STANDS, "Short stop"),
    LineState.DOWN: _state("down", _DOWN, _STANDS),
    LineState.PLANNED: _state("planned", LineState.PLANNED, Activity.DECLARED),
    LineState.SETUP: _state("setup", LineState.SETUP, Activity.DECLARED, "Set-up"),
    LineState.STARVED: _state("starved", LineState.STARVED, _WAITS),
    LineState.BLOCKED: _state("blocked", LineState.BLOCKED, _WAITS),
    LineState.NO_DATA: _state("no data", LineState.NO_DATA, Activity.DECLARED),
}
"""What a machine's own values may be declared as."""
