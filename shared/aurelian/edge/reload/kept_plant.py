"""The plant files that a gateway accepted last, on its own disk: what it starts with where the
folder cannot be used. Written by `reload.py`; `aurelian plant diff` reads it too."""

from __future__ import annotations

import json
import logging
import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass, field
from pathlib import Path

log = logging.getLogger(__name__)

_VERSION = 1


@dataclass(frozen=True, slots=True)
class Before:
    """What a source ran as before a change that has not connected yet, or that did not.

    Attributes:
        terms: of the change (`terms_of`); another change ends this.
        file: name of the file that the source stood in.
        text: of that file, as it was.
        cause, step: why the change was taken back and what to do; both empty: it is being tried.
        at: microseconds since 1970 of the change.
    """

    terms: str
    file: str
    text: str
    at: int
    cause: str = ""
    step: str = ""

    @property
    def is_held(self) -> bool:
        """Whether the change was taken back."""
        return bool(self.cause)


@dataclass(frozen=True, slots=True)
class KeptPlant:
    """What was accepted.

    Attributes:
        files: text by file name, `${NAME}` not filled in: no secret of the environment is kept.
        before: by the source's key.
        gone: ids of assets that the files have no more and that readers were not told of yet.
        at: microseconds since 1970 of the last change.
    """

    files: Mapping[str, str]
    before: Mapping[str, Before] = field(default_factory=dict)
    gone: Sequence[str] = ()
    at: int = 0


def read_kept(path: Path) -> KeptPlant | None:
    """What was accepted before; None: nothing, or it cannot be read, which is logged."""
    try:
        found = json.loads(path.read_bytes())
        if found["version"] != _VERSION:
            raise ValueError(f"version {found['version']}")
        return KeptPlant(
            {str(name): str(text) for name, text in found["files"].items()},
            {str(key): Before(**each) for key, each in found["before"].items()},
            tuple(map(str, found["gone"])),
            int(found["at"]),
        )
    except FileNotFoundError:
        return None
    except (
        OSError, ValueError, KeyError, TypeError, AttributeError, RecursionError
    ) as error:  # fmt: skip
        fields = {"file": str(path), "error": str(error)}
        log.warning("plant that was accepted before cannot be read", extra={"fields": fields})
        return None


def write_kept(path: Path, kept: KeptPlant) -> None:
    """Put it on the disk whole, or leave what is there; blocks until it is synced.

    Raises:
        OSError: the disk does not take it.
    """
    text = json.dumps({"version": _VERSION, **asdict(kept)}, ensure_ascii=False, indent=1)
    new = path.with_suffix(".new")
    try:
        with os.fdopen(os.open(new, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        new.replace(path)
    except OSError:
        with suppress(OSError):
            new.unlink()
        raise
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
