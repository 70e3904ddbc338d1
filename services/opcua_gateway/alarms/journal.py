"""Which conditions the server last said are of interest, on our disk, so that the next process
knows what may have gone meanwhile; used by conditions.py.

A condition is written before its event goes on its way, and taken out after the outbox has the
event that ended it: what is here is never less than what others believe.
"""

from __future__ import annotations

import base64
import json
import logging
import os
from contextlib import suppress
from pathlib import Path

from google.protobuf.message import DecodeError

from aurelian.model import codec

log = logging.getLogger(__name__)

Key = tuple[str, str]
"""ConditionId and BranchId."""

_MOST_LINES = 20_000


class Journal:
    """A file of one line for each change; `known` is what it says. Appends of one line at a time,
    so a thread and the event loop may both write."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._descriptor: int | None = None
        self._lines = 0
        self._waiting: list[str] = []

    def load(self) -> dict[Key, tuple[codec.MachineAlarm, bool]]:
        """The conditions of interest, each with whether the outbox had its event for sure. A line
        that was cut off is left out."""
        found: dict[Key, tuple[codec.MachineAlarm, bool]] = {}
        self.close()
        with suppress(OSError):
            for line in self._file.read_bytes().splitlines():
                with suppress(ValueError, KeyError, TypeError, DecodeError):
                    self._apply(json.loads(line), found)
        self._rewrite(found)
        return found

    def will_add(self, alarm: codec.MachineAlarm) -> None:
        """A condition is of interest; on the disk after `write`."""
        data = base64.b64encode(alarm.SerializeToString()).decode()
        self._waiting.append(json.dumps({"add": data}))

    @property
    def is_waiting(self) -> bool:
        """Whether `write` has something to do."""
        return bool(self._waiting)

    def write(self) -> None:
        """Write and sync what was added; blocks on the disk."""
        waiting, self._waiting = self._waiting, []
        if waiting:
            self._append("\n".join(waiting) + "\n")
            if self._descriptor is not None:
                os.fsync(self._descriptor)

    def stored(self, key: Key, event_id: bytes) -> None:
        """The outbox has the event that was added last."""
        self._append(json.dumps({"stored": key, "id": event_id.hex()}) + "\n")

    def remove(self, key: Key) -> None:
        """The outbox has the event that ended it."""
        self._append(json.dumps({"gone": key}) + "\n")

    def is_long(self) -> bool:
        """Whether it is time to `load` it, which makes it short."""
        return self._lines > _MOST_LINES

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _append(self, text: str) -> None:
        try:
            if self._descriptor is None:
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
                self._descriptor = os.open(self._file, flags, 0o600)
            os.write(self._descriptor, text.encode())
            self._lines += text.count("\n")
        except OSError as error:  # a full disk: a condition that went is then told again, or late
            log.warning("the journal of conditions: %s", error)

    def _rewrite(self, found: dict[Key, tuple[codec.MachineAlarm, bool]]) -> None:
        new = self._file.with_suffix(".new")
        with suppress(OSError):
            if not found and not self._file.exists():
                return
            new.touch(mode=0o600)
            lines = []
            for key, (alarm, is_stored) in found.items():
                data = base64.b64encode(alarm.SerializeToString()).decode()
                lines.append(json.dumps({"add": data}))
                if is_stored:
                    lines.append(json.dumps({"stored": key, "id": alarm.event_id.hex()}))
            new.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
            new.replace(self._file)
            self._lines = len(lines)

    @staticmethod
    def _apply(line: object, to: dict[Key, tuple[codec.MachineAlarm, bool]]) -> None:
        if not isinstance(line, dict):
            return
        if "add" in line:
            alarm = codec.MachineAlarm.FromString(base64.b64decode(str(line["add"])))
            to[alarm.condition, alarm.branch] = alarm, False
            return
        named = line.get("stored", line.get("gone"))
        if not isinstance(named, list) or len(named) != 2:
            return
        key = str(named[0]), str(named[1])
        if "gone" in line:
            to.pop(key, None)
        elif key in to and to[key][0].event_id.hex() == line.get("id"):
            to[key] = to[key][0], True
