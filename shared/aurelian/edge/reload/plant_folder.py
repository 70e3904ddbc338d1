"""The plant-model files of a gateway as they are now; read again when they change. Asked by
`reload.py`, from a thread."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from aurelian.model.plant import Plant
from aurelian.model.plant_file import (
    folders_of,
    join_plants,
    parse_plant,
    plant_files,
    read_files,
)

Signature = tuple[tuple[str, int, int, int, int], ...]
"""Of each file its name, two times, size and inode. The time of its inode too: a copy that keeps
times, or a clock that was set back, gives a changed file the other time of before."""


class PlantFolder:
    """What the setting `plant` names. Blocks; one thread at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._parsed: dict[tuple[Path, bytes], Plant] = {}
        self._read: Signature | None = None
        self._seen: Signature | None = None

    @property
    def is_empty(self) -> bool:
        """Whether it is a folder, and no plant-model file is in it."""
        folders = folders_of(self.folder)
        return all(each.is_dir() for each in folders) and not plant_files(self.folder)

    def is_news(self) -> bool:
        """Whether the files are others than at the last `read`, and the same as at the last call:
        one that is being written is looked at when it stands still."""
        before, self._seen = self._seen, self._signature()
        return self._seen != self._read and self._seen == before

    def read(self) -> dict[Path, bytes]:
        """The bytes of the files.

        Raises:
            PlantError: there is none, or one cannot be read.
        """
        self._read = self._seen = self._signature()
        return read_files(self.folder)

    def parse(self, files: Mapping[Path, bytes]) -> dict[Path, Plant]:
        """The plants of some files; those that are as they were come as the same object.

        Raises:
            PlantError: one is unusable, or two do not go together.
        """
        parsed = {}
        for path, data in files.items():
            key = path, hashlib.sha256(data).digest()
            parsed[key] = self._parsed.get(key) or parse_plant(path, data)
        plants = {path: plant for (path, _), plant in parsed.items()}
        join_plants(files, plants)
        self._parsed = parsed
        return plants

    def _signature(self) -> Signature:
        try:
            stats = [(str(path), path.stat()) for path in plant_files(self.folder)]
        except OSError:  # it went between the two looks
            return ()
        return tuple((name, s.st_mtime_ns, s.st_ctime_ns, s.st_size, s.st_ino) for name, s in stats)
