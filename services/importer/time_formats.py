"""Which format the times of a column have: decided by the column as a whole, or not at all. Pure.

Called by plan.py; `time_cells.py` reads by what was decided.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

_CLOCK = r"(?P<H>\d{1,2}):(?P<M>\d{2})(?::(?P<S>\d{2})(?:[.,](?P<f>\d{1,9}))?)?"
_HALF = r"(?:\s*(?P<p>[AaPp]\.?[Mm]\.?))?"
_ZONE = r"(?:\s*(?P<z>[Zz]|UTC|GMT|[+-]\d{2}(?::?\d{2})?))?"
_TIME = rf"(?:[T\s,]+{_CLOCK}{_HALF}{_ZONE})?$"
_YEAR = r"(?P<y>\d{4}|\d{2})"

_PATTERNS = {
    "iso": rf"^(?P<y>\d{{4}})[-/.](?P<m>\d{{1,2}})[-/.](?P<d>\d{{1,2}}){_TIME}",
    "compact": r"^(?P<y>\d{4})(?P<m>\d{2})(?P<d>\d{2})(?:[T\s]?(?P<H>\d{2})(?P<M>\d{2})"
    rf"(?:(?P<S>\d{{2}})(?:[.,](?P<f>\d{{1,9}}))?)?{_ZONE})?$",
    "dmy": rf"^(?P<d>\d{{1,2}})[./-](?P<m>\d{{1,2}})[./-]{_YEAR}{_TIME}",
    "mdy": rf"^(?P<m>\d{{1,2}})[./-](?P<d>\d{{1,2}})[./-]{_YEAR}{_TIME}",
    "day month-name year": rf"^(?P<d>\d{{1,2}})[-.\s]+(?P<b>\pL{{3,10}})\.?[-\s]+{_YEAR}{_TIME}",
    "month-name day year": rf"^(?P<b>\pL{{3,10}})\.?\s+(?P<d>\d{{1,2}}),?\s+{_YEAR}{_TIME}",
}
_DAY_MONTH = re.compile(r"^(\d{1,2})([./-])(\d{1,2})[./-](?:\d{4}|\d{2})(?:\D|$)")
_NUMBER = re.compile(r"^\d+(?:[.,]\d+)?$")

_SPANS = (
    ("excel", 20_000.0, 80_000.0),
    ("epoch_s", 1e8, 4.2e9),
    ("epoch_ms", 1e11, 4.2e12),
    ("epoch_us", 1e14, 4.2e15),
    ("epoch_ns", 1e17, 4.2e18),
)
"""Numbers between 1973 and 2103 (Excel: 1954 and 2119) in each unit: they do not overlap."""

_MOST = 0.7
"""Share of the cells that must fit a format; the others become bad lines."""

NUMERIC = frozenset(name for name, _, _ in _SPANS)
NAMES = ("iso", "dmy", "mdy", "compact", *sorted(NUMERIC))
"""What `--time-format` takes beside a pattern with % signs."""

_DIRECTIVES = {
    "Y": r"(?P<y>\d{4})",
    "y": r"(?P<y>\d{2})",
    "m": r"(?P<m>\d{1,2})",
    "d": r"(?P<d>\d{1,2})",
    "b": r"(?P<b>\pL{3,10})\.?",
    "B": r"(?P<b>\pL{3,10})",
    "H": r"(?P<H>\d{1,2})",
    "I": r"(?P<H>\d{1,2})",
    "M": r"(?P<M>\d{1,2})",
    "S": r"(?P<S>\d{1,2})",
    "f": r"(?P<f>\d{1,9})",
    "p": r"(?P<p>[AaPp]\.?[Mm]\.?)",
    "z": r"(?P<z>[Zz]|UTC|GMT|[+-]\d{2}(?::?\d{2})?)",
    "T": r"(?P<H>\d{1,2}):(?P<M>\d{2}):(?P<S>\d{2})",
    "%": "%",
}


class UndecidedTime(ValueError):
    """The times of a column can be read in two ways, or in none; the text says which, and what to
    say with `--time-format`."""


@dataclass(frozen=True, slots=True)
class TimeFormat:
    """How times are written.

    Attributes:
        name: in words that `--time-format` takes.
        pattern: regular expression (RE2) with the groups y m b d H M S f p z; empty: a number.
    """

    name: str
    pattern: str = ""


def decide_format(cells: Sequence[str], scan: Callable[[], Iterable[str]]) -> TimeFormat:
    """Decide by some cells of a column, and where they leave the day and the month open by all.

    Args:
        cells: the first ones.
        scan: gives the distinct texts before the first blank or `T` of all cells of the file.

    Raises:
        UndecidedTime: it stays open, or they are no times.
    """
    texts = [cell.strip() for cell in cells if cell.strip()]
    numbers = [float(t.replace(",", ".")) for t in texts if _NUMBER.match(t)]
    if numbers and len(numbers) >= _MOST * len(texts) and not _fits("compact", texts):
        for name, low, high in _SPANS:
            if sum(low <= number <= high for number in numbers) >= _MOST * len(texts):
                return TimeFormat(name)
        raise UndecidedTime(
            f"{texts[0]!r} is no number of days or seconds that can be read as a time; say "
            f"--time-format with one of {', '.join(sorted(NUMERIC))}"
        )
    for name in ("iso", "compact", "day month-name year", "month-name day year"):
        if _fits(name, texts):
            return TimeFormat(name, _PATTERNS[name])
    if not _fits("dmy", texts):
        shown = repr(texts[0]) if texts else "an empty column"
        raise UndecidedTime(
            f"{shown} is in no format that is known; say it, as --time-format '%d.%m.%Y %H:%M:%S'"
        )
    order = _day_first(texts) or _day_first(scan())
    if order is None:
        raise UndecidedTime(
            f"{texts[0]!r}: day or month first? No line of the file tells; say --time-format dmy "
            "(day first) or --time-format mdy"
        )
    return TimeFormat(order, _PATTERNS[order])


def named_format(text: str) -> TimeFormat:
    """Return the format that somebody named.

    Raises:
        UndecidedTime: it is none.
    """
    if text in NUMERIC:
        return TimeFormat(text)
    if text in _PATTERNS:
        return TimeFormat(text, _PATTERNS[text])
    if "%" not in text:
        raise UndecidedTime(
            f"--time-format {text!r} is none of {', '.join(NAMES)}, and no pattern such as "
            "'%d.%m.%Y %H:%M:%S'"
        )
    out, place = "", 0
    while place < len(text):
        letter = text[place]
        if letter == "%":
            place += 1
            directive = text[place : place + 1]
            if directive not in _DIRECTIVES:
                raise UndecidedTime(f"--time-format {text!r}: %{directive} is not known")
            out += _DIRECTIVES[directive]
        else:
            out += r"\s+" if letter == " " else re.escape(letter)
        place += 1
    if "(?P<y>" not in out or "(?P<d>" not in out:
        raise UndecidedTime(f"--time-format {text!r} has no year or no day")
    return TimeFormat(text, f"^{out}$")


def looks_like_time(cells: Sequence[str]) -> bool:
    """Whether most of some cells are dates, with a time of day or without."""
    texts = [cell.strip() for cell in cells if cell.strip()]
    return any(_fits(name, texts) for name in _PATTERNS)


def looks_like_clock(cells: Sequence[str]) -> bool:
    """Whether most of some cells are times of day without a date."""
    texts = [cell.strip() for cell in cells if cell.strip()]
    return _share(rf"^{_CLOCK}{_HALF}{_ZONE}$", texts) >= _MOST


def has_clock(cells: Sequence[str]) -> bool:
    """Whether dates have a time of day with them."""
    return any(":" in cell or re.search(r"\d{8}[T\s]?\d{4}", cell) for cell in cells)


def _day_first(texts: Iterable[str]) -> str | None:
    """`dmy` or `mdy` where the numbers tell; None: they do not, or tell both."""
    first = second = ""
    for text in texts:
        found = _DAY_MONTH.match(text.strip())
        if not found:
            continue
        if found[2] == "." and int(found[3]) <= 12:
            return "dmy"  # nobody writes months first between points
        if int(found[1]) > 12 and int(found[3]) <= 12:
            first = first or text
        elif int(found[3]) > 12 and int(found[1]) <= 12:
            second = second or text
    if first and second:
        raise UndecidedTime(
            f"{first!r} has its day first and {second!r} its month; say --time-format dmy or mdy, "
            "the others become bad lines"
        )
    return "dmy" if first else "mdy" if second else None


def _fits(name: str, texts: Sequence[str]) -> bool:
    return _share(_PATTERNS[name], texts) >= _MOST


def _share(pattern: str, texts: Sequence[str]) -> float:
    # Python has no \pL; for the decision letters of any alphabet will do.
    compiled = re.compile(pattern.replace(r"\pL", r"[^\W\d_]"))
    return sum(compiled.match(text) is not None for text in texts) / len(texts) if texts else 0.0
