"""How far a file is imported, as the outbox keeps it with the rows (D5). Pure; called by
processor.py."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass

from importer.csv_rows import Place
from importer.judging import LastValue
from importer.local_times import Last


@dataclass(frozen=True, slots=True)
class Totals:
    """What was read of a file so far, by all runs.

    Attributes:
        rows: lines with data, bad ones included.
        values: handed to the outbox.
        empty: cells without a value.
        bad: lines of which something could not be read; `bad_values`: what they stand for.
        open_times: lines in a repeated hour that may be of its other pass.
        first, last: microseconds since 1970, 0: none.
    """

    rows: int = 0
    values: int = 0
    empty: int = 0
    bad: int = 0
    bad_values: int = 0
    open_times: int = 0
    first: int = 0
    last: int = 0

    def plus(self, other: Totals) -> Totals:
        """The sum, and the range of both."""
        firsts = [each for each in (self.first, other.first) if each]
        return Totals(
            self.rows + other.rows,
            self.values + other.values,
            self.empty + other.empty,
            self.bad + other.bad,
            self.bad_values + other.bad_values,
            self.open_times + other.open_times,
            min(firsts, default=0),
            max(self.last, other.last),
        )


@dataclass(frozen=True, slots=True)
class Bookmark:
    """A place in a file, with what reading on from there needs.

    Attributes:
        identity: of file and plan.
        place: where the next line begins.
        bad_bytes: of the file of bad lines.
        clocks: the line before, by stream; `last`: the newest values, by signal.
        done: all of it is in the outbox.
    """

    identity: str
    place: Place
    totals: Totals
    bad_bytes: int
    clocks: Mapping[int, Last]
    last: Mapping[str, LastValue]
    done: bool = False

    def encode(self) -> str:
        """As text for the outbox."""
        return json.dumps(
            {
                "identity": self.identity,
                "offset": self.place.offset,
                "line": self.place.line,
                "totals": asdict(self.totals),
                "bad_bytes": self.bad_bytes,
                "clocks": {k: [v.wall, v.utc, v.step, v.second] for k, v in self.clocks.items()},
                "last": {k: [v.time, v.sub, v.bits] for k, v in self.last.items()},
                "done": self.done,
            },
            separators=(",", ":"),
        )


def decode_bookmark(text: str) -> Bookmark | None:
    """Read a bookmark; None: there is none, or it is of another version."""
    try:
        found = json.loads(text)
        return Bookmark(
            str(found["identity"]),
            Place(int(found["offset"]), int(found["line"])),
            Totals(**found["totals"]),
            int(found["bad_bytes"]),
            {int(k): Last(*v) for k, v in found["clocks"].items()},
            {k: LastValue(*v) for k, v in found["last"].items()},
            bool(found["done"]),
        )
    except (ValueError, TypeError, KeyError):
        return None
