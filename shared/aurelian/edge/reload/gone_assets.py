"""The assets that a gateway's plants have no more, of which readers were not told yet. Kept by
`reload.py`, told by the drain."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from aurelian.model.asset import Asset
from aurelian.model.plant import Plant


class GoneAssets:
    """Asset ids of which readers were told once, and that are there no more.

    Attributes:
        ids: the ids.
    """

    def __init__(self, gone: Iterable[str] = (), there: Iterable[Plant] = ()) -> None:
        """`gone`: what readers were not told of; `there`: plants whose assets they may know."""
        self.ids = set(gone)
        self._there = _own_assets(there)

    def is_now(self, plants: Iterable[Plant], held: Mapping[str, Plant]) -> None:
        """Note what is there now; `held`: by the source's key, the plant whose units it has in
        place of those of `plants`."""
        there = _own_assets(plants)
        for key, plant in held.items():
            there |= _of_source(plant, key)
        self.ids = (self.ids | self._there) - there
        self._there = there

    def told(self, ids: Iterable[str]) -> None:
        """Readers know of these."""
        self.ids -= set(ids)


def _own_assets(plants: Iterable[Plant]) -> set[str]:
    """Ids of all that a plant has of its own: an enterprise may stand in other gateways' files."""
    return {each.id for plant in plants for each in plant.assets() if _is_own(each)}


def _of_source(plant: Plant, key: str) -> set[str]:
    """Ids of a source's units and of what they stand in."""
    found: set[str] = set()
    for asset in reversed(list(plant.assets())):  # parents come first there
        is_unit = asset.level == "unit" and asset.meaning["source"] == key
        if _is_own(asset) and (is_unit or asset.id in found):
            found.add(asset.id)
            if asset.parent is not None:
                found.add(asset.parent)
    return {each.id for each in plant.assets() if each.id in found and _is_own(each)}


def _is_own(asset: Asset) -> bool:
    return asset.level != "enterprise"
