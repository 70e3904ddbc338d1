"""What happened to files of the outbox and has no gap record yet: damaged, of a newer version, or
deleted while it ran. Used by `outbox.py`, confirmed by `outbox_watch.py`."""

from __future__ import annotations

import json
import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from aurelian.edge.outbox.newer import NEWER_REPORTED, NEWER_STEP, newer_files, newer_reason

_KEEP_REPORTED = 3
_CORRUPT, _LOST = ".corrupt", ".lost"


@dataclass(frozen=True, slots=True)
class SetAside:
    """A file that was set aside, or a note of one that is gone. Times in microseconds; `rows` that
    are lost, 0: not known."""

    path: Path
    from_time: int
    to_time: int
    reason: str
    rows: int = 0


def unreported(folder: Path) -> list[SetAside]:
    """What of a folder has no gap record yet."""
    found = []
    for path in sorted(folder.glob(f"*{_CORRUPT}")):
        reason = f"outbox file {path.name} was damaged"
        found.append(SetAside(path, _begin(path), _changed(path), reason))
    for path in newer_files(folder):
        if not path.with_suffix(NEWER_REPORTED).exists():
            reason = f"{newer_reason(path)}. {NEWER_STEP}"
            found.append(SetAside(path, _begin(path), _changed(path), reason))
    for path in sorted(folder.glob(f"*{_LOST}")):
        with suppress(ValueError, KeyError, TypeError):
            note = json.loads(path.read_text())
            found.append(SetAside(path, note["from"], note["to"], note["reason"], note["rows"]))
    return found


def note_lost(folder: Path, name: str, begin: int, end: int, reason: str, rows: int) -> None:
    """Note on the disk that rows of a file are gone, until there is a gap record of it."""
    path, new = folder / f"{name}{_LOST}", folder / f"{name}.lost-unfinished"
    if not path.exists():
        with new.open("w") as file:
            json.dump({"from": begin, "to": end, "reason": reason, "rows": rows}, file)
            file.flush()
            os.fsync(file.fileno())
        new.rename(path)


def confirm_reported(reported: SetAside) -> None:
    """Say that a gap record is on the disk. The newest three damaged files are kept, and every one
    of a newer version."""
    path = reported.path
    match path.suffix:
        case ".lost":
            path.unlink(missing_ok=True)
        case ".newer":
            path.with_suffix(NEWER_REPORTED).touch()
        case _:
            path.rename(path.with_suffix(".reported"))
            folder = path.parent
            kept = [*folder.glob("*.reported"), *folder.glob("*.told")]  # .told: release 0.1
            kept.sort(key=lambda path: path.stat().st_mtime)
            for old in kept[:-_KEEP_REPORTED]:
                old.unlink()


def _begin(path: Path) -> int:
    name = path.name.split(".")[0]
    return int(name.split("-")[1]) if "-" in name else 0


def _changed(path: Path) -> int:
    return int(path.stat().st_mtime * 1e6)
