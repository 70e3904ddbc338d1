"""Looks that are kept for a while, and passwords that requests brought: in files for their owner
alone, which go with the request or the look. Used by `app.py`."""

from __future__ import annotations

import asyncio
import os
import secrets
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aurelian.edge.control.connector import Look

KEPT_S = 900.0
MOST_LOOKS = 16


class Passwords:
    """The folder of passwords that are held for requests; nothing in it outlives the API."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.clear()

    def clear(self) -> None:
        """Forget all; also what a process that was killed has left."""
        shutil.rmtree(self._folder, ignore_errors=True)

    def hold(self, password: str | None) -> Password | None:
        """Hold one in a file of its own; None: there is none. Blocks."""
        if password is None:
            return None
        self._folder.mkdir(parents=True, exist_ok=True, mode=0o700)
        path = self._folder / secrets.token_hex(16)
        write_privately(path, password)
        return Password(path)


@dataclass(slots=True)
class Password:
    """One that is held. `is_kept`: by a look, also when the request that brought it is over."""

    file: Path
    is_kept: bool = False

    def end_request(self) -> None:
        """Delete it, unless a look keeps it."""
        if not self.is_kept:
            self.forget()

    def forget(self) -> None:
        """Delete it."""
        self.file.unlink(missing_ok=True)

    def keep(self, target: Path) -> None:
        """Copy it to where a plant file names it. Blocks."""
        target.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        write_privately(target, self.file.read_text(encoding="utf-8"))


@dataclass(frozen=True, slots=True)
class KeptLook:
    """What a look has found. `password`: that it was made with."""

    look: Look
    password: Password | None

    def settled(self, fields: Mapping[str, object], file: Path | None) -> dict[str, object]:
        """Fields of a source with the password's file as it will be called; None: without it."""
        held = None if self.password is None else str(self.password.file)
        made = {}
        for name, value in fields.items():
            if name == "password_file" and value == held:
                if file is None:
                    continue
                value = str(file)
            made[name] = value
        return made

    def names_password(self, fields: Mapping[str, object]) -> bool:
        """Whether a source is one that signs in with it."""
        return self.password is not None and fields.get("password_file") == str(self.password.file)

    def forget(self) -> None:
        """Let its password go with it."""
        if self.password is not None:
            self.password.forget()


class Looks:
    """The newest looks, each for some time; owned by one event loop."""

    def __init__(self, kept_s: float = KEPT_S, most: int = MOST_LOOKS) -> None:
        self._kept_s, self._most = kept_s, most
        self._looks: dict[str, tuple[KeptLook, asyncio.TimerHandle]] = {}

    def add(self, look: KeptLook) -> str:
        """Keep one; returns its id. The oldest of too many goes."""
        if look.password is not None:
            look.password.is_kept = True
        id_ = secrets.token_urlsafe(16)
        timer = asyncio.get_running_loop().call_later(self._kept_s, self._forget, id_)
        self._looks[id_] = look, timer
        while len(self._looks) > self._most:
            self._forget(next(iter(self._looks)))
        return id_

    def get(self, id_: str) -> KeptLook | None:
        """A look that is kept; None: there is none of that id, or no longer."""
        found = self._looks.get(id_)
        return None if found is None else found[0]

    def clear(self) -> None:
        """Forget all."""
        for id_ in list(self._looks):
            self._forget(id_)

    def _forget(self, id_: str) -> None:
        look, timer = self._looks.pop(id_)
        timer.cancel()
        look.forget()


def write_privately(path: Path, text: str) -> None:
    """Write a file that its owner alone may read, not even for a moment anybody else."""
    part = path.with_name(f".{path.name}.{secrets.token_hex(4)}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        part.replace(path)
    except BaseException:
        part.unlink(missing_ok=True)
        raise
