"""What words in the cells of an export mean: nothing, a bad value, yes and no, a quality. Pure."""

from __future__ import annotations

from collections.abc import Callable, Iterable

from aurelian.edge.contract import BAD_OUT_OF_RANGE
from aurelian.model.sample import BAD, GOOD
from aurelian.model.status_codes import STATUS_CODES

EMPTY = frozenset(
    {"", "#n/a", "#nv", "n/a", "na", "null", "(null)", "none", "nil", "-", "--", "\\n"}
)
"""Cells without a value: nothing was recorded."""

EMPTY_TEXTS = frozenset({"", "#n/a", "#nv", "null", "(null)"})
"""The same where texts are wanted."""

TRUE = frozenset({"true", "wahr", "ja", "yes", "on", "ein", "vrai", "sann"})
FALSE = frozenset({"false", "falsch", "nei", "nein", "no", "off", "aus", "faux", "usann"})

UNCERTAIN = 0x40000000

NO_NUMBER = {
    "nan": BAD_OUT_OF_RANGE,
    "-nan": BAD_OUT_OF_RANGE,
    "1.#qnan": BAD_OUT_OF_RANGE,
    "1.#ind": BAD_OUT_OF_RANGE,
    "-1.#ind": BAD_OUT_OF_RANGE,
    "inf": BAD_OUT_OF_RANGE,
    "+inf": BAD_OUT_OF_RANGE,
    "-inf": BAD_OUT_OF_RANGE,
    "infinity": BAD_OUT_OF_RANGE,
    "-infinity": BAD_OUT_OF_RANGE,
    "1.#inf": BAD_OUT_OF_RANGE,
    "-1.#inf": BAD_OUT_OF_RANGE,
    "#div/0!": BAD_OUT_OF_RANGE,
    "#num!": BAD_OUT_OF_RANGE,
    "over range": BAD_OUT_OF_RANGE,
    "under range": BAD_OUT_OF_RANGE,
    "#value!": BAD,
    "#wert!": BAD,
    "#ref!": BAD,
    "#bezug!": BAD,
    "bad": BAD,
    "bad input": BAD,
    "bad data": BAD,
    "error": BAD,
    "configure": STATUS_CODES["BadConfigurationError"],
    "i/o timeout": STATUS_CODES["BadTimeout"],
    "comm fail": STATUS_CODES["BadCommunicationError"],
    "no data": STATUS_CODES["BadNoData"],
    "nodata": STATUS_CODES["BadNoData"],
    "pt created": STATUS_CODES["BadNoData"],
    "shutdown": STATUS_CODES["BadShutdown"],
    "not connect": STATUS_CODES["BadNotConnected"],
    "out of serv": STATUS_CODES["BadOutOfService"],
    "scan off": STATUS_CODES["BadOutOfService"],
}
"""Words in place of a number, and the OPC UA status with which the missing value is kept: those
of spreadsheets, of C libraries, and the system states of PI."""

_CODES = {name.lower(): code for name, code in STATUS_CODES.items()}
_GOOD_WORDS = frozenset({"good", "goodclamped", "ok", "o.k.", "valid", "normal", "g"}) | TRUE
_BAD_WORDS = frozenset({"invalid", "error", "fault", "stale", "b"}) | FALSE
_UNCERTAIN_WORDS = frozenset({"uncertain", "questionable", "doubtful", "suspect", "u", "q"})


def is_classic(cells: Iterable[str]) -> bool | None:
    """Whether the numbers of a quality column are those of OPC Classic (192: good, 0: bad) and
    not OPC UA status codes (0: good). None: only zeros are there, which may be either."""
    numbers = {number for cell in cells if (number := _number(cell))}
    if not numbers:
        zeros = any(_number(cell) == 0 for cell in cells)
        return None if zeros else False
    return any(number < 1024 for number in numbers)


def quality_reader(*, classic: bool) -> Callable[[str], int | None]:
    """Make the function that gives the OPC UA status code of a quality cell; None: nobody knows
    what it says. `classic`: numbers are those of OPC Classic."""

    def status_of(cell: str) -> int | None:
        word = cell.strip().lower()
        if not word:
            return GOOD
        number = _number(word)
        if number is not None:
            if classic and number < 1024:
                return (BAD, UNCERTAIN, UNCERTAIN, GOOD)[number >> 6 & 3]
            return number if number < 2**32 else None
        plain = word.replace("_", "").replace(" ", "").replace("-", "")
        if plain in _CODES:
            return _CODES[plain]
        if plain in _GOOD_WORDS or plain.startswith("good"):
            return GOOD
        if plain in _UNCERTAIN_WORDS or plain.startswith("uncertain"):
            return UNCERTAIN
        if plain in _BAD_WORDS or plain.startswith("bad"):
            return BAD
        return None

    return status_of


def _number(cell: str) -> int | None:
    text = cell.strip().lower()
    try:
        number = int(text, 16 if text.startswith("0x") else 10)
    except ValueError:
        return None
    return number + 2**32 if -(2**31) <= number < 0 else number if number >= 0 else None
