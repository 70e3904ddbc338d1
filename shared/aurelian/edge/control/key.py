"""The key of the control API: a file for its owner alone, made where there is none. Blocking;
called by `serve.py`, read by whoever asks the API."""

from __future__ import annotations

import hmac
import os
import secrets
import stat
from contextlib import suppress
from hashlib import sha256
from pathlib import Path

LEAST_CHARACTERS = 32


class KeyFileError(Exception):
    """The key cannot be had; the text says why and what to do. It never has the key."""


def read_or_make_key(path: Path) -> str:
    """The key in a file; made where there is none, whole and for its owner alone. Of several
    processes that make it at one time all get the same.

    Raises:
        KeyFileError: it cannot be read or made, or is no key.
    """
    try:
        if not path.exists():
            _make(path)
        mode = stat.S_IMODE(path.stat().st_mode)
        if mode & 0o077:
            path.chmod(0o600)
        return read_key(path)
    except OSError as error:
        why = error.strerror or str(error)
        raise KeyFileError(
            f"the key of the control API, {path}: {why}; let the gateway's user write there, or "
            "name another AURELIAN_CONTROL_KEY_FILE"
        ) from error


def read_key(path: Path) -> str:
    """The key in a file.

    Raises:
        KeyFileError: it is no key.
        OSError: it cannot be read.
    """
    key = path.read_text(encoding="utf-8", errors="replace").strip()
    if len(key) < LEAST_CHARACTERS or not key.isascii() or not key.isprintable() or " " in key:
        raise KeyFileError(
            f"{path} is no key of {LEAST_CHARACTERS} or more characters: delete it, and a new one "
            "is made at the next start"
        )
    return key


def is_key(key: str, given: str) -> bool:
    """Whether what was given is the key; takes as long wherever they differ."""
    ours, theirs = sha256(key.encode()), sha256(given.encode(errors="surrogatepass"))
    return hmac.compare_digest(ours.digest(), theirs.digest())


def _make(path: Path) -> None:
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
    part = path.with_name(f".{path.name}.{os.getpid()}.{secrets.token_hex(4)}.part")
    descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
    try:
        with os.fdopen(descriptor, "w") as stream:
            stream.write(f"{secrets.token_urlsafe(32)}\n")
            stream.flush()
            os.fsync(stream.fileno())
        with suppress(FileExistsError):  # another process was first
            os.link(part, path)
    finally:
        part.unlink(missing_ok=True)
