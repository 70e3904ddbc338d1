"""The newest batches as they were encoded: what is sent at once need not be read back and unpacked.
Pure; used by segment.py."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable
from dataclasses import replace

from aurelian.edge.outbox.rows import OutboxRow, RecordKind, StreamKey

MOST_BYTES = 4 * 2**20
"""Encoded batches that are kept; what is behind by more is read from the disk."""


class Fresh:
    """Rows that are on the disk and were not sent yet, the newest of them."""

    def __init__(self) -> None:
        self._rows: OrderedDict[tuple[StreamKey, int], OutboxRow] = OrderedDict()
        self._bytes = 0

    def add(self, rows: Iterable[OutboxRow]) -> None:
        """Keep batches that were committed just now."""
        for row in rows:
            if row.kind is RecordKind.SAMPLES:
                self._rows[row.stream_key, row.sequence] = row
                self._bytes += len(row.data)
        while self._bytes > MOST_BYTES:
            _, row = self._rows.popitem(last=False)
            self._bytes -= len(row.data)

    def take(self, stream: StreamKey, sequence: int, row_id: int) -> OutboxRow | None:
        """A row, under its id in the file; None where it is not here. It is given once."""
        row = self._rows.pop((stream, sequence), None)
        if row is None:
            return None
        self._bytes -= len(row.data)
        return replace(row, id=row_id)

    def clear(self) -> None:
        """Keep none of them."""
        self._rows.clear()
        self._bytes = 0
