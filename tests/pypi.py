"""Packages of PyPI that tests use as peers, each in an environment of its own: pinned by a lock
file with hashes and without any host, installed once into `.cache` of the checkout. Beside ours
they would bring older versions of what we use."""

from __future__ import annotations

import shutil
import subprocess
import sys
from pathlib import Path

from tests.servers import ROOT, cannot_run


def install(locked: Path, what: str) -> Path:
    """Install the packages of a lock file; skip where they cannot be had.

    Args:
        locked: its name names the environment.
        what: the peer, for the message of what could not be run.

    Returns:
        The environment's Python.
    """
    folder = ROOT / ".cache" / locked.stem
    python, done = folder / "bin" / "python", folder / "installed"
    wanted = f"{locked.read_text()}{sys.version_info[:2]}"
    if done.exists() and done.read_text() == wanted:
        return python
    shutil.rmtree(folder, ignore_errors=True)
    folder.parent.mkdir(exist_ok=True)
    pip = [python, "-m", "pip", "install", "--disable-pip-version-check", "--quiet"]
    for command in (
        [sys.executable, "-m", "venv", folder],
        [*pip, "--require-hashes", "--no-deps", "--requirement", locked],
    ):
        result = subprocess.run(command, capture_output=True, text=True, timeout=170, check=False)
        if result.returncode != 0:
            said = (result.stderr or result.stdout).strip().splitlines()[-1:]
            cannot_run(f"pip cannot get {what}: {said}")
    done.write_text(wanted)
    return python
