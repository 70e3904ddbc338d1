"""The asset records that a gateway publishes: its plants', with what machines said of themselves.
Made by gateway.py, gone through by the drain."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
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

    def __init__(self, sources: Sequence[Source], plants: Sequence[Plant]) -> None:
        mine = {source.model.key for source in sources}
        self._plants = [plant for plant in plants if mine & {each.key for each in plant.sources}]
        self._describing = [source for source in sources if isinstance(source, Describing)]
        self._told: dict[str, Mapping[str, Any]] = {}

    def __iter__(self) -> Iterator[Asset]:
        self._told = self._described()
        yield from self._assets(None)

    def changed(self) -> list[Asset]:
        """Those that were described anew since they were gone through last."""
        described = self._described()
        changed = {id for id, each in described.items() if self._told.get(id) is not each}
        self._told = described
        return list(self._assets(changed)) if changed else []

    def _described(self) -> dict[str, Mapping[str, Any]]:
        return {id: said for each in self._describing for id, said in each.descriptions().items()}

    def _assets(self, wanted: set[str] | None) -> Iterator[Asset]:
        for plant in self._plants:
            for asset in plant.assets():
                if wanted is None or asset.id in wanted:
                    said = self._told.get(asset.id)
                    yield (
                        asset if said is None else replace(asset, meaning={**asset.meaning, **said})
                    )
