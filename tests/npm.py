"""Packages of npm that tests use as peers: pinned by a lock file with hashes, installed once into
`.cache` of the checkout."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

from tests.servers import ROOT, cannot_run


def install(locked: Path, name: str, what: str) -> tuple[str, Path]:
    """Install the packages of a folder with `package.json` and `package-lock.json`; skip where they
    cannot be had.

    Args:
        name: of the folder under `.cache`.
        what: the peer, for the message of what could not be run.

    Returns:
        The path of Node.js, and the folder that has `node_modules`.
    """
    node, npm = shutil.which("node"), shutil.which("npm")
    if node is None or npm is None:
        cannot_run(f"no Node.js with npm, so no {what}")
    folder = ROOT / ".cache" / name
    wanted = (locked / "package-lock.json").read_text()
    done = folder / "installed"
    if done.exists() and done.read_text() == wanted:
        return node, folder
    folder.mkdir(parents=True, exist_ok=True)
    for file in ("package.json", "package-lock.json"):
        shutil.copy(locked / file, folder / file)
    command = [npm, "ci", "--ignore-scripts", "--no-audit", "--no-fund"]
    result = subprocess.run(
        command, cwd=folder, capture_output=True, text=True, timeout=170, check=False
    )
    if result.returncode != 0:
        cannot_run(f"npm cannot get {what}: {result.stderr.strip().splitlines()[-1:]}")
    done.write_text(wanted)
    return node, folder
