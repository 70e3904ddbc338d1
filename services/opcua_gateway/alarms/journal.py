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
import threading
from contextlib import suppress
from pathlib import Path

from google.protobuf.message import DecodeError

from aurelian.model import codec

log = logging.getLogger(__name__)

Key = tuple[str, str]
"""ConditionId and BranchId."""

_MOST_LINES = 20_000


class Journal:
    """A file of one line for each change. Appends of one line at a time, so a thread and the event
    loop may both write."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._descriptor: int | None = None
        self._lines, self._most_lines = 0, _MOST_LINES
        self._waiting: list[str] = []
        self._lock = threading.Lock()  # never held while the file is read or written anew
        self._behind: list[str] | None = None  # lines that came since the file is written anew

    def load(self) -> dict[Key, tuple[codec.MachineAlarm, bool]]:
        """The conditions of interest, each with whether the outbox had its event for sure. A line
        that was cut off is left out."""
        self.close()
        found = self._read()
        self._rewrite(found)
        return found

    def will_add(self, alarm: codec.MachineAlarm) -> None:
        """A condition is of interest; on the disk after `write`."""
        data = base64.b64encode(alarm.SerializeToString()).decode()
        self._waiting.append(json.dumps({"add": data}))

    @property
    def is_waiting(self) -> bool:
        """Whether `write` has something to do."""
        return bool(self._waiting) or self._lines > self._most_lines

    def write(self) -> None:
        """Write and sync what was added, and make a long file short; blocks on the disk."""
        if self._lines > self._most_lines:
            self._rewrite(self._read())
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

    def close(self) -> None:
        """Close the file."""
        if self._descriptor is not None:
            os.close(self._descriptor)
            self._descriptor = None

    def _append(self, text: str) -> None:
        with self._lock:
            if self._behind is not None:
                self._behind.append(text)
                return
            self._write(text)

    def _write(self, text: str) -> None:
        try:
            if self._descriptor is None:
                flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT
                self._descriptor = os.open(self._file, flags, 0o600)
            os.write(self._descriptor, text.encode())
            self._lines += text.count("\n")
        except OSError as error:  # a full disk: a condition that went is then told again, or late
            log.warning("the journal of conditions: %s", error)

    def _read(self) -> dict[Key, tuple[codec.MachineAlarm, bool]]:
        """What the file says; lines that come from now on are put behind what is written anew."""
        found: dict[Key, tuple[codec.MachineAlarm, bool]] = {}
        with self._lock:
            self._behind = []
        with suppress(OSError):
            for line in self._file.read_bytes().splitlines():
                with suppress(ValueError, KeyError, TypeError, DecodeError):
                    self._apply(json.loads(line), found)
        return found

    def _rewrite(self, found: dict[Key, tuple[codec.MachineAlarm, bool]]) -> None:
        """Write the file anew, as short as it can be."""
        new = self._file.with_suffix(".new")
        lines = []
        for key, (alarm, is_stored) in found.items():
            data = base64.b64encode(alarm.SerializeToString()).decode()
            lines.append(json.dumps({"add": data}))
            if is_stored:
                lines.append(json.dumps({"stored": key, "id": alarm.event_id.hex()}))
        with suppress(OSError):
            if found or self._file.exists():
                new.touch(mode=0o600)
                new.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
                new.replace(self._file)
        with self._lock:
            self.close()
            # Where the disk has no room for it, not tried again with the next line.
            self._lines, self._most_lines = len(lines), _MOST_LINES + 2 * len(lines)
            behind, self._behind = self._behind or [], None
            for text in behind:
                self._write(text)

    @staticmethod
    def _apply(line: object, to: dict[Key, tuple[codec.MachineAlarm, bool]]) -> None:
        if not isinstance(line, dict):
            return
        if "add" in line:
            alarm = codec.MachineAlarm.FromString(base64.b64decode(str(line["add"])))
            to.pop((alarm.condition, alarm.branch), None)  # to the end
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
