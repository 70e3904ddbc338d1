"""Lines that could not be read: what is known of each, the file that lists them, what is said of
them. Called by csv_rows.py and chunks.py (which make them) and processor.py (which writes them)."""

from __future__ import annotations

import csv
import io
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

SHOWN = 20
"""So many are shown on the screen, and the file has all."""

_LONGEST = 8_000


@dataclass(frozen=True, slots=True)
class BadLine:
    """A line of which something could not be read.

    Attributes:
        line: its number, from 1; of a Parquet file that of the row.
        reason: a sentence.
        error_class: of a bounded set, for counting.
        text: as it stands in the file.
        values: that it stands for in the ledger.
    """

    line: int
    reason: str
    error_class: str
    text: str
    values: int = 1


class BadLinesFile:
    """A CSV file of line number, reason and original text. It is made with its first line."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def cut(self, size: int) -> None:
        """Take back what was written after `size` bytes: its lines were not committed.

        Raises:
            OSError: the file cannot be written.
        """
        if size == 0:
            self.path.unlink(missing_ok=True)
        elif self.path.exists() and self.path.stat().st_size > size:
            os.truncate(self.path, size)

    def write(self, lines: Sequence[BadLine]) -> int:
        """Append lines and sync them; return the size of the file.

        Raises:
            OSError: the file cannot be written.
        """
        out = io.StringIO(newline="")
        writer = csv.writer(out)
        is_new = not self.path.exists() or not self.path.stat().st_size
        if is_new:
            writer.writerow(("line", "reason", "text"))
        for each in lines:
            writer.writerow((each.line, each.reason, each.text[:_LONGEST]))
        with self.path.open("ab") as file:
            file.write(out.getvalue().encode("utf-8", errors="backslashreplace"))
            file.flush()
            os.fsync(file.fileno())
            return file.tell()
