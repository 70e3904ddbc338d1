"""The asset records that a gateway publishes: its plants', with what machines said of themselves.
Made by gateway.py, gone through by the drain."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, Protocol, runtime_checkable

from aurelian.edge.forward import Source
from aurelian.model.asset import Asset
from aurelian.model.plant import Plant


@runtime_checkable
class Describing(Protocol):
    """A source whose machines say what they are."""

    def descriptions(self) -> Mapping[str, Mapping[str, Any]]:
        """Further members of the meaning, by asset id; an asset that is described anew has another
        object."""


class PlantAssets:
    """All assets of the plants that the sources belong to, made anew each time: kept, they would
    be a tenth of a large gateway's memory."""

    def __init__(self, sources: Iterable[Source], plants: Sequence[Plant]) -> None:
        self._sources = sources
        self._plants, self._held = plants, dict[str, Plant]()
        self._is_changed = False
        self._told: dict[str, Mapping[str, Any]] = {}
        self._published: dict[str, int] = {}

    def __iter__(self) -> Iterator[Asset]:
        self._told = self._described()
        self._is_changed = False
        self._published = {}
        for asset in self._assets(None):
            self._published[asset.id] = hash(asset.encode())
            yield asset

    def use(self, plants: Sequence[Plant], held: Mapping[str, Plant]) -> None:
        """Go on with other plants; `held`: by the source's key, the plant whose units it has in
        place of those of `plants`."""
        self._plants, self._held, self._is_changed = plants, dict(held), True

    @property
    def are_others(self) -> bool:
        """Whether the plants are others since they were gone through last."""
        return self._is_changed

    def changed(self) -> list[Asset]:
        """Those that were described anew, or are others in the plants, since they were gone through
        last."""
        described = self._described()
        changed = {id for id, each in described.items() if self._told.get(id) is not each}
        self._told = described
        if not self._is_changed:
            return list(self._assets(changed)) if changed else []
        self._is_changed = False
        before, self._published, found = self._published, {}, []
        for asset in self._assets(None):
            self._published[asset.id] = hash(asset.encode())
            if asset.id in changed or before.get(asset.id) != self._published[asset.id]:
                found.append(asset)
        return found

    def _described(self) -> dict[str, Mapping[str, Any]]:
        describing = [each for each in self._sources if isinstance(each, Describing)]
        return {id: said for each in describing for id, said in each.descriptions().items()}

    def _assets(self, wanted: set[str] | None) -> Iterator[Asset]:
        mine = {source.model.key for source in self._sources}
        for plant in self._plants:
            if not mine & {each.key for each in plant.sources}:
                continue
            held = {key: each for key, each in self._held.items() if each.path == plant.path}
            for asset in _with_held(plant, held):
                if wanted is None or asset.id in wanted:
                    said = self._told.get(asset.id)
                    yield (
                        asset if said is None else replace(asset, meaning={**asset.meaning, **said})
                    )


def _with_held(plant: Plant, held: Mapping[str, Plant]) -> Iterator[Asset]:
    """A plant's assets, the units of held sources as their own plant has them: what their values
    mean is said there."""
    of_held = {
        asset.id: asset
        for key, before in held.items()
        for asset in before.assets()
        if asset.level == "unit" and asset.meaning["source"] == key
    }
    for asset in plant.assets():
        yield of_held.pop(asset.id, asset)
    yield from of_held.values()
