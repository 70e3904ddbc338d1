"""States, numbers, durations and units as people read them: words and shapes. Pure.

Used by pages.py, marks.py and timeline.py; the browser gets the same tables through
`display_tables` (`/display-tables.js`) and formats by the same rules (static/js/format.js).
"""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from datetime import datetime
from typing import Any

from aurelian.model.machine_states import VOCABULARIES, LineState, Vocabulary, states_of
from aurelian.model.sample import Value

PRODUCED = "Produced"
"""What a past span is called in which a line ran. "Running" is said of the present only, so that a
page whose data is old has it nowhere."""

MINUS = "\u2212"
THIN = "\u202f"


@dataclass(frozen=True, slots=True)
class Look:
    """How a state is shown: always a shape and a word; `tone` picks the colour, which says nothing
    alone."""

    word: str
    shape: str
    tone: str


LOOKS: dict[str, Look] = {
    LineState.RUNNING: Look("Running", "circle", "running"),
    LineState.SLOW: Look("Slow", "triangle", "slow"),
    LineState.SHORT_STOP: Look("Short stop", "triangle", "slow"),
    LineState.DOWN: Look("Down", "square", "down"),
    LineState.PLANNED: Look("Planned", "diamond", "planned"),
    LineState.SETUP: Look("Set-up", "diamond", "planned"),
    LineState.STARVED: Look("Starved", "left", "slow"),
    LineState.BLOCKED: Look("Blocked", "right", "slow"),
    LineState.NO_DATA: Look("No data", "hatch", "none"),
}

_URGENCIES = {
    "high": Look("High", "square", "down"),
    "medium": Look("Medium", "triangle", "slow"),
    "low": Look("Low", "diamond", "planned"),
}

UNITS = {
    "Cel": "°C",
    "K": "K",
    "deg": "°",
    "1/min": "/min",
    "{rpm}": "rpm",
    "[rpm]": "rpm",
    "m/s2": "m/s²",
    "m3/h": "m³/h",
    "{piece}": "pcs",
    "{pieces}": "pcs",
    "{count}": "",
    "1": "",
    "Ohm": "Ω",
    "uA": "µA",
    "um": "µm",
    "us": "µs",
    "kW.h": "kWh",
    "W.h": "Wh",
}
"""UCUM codes that people do not read as they are written."""

ROLE_ORDER = (
    "vibration",
    "temperature",
    "cycle_time",
    "power",
    "current",
    "pressure",
    "good_count",
    "scrap_count",
    "buffer",
    "energy",
)
"""Which signals of a machine its tile shows first."""

QUALITIES = {0: "Good", 1: "Uncertain", 2: "Bad", 3: "Bad"}

STATUS_NAMES = {
    0x80050000: "communication error",
    0x80310000: "no communication",
    0x80320000: "waiting for initial data",
    0x80340000: "unknown node",
    0x803C0000: "out of range",
    0x80740000: "type mismatch",
    0x80890000: "configuration error",
    0x808A0000: "not connected",
    0x808B0000: "device failure",
    0x808C0000: "sensor failure",
    0x808D0000: "out of service",
    0x408F0000: "last known value",
    0x40900000: "last usable value",
    0x40910000: "substitute value",
    0x40930000: "sensor not accurate",
    0x80070000: "newer values are refused",
    0x40940000: "engineering units exceeded",
    0x40950000: "sub-normal",
}
"""OPC UA status codes as people say them."""


def display_tables() -> dict[str, Any]:
    """The tables that the browser needs, JSON-ready."""
    return {
        "looks": {str(state): asdict(look) for state, look in LOOKS.items()},
        "states": {name: states_table(name) for name in VOCABULARIES},
        "status": {str(code): name for code, name in STATUS_NAMES.items()},
    }


def states_table(vocabulary: Vocabulary) -> dict[str, list[str]]:
    """How each state of a vocabulary is shown, by the key that a value is looked up with."""
    return {key: [str(state.line), state.word] for key, state in states_of(vocabulary).items()}


def look(state: str) -> Look:
    """How a state is shown; an unknown one is shown as no data rather than as something good."""
    return LOOKS.get(state, LOOKS[LineState.NO_DATA])


def urgency(priority: str) -> Look:
    """How an alarm's priority is shown; one that is not known is low."""
    return _URGENCIES.get(priority, _URGENCIES["low"])


def past_word(state: str) -> str:
    """The state's word in a list of what was."""
    return PRODUCED if state == LineState.RUNNING else look(state).word


def quality(status: int) -> str:
    """Good, Uncertain or Bad: the top two bits of an OPC UA status code."""
    return QUALITIES[status >> 30]


def status_text(status: int) -> str:
    """The status as people say it; empty for Good."""
    if status >> 30 == 0:
        return ""
    return STATUS_NAMES.get(status & 0xFFFF0000, f"0x{status:08X}")


def unit(code: str) -> str:
    """A UCUM code as people read it."""
    return UNITS.get(code, re.sub(r"[{}\[\]]", "", code))


def name(text: str) -> str:
    """A signal's or machine's technical name as a heading: `bearing_temp` → `Bearing temp`,
    `MotorCurrent` too."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", text).replace("_", " ").replace("-", " ").strip()
    words = [word if word.isupper() else word.lower() for word in spaced.split()]
    joined = " ".join(words)
    return joined[:1].upper() + joined[1:]


def value(given: Value) -> str:
    """A value as text: numbers by size, true and false as on and off, bytes by their length."""
    match given:
        case None:
            return "–"
        case bool():
            return "on" if given else "off"
        case int():
            return number(given)
        case float():
            size = abs(given)
            return number(
                given,
                0 if size >= 10_000 else 1 if size >= 100 else 2 if size >= 0.1 or size == 0 else 4,
            )
        case bytes():
            return f"{len(given)} bytes" if given else "no bytes"
        case str():
            return given if len(given) <= 60 else given[:59] + "…"


def number(given: float, decimals: int = 0) -> str:
    """1,234.5 with a true minus sign."""
    text = f"{given:,.{decimals}f}"
    return MINUS + text[1:] if text.startswith("-") and text.strip("-0.,") else text.lstrip("-")


def in_flight(count: int) -> str:
    """Values on the way; where more is accounted for than was told as received, that with its
    reason."""
    if count >= 0:
        return number(count)
    return f"0 (the gateway's count is {number(-count)} behind)"


def delta(made: float, wanted: float) -> tuple[str, str]:
    """How far from the target: a number with its sign, and a word: `−32`, `behind`."""
    off = round(made) - round(wanted)
    if off == 0:
        return "on target", ""
    return (f"+{number(off)}", "ahead") if off > 0 else (number(off), "behind")


def percent(ratio: float | None) -> str:
    """0.713 → `71 %`; a dash for None."""
    return "–" if ratio is None else f"{round(ratio * 100)}{THIN}%"


def duration(seconds: float) -> str:
    """`8 s`, `4 min 05 s`, `1 h 12 min`, `3 d 4 h`: never more than two parts."""
    whole = max(0, int(seconds))
    if whole < 60:
        return f"{whole} s"
    minutes, rest = divmod(whole, 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s" if minutes < 10 else f"{minutes} min"
    hours, minutes = divmod(minutes, 60)
    if hours < 24:
        return f"{hours} h {minutes:02d} min"
    days, hours = divmod(hours, 24)
    return f"{days} d {hours} h"


def minutes(seconds: float) -> str:
    """`7 min`, or `40 s` below one minute: for columns of numbers."""
    return f"{round(seconds / 60)} min" if seconds >= 60 else f"{round(seconds)} s"


def clock(time: datetime) -> str:
    """14:02:11 of a time that is in the plant's zone already."""
    return time.strftime("%H:%M:%S")
