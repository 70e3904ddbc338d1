"""Passwords and certificates that an `aurelian connect` is told; called by the gateways' own
`connect/command.py`."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

from aurelian.local.connect_walk import Fields, Talk
from aurelian.local.services import secrets_folder


class Secrets:
    """What is secret: in a folder that goes with it (`close`),
    until the plant file that names them is written."""

    def __init__(self, home: Path) -> None:
        self._folder = secrets_folder(home)
        self._held = TemporaryDirectory(prefix="aurelian-connect-")
        self._names: set[str] = set()

    def hold(self, name: str, text: str) -> str:
        """Hold it meanwhile; the file."""
        path = Path(self._held.name) / name
        _write_privately(path, text)
        self._names.add(name)
        return str(path)

    def close(self) -> None:
        """Forget what is not kept."""
        self._held.cleanup()

    def settled(self, fields: Fields) -> dict[str, object]:
        """Fields of a source with the files as they will be called."""
        return {name: self._settled(each) for name, each in fields.items()}

    def _settled(self, value: object) -> object:
        if isinstance(value, Mapping):
            return {name: self._settled(each) for name, each in value.items()}
        if isinstance(value, str) and value.startswith(f"{self._held.name}{os.sep}"):
            return str(self._folder / Path(value).name)
        return value

    def keep(self, talk: Talk, fields: Sequence[Fields]) -> None:
        """Keep those that some sources name, each for its owner alone."""
        named = repr(fields)
        for name in sorted(self._names):
            path = self._folder / name
            if repr(str(path)) not in named:
                continue
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            _write_privately(path, (Path(self._held.name) / name).read_text())
            talk.say(f"  kept in {path}, readable by you alone")


def _write_privately(path: Path, text: str) -> None:
    with suppress(FileNotFoundError):
        path.unlink()
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "w") as stream:
        stream.write(text)
