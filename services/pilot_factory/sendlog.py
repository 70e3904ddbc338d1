"""The log of every value sent, one JSON object a line: what an oracle compares the store with.
Called by the outlets."""

from __future__ import annotations

import base64
import json
from collections.abc import Iterable
from pathlib import Path
from typing import TextIO

from aurelian.model.sample import Value, ValueType
from pilot_factory.simulation import Measurement


class SendLog:
    """Appends to `<folder>/<source>.jsonl`. Written when it is told; on disk after `flush` or
    `close`."""

    def __init__(self, folder: Path, source: str) -> None:
        folder.mkdir(parents=True, exist_ok=True)
        self._file: TextIO = (folder / f"{source}.jsonl").open("a", encoding="utf-8")

    def write(
        self, path: str, type: ValueType, value: Value, source_time: int, status: int
    ) -> None:
        """Note one value. `source_time`: microseconds since 1970, as sent; bytes are written as
        base64."""
        entry = {
            "path": path,
            "type": type.name.lower(),
            "value": base64.b64encode(value).decode() if isinstance(value, bytes) else value,
            "source_time": source_time,
            "status": status,
        }
        self._file.write(json.dumps(entry, separators=(",", ":")) + "\n")

    def write_all(self, measurements: Iterable[Measurement]) -> None:
        """Note what machines sent."""
        for each in measurements:
            signal = each.signal.signal
            self.write(signal.path, signal.type, each.value, each.source_time, each.status)

    def flush(self) -> None:
        """Hand what is written to the operating system."""
        self._file.flush()

    def close(self) -> None:
        """End the log."""
        self._file.close()
