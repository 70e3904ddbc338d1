"""Why the plant files cannot be used now, and what of it may be said to whom. Kept by
`reload.py`."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from aurelian.model.plant import Plant
from aurelian.model.plant_file import Problem

_MOST_SAID = 3


@dataclass(frozen=True, slots=True)
class Refusal:
    """Of the newest files; `reason` empty: they can be used.

    Attributes:
        reason: all of it, for who runs the gateway.
        problems: those that are in files.
    """

    reason: str = ""
    problems: Sequence[Problem] = ()

    def said_to(self, source: str, plants: Mapping[Path, Plant]) -> str:
        """What the owner of a source may know, by its key; `plants`: those that are used, by file.

        What stands in files of others, and in new ones, is told to nobody but the one owner of all.
        """
        if not self.reason:
            return ""
        site = source.rpartition("/")[0]
        owner = next((each.owner for each in plants.values() if each.path == site), "")
        files = {str(path) for path, each in plants.items() if each.owner == owner}
        problems: Sequence[Problem] = [each for each in self.problems if each.file in files]
        if not problems and len({each.owner for each in plants.values()}) == 1:
            if not self.problems:
                return self.reason
            problems = self.problems
        if not problems:
            return "One that is not of your machines cannot be used, and all are taken up together"
        said = "; ".join(map(str, problems[:_MOST_SAID]))
        more = len(problems) - _MOST_SAID
        return f"{said}; and {more} more" if more > 0 else said
