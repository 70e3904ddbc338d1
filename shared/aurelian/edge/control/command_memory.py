"""Which commands a gateway has begun, kept on its disk before each is executed: none is executed
twice, also after a power cut. Used by `commands.py`. Blocking."""

from __future__ import annotations

import json
import logging
from contextlib import suppress
from pathlib import Path

from aurelian.runtime.safe_file import ChangedMeanwhileError, replace_file

log = logging.getLogger(__name__)

MOST_IDS = 1000


class CommandMemory:
    """The newest commands, by their ids.

    Attributes:
        unanswered: ids of those that were begun, and of whose answer nothing is known, with whom
            the answer concerns (owner, source).
        forgotten_to: microseconds since 1970; those from before may have been executed.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._written: bytes | None = None
        self._ids: dict[str, int] = {}
        self.unanswered: dict[str, tuple[str, str]] = {}
        self.forgotten_to = 0

    def read(self, now: int, latest: int = 2**62) -> None:
        """Read what was kept. A file that is none counts as if all from before `now` were
        executed. `latest`: no command of a later time is ever executed, so that none is forgotten
        with all before it."""
        with suppress(FileNotFoundError):
            self._written = self._path.read_bytes()
            try:
                kept = json.loads(self._written)
                self._ids = {str(id): min(int(at), latest) for id, at in kept["ids"].items()}
                self.unanswered = {
                    str(id): (str(owner), str(source))
                    for id, (owner, source) in kept["unanswered"].items()
                }
                self.forgotten_to = min(int(kept["forgotten_to"]), latest)
            except (
                ValueError, TypeError, KeyError, AttributeError, RecursionError, OverflowError
            ) as error:  # fmt: skip
                fields = {"file": str(self._path), "error": repr(error)}
                log.error("executed commands cannot be read", extra={"fields": fields})
                self._ids, self.unanswered, self.forgotten_to = {}, {}, now

    def knows(self, id: str, at: int) -> bool:
        """Whether a command may have been executed before; `at`: when it was given."""
        return id in self._ids or at <= self.forgotten_to

    def begin(self, id: str, at: int, owner: str, source: str) -> None:
        """Remember one, before it is executed.

        Raises:
            OSError: the disk does not take it.
        """
        self._ids[id] = at
        self.unanswered[id] = owner, source
        while len(self._ids) > MOST_IDS:
            oldest = min(self._ids, key=lambda each: self._ids[each])
            self.forgotten_to = max(self.forgotten_to, self._ids.pop(oldest))
        try:
            self._write()
        except OSError:
            del self.unanswered[id]
            self._ids.pop(id, None)
            raise

    def answered(self, id: str) -> None:
        """The answer to one is kept elsewhere.

        Raises:
            OSError: the disk does not take it.
        """
        self.unanswered.pop(id, None)
        self._write()

    def _write(self) -> None:
        kept = {
            "ids": self._ids,
            "unanswered": self.unanswered,
            "forgotten_to": self.forgotten_to,
        }
        data = json.dumps(kept).encode()
        try:
            replace_file(self._path, data, self._written)
        except ChangedMeanwhileError as error:
            raise OSError(str(error)) from error
        self._written = data
