"""Which filters a broker has of us, kept beside its session: what the plant file has no more would
come for ever. Used by source.py."""

from __future__ import annotations

import json
import logging
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path

log = logging.getLogger(__name__)


class SubscribedFile:
    """Of one source. What is wrong with the file never stops it: then old topics may go on coming,
    and are counted as unknown."""

    def __init__(self, path: Path, filters: Sequence[str]) -> None:
        self._path, self._filters = path, tuple(filters)

    def dropped(self) -> tuple[str, ...]:
        """Filters of before that are none of ours any more."""
        try:
            found = json.loads(self._path.read_bytes())["filters"]
            return tuple(str(each) for each in found if each not in self._filters)
        except (OSError, ValueError, KeyError, TypeError):
            return ()

    def save(self) -> None:
        """Note what the broker has now."""
        new = self._path.with_suffix(".new")
        try:
            new.touch(mode=0o600)
            new.write_text(json.dumps({"filters": self._filters}), encoding="utf-8")
            new.replace(self._path)
        except OSError as error:
            fields = {"file": str(self._path), "error": error.strerror or str(error)}
            log.warning("the filters at the broker are not remembered", extra={"fields": fields})

    def remove(self) -> None:
        """The session is ended."""
        with suppress(OSError):
            self._path.unlink(missing_ok=True)
