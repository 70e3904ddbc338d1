"""Which unit is meant, and which of its signals each column or tag is. Pure; called by plan.py."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from typing import TypeVar

from aurelian.model.plant import Plant, Unit, derive_id
from aurelian.model.plant_parts import SignalModel
from aurelian.model.sample import Signal, ValueType

_UNIT_OF_MEASURE = re.compile(r"\s*[\[(]\s*([^\])]*?)\s*[\])]\s*$")
_LEVELS = re.compile(r"[/\\|.:]")
_NEAR = 3
_NEAR_ENOUGH = 0.65
"""Below it names of other things are as near, `Bemerkung` and `Wirkleistung`."""
_LEAST_SPELT = 3

Key = TypeVar("Key", int, str)


class NoMatch(ValueError):
    """A name fits nothing, or too much; the text says which and what to do."""


@dataclass(frozen=True, slots=True)
class Target:
    """What a column's values are written to.

    Attributes:
        model: None: discovered.
        line: path of the line.
    """

    unit: Unit
    model: SignalModel | None
    signal: Signal
    line: str

    @property
    def name(self) -> str:
        """Last part of the signal's path."""
        return self.signal.path.rpartition("/")[2]


def find_unit(plants: Sequence[Plant], asset: str) -> Unit:
    """Find a unit by its ISA-95 path, or by an ending of it that only one has.

    Raises:
        NoMatch: none, or several.
    """
    wanted = asset.strip().strip("/").lower()
    units = [unit for plant in plants for unit in plant.units()]
    found = [unit for unit in units if unit.path.lower() == wanted] or [
        unit for unit in units if unit.path.lower().endswith(f"/{wanted}")
    ]
    if len(found) == 1:
        return found[0]
    if found:
        listed = ", ".join(unit.path for unit in found[:5])
        raise NoMatch(f"--as {asset!r} may be {listed}; say more of the path")
    inside = [unit.path for unit in units if f"/{wanted}/" in f"/{unit.path.lower()}/"]
    if inside:
        listed = ", ".join(inside[:5]) + (", …" if len(inside) > 5 else "")
        raise NoMatch(f"--as {asset!r} is no unit; its units are {listed}")
    endings = {each.lower(): unit.path for unit in units for each in (unit.path, unit.model.name)}
    near = get_close_matches(wanted, endings, n=_NEAR, cutoff=0.5)
    shown = dict.fromkeys(endings[each] for each in near) or [u.path for u in units[:5]]
    raise NoMatch(f"--as {asset!r} is no unit of the plant files; there are {', '.join(shown)}")


class Signals:
    """A unit's signals by what a file may call them. `source`: its values are counted under it."""

    def __init__(self, unit: Unit, source: str) -> None:
        self.unit, self.source = unit, source
        self.targets = [
            Target(unit, model, _of_source(signal, source), unit.line.path)
            for model, signal in zip(unit.model.signals, unit.signals(), strict=True)
        ]
        self._ways: list[dict[str, list[Target]]] = [
            _index(self.targets, lambda model, _: [model.name]),
            _index(self.targets, lambda model, _: [model.address]),
            _index(self.targets, lambda model, path: [model.name.lower(), path.lower()]),
            _index(self.targets, lambda model, _: [model.address.lower()]),
            _index(self.targets, lambda model, _: [plain(model.name)]),
        ]

    def named(self, name: str) -> Target:
        """The signal that somebody named exactly.

        Raises:
            NoMatch: there is none.
        """
        for target in self.targets:
            if target.name.lower() == name.strip().lower() or target.signal.path == name:
                return target
        near = self.nearest(name) or f"; it has: {self.listed()}"
        raise NoMatch(f"{self.unit.path} has no signal {name!r}{near}")

    def find(self, title: str) -> Target | None:
        """The signal that a title means; None: none, or several."""
        forms = [title, title, title.lower(), title.lower(), plain(title)]
        bare = without_unit(title)
        for form, way in zip(forms, self._ways, strict=True):
            if len(found := way.get(form, [])) == 1:
                return found[0]
        last = _LEVELS.split(bare)[-1].strip()
        for form, way in zip((bare, bare, bare.lower(), bare.lower()), self._ways, strict=False):
            if len(found := way.get(form, [])) == 1:
                return found[0]
        found = self._ways[4].get(plain(last), []) if last != title else []
        return found[0] if len(found) == 1 else None

    def ending(self, title: str) -> list[Target]:
        """The signals whose last dotted parts a title is: `Stückzahl` is `Produktion.Stuckzahl`.
        Asked where `find` knows none; several: the title says too little."""
        levels = [each for each in _LEVELS.split(without_unit(title)) if each.strip()]
        wanted = _spellings(levels)
        return [target for target in self.targets if wanted and _endings(target.name) & wanted]

    def by_endings(self, titles: Mapping[Key, str], taken: Iterable[Target]) -> dict[Key, Target]:
        """What columns or tags are by the last parts of a signal's name, where that is one signal,
        and none that is taken."""
        ids = {target.signal.id for target in taken}
        found = {key: self.ending(title) for key, title in titles.items()}
        one = {key: each[0] for key, each in found.items() if len(each) == 1}
        return {key: target for key, target in one.items() if target.signal.id not in ids}

    def nearest(self, title: str) -> str:
        """Words that name the signals that it may be, or those which come near; empty: none."""
        if not self.targets:
            return "; the unit has no signals"
        if several := self.ending(title):
            return f"; it may be {' or '.join(target.name for target in several[:8])}"
        names: dict[str, str] = {}
        for target in self.targets:
            for each in (plain(target.name), plain(target.name.rpartition(".")[2])):
                names.setdefault(each, target.name)
        near = get_close_matches(plain(title), names, n=_NEAR, cutoff=_NEAR_ENOUGH)
        shown = dict.fromkeys(names[each] for each in near)
        return f"; nearest: {', '.join(shown)}" if shown else ""

    def listed(self) -> str:
        """The signals that there are, the first of them, for a sentence."""
        more = f" and {len(self.targets) - 8} more" if len(self.targets) > 8 else ""
        return ", ".join(target.name for target in self.targets[:8]) + more

    def discovered(self, title: str, kind: ValueType) -> Target:
        """A signal beyond the plant model, under a name made of the title."""
        name = re.sub(r"[^\w.-]+", "_", without_unit(title)).strip("_") or "column"
        path = f"{self.unit.path}/{name}"
        signal = Signal(derive_id(path), self.unit.id, path, kind, "", self.source, discovered=True)
        return Target(self.unit, None, signal, self.unit.line.path)


def said_of_endings(by_endings: Mapping[str, Target]) -> list[str]:
    """Which columns or tags were taken by the last part of a name, as a sentence; none: none."""
    if not by_endings:
        return []
    pairs = ", ".join(f"{title} is {target.name}" for title, target in by_endings.items())
    return [f"by the last part of the name: {pairs}. Say --map where another one is meant"]


def read_map(options: Iterable[str]) -> dict[str, str]:
    """Read `Column=signal` options.

    Raises:
        NoMatch: one has no `=`, or a column stands twice.
    """
    found: dict[str, str] = {}
    for option in options:
        column, equals, signal = option.rpartition("=")
        if not equals or not column or not signal:
            raise NoMatch(f'--map {option!r}: write it as "Column=signal"')
        if column in found:
            raise NoMatch(f"--map names the column {column!r} twice")
        found[column.strip()] = signal.strip()
    return found


def find_title(titles: Sequence[str], wanted: str, option: str) -> int:
    """Index of a column that an option names.

    Raises:
        NoMatch: there is none.
    """
    for form in (str.strip, lambda text: plain(text) or text.strip()):
        found = [n for n, title in enumerate(titles) if form(title) == form(wanted)]
        if len(found) == 1:
            return found[0]
    near = get_close_matches(wanted, titles, n=_NEAR, cutoff=0.4)
    shown = ", ".join(near or titles[:8])
    raise NoMatch(f"{option} {wanted!r}: the file has no such column; there are {shown}")


def check_distinct(columns: Mapping[str, Target]) -> None:
    """Check that no two columns are one signal.

    Raises:
        NoMatch: two are.
    """
    seen: dict[str, str] = {}
    for title, target in columns.items():
        other = seen.setdefault(target.signal.id, title)
        if other != title:
            raise NoMatch(
                f"the columns {other!r} and {title!r} are both {target.name!r}; say which with "
                f"--map, and leave the other out with --skip"
            )


def plain(text: str) -> str:
    """A title as it is compared last: letters and digits, without its unit in brackets and without
    marks on letters: `Öltemperatur` is `Oltemperatur` in a plant file."""
    parted = unicodedata.normalize("NFKD", without_unit(text).casefold())
    return "".join(c for c in parted if c.isalnum())


def _endings(name: str) -> set[tuple[str, ...]]:
    """The last dotted parts of a signal's name, without the whole of it."""
    parts = tuple(plain(each) for each in name.split("."))
    return {parts[n:] for n in range(1, len(parts)) if all(parts[n:])}


def _spellings(levels: Sequence[str]) -> set[tuple[str, ...]]:
    """A title's levels as they are compared; letters that a plant file has not, `ø`, are left out
    of its names, so left out here too."""
    found = {tuple(plain(each) for each in levels)}
    for form in ("NFC", "NFKD"):
        spelt = []
        for each in levels:
            letters = [c for c in unicodedata.normalize(form, each.casefold()) if c.isalnum()]
            kept = "".join(c for c in letters if c.isascii())
            # What has little else is another alphabet: nothing of it would be compared.
            spelt.append(kept if len(kept) >= max(_LEAST_SPELT, len(letters) / 2) else "")
        found.add(tuple(spelt))
    return {each for each in found if each and all(each)}


def without_unit(title: str) -> str:
    """A title without `[°C]` or `(bar)` at its end."""
    bare = _UNIT_OF_MEASURE.sub("", title).strip()
    return bare or title.strip()


def unit_in(title: str) -> str:
    """The unit of measure that a title ends with; empty: none."""
    found = _UNIT_OF_MEASURE.search(title)
    return found[1] if found else ""


def _index(
    targets: Iterable[Target], names: Callable[[SignalModel, str], list[str]]
) -> dict[str, list[Target]]:
    index: dict[str, list[Target]] = {}
    for target in targets:
        for name in names(target.model, target.signal.path) if target.model else ():
            if name:
                index.setdefault(name, []).append(target)
    return index


def _of_source(signal: Signal, source: str) -> Signal:
    return Signal(signal.id, signal.asset, signal.path, signal.type, signal.unit, source)
