"""The ISA-95 tree of the live picture with the orders in which pages show it. Pure; owned by
live.py.

Orders and reporters are worked out at the first question after a change, then kept: a page with
1,000 machines asks for each line's machines, and the tree hardly ever changes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from aurelian.model.asset import Asset


class AssetTree:
    """All assets by id, with what stands below each line.

    Attributes:
        assets: by id. Change it through `put` and `remove` only.
    """

    def __init__(self) -> None:
        self.assets: dict[str, Asset] = {}
        self._lines: list[Asset] | None = None
        self._units: dict[str, list[Asset]] | None = None
        self._reporters: dict[str, tuple[str, str]] = {}

    def put(self, asset: Asset) -> bool:
        """Add or replace an asset; True if anything is new."""
        if self.assets.get(asset.id) == asset:
            return False
        self.assets[asset.id] = asset
        self._forget_orders()
        return True

    def remove(self, asset: str) -> bool:
        """Forget an asset; True if it was there."""
        self._forget_orders()
        return self.assets.pop(asset, None) is not None

    def lines(self) -> list[Asset]:
        """All lines in the order of their paths, line-2 before line-10."""
        if self._lines is None:
            found = [asset for asset in self.assets.values() if asset.level == "line"]
            self._lines = sorted(found, key=lambda line: natural_key(line.path))
        return self._lines

    def units(self) -> Iterator[Asset]:
        """All machines that stand anywhere in the tree, in no order."""
        return (asset for asset in self.assets.values() if asset.level == "unit")

    def units_of(self, line: Asset) -> list[Asset]:
        """The line's machines in flow order; one that is not in the model's list comes last."""
        if self._units is None:
            self._units = self._sort_units()
        return self._units.get(line.id, [])

    def sources_of(self, line: Asset) -> list[str]:
        """The sources that speak for the line's machines, in flow order."""
        found = (str(unit.meaning.get("source", "")) for unit in self.units_of(line))
        return list(dict.fromkeys(source for source in found if source))

    def line_of(self, asset: str) -> Asset | None:
        """The line that an asset belongs to, itself included."""
        found = self.assets.get(asset)
        while found is not None and found.level != "line":
            found = self.assets.get(found.parent or "")
        return found

    def reporters_of(self, asset: str) -> tuple[str, str]:
        """The asset whose signs of life count for this one (of a line its constraint unit, else
        itself), and the id of the source that reports it (empty when nobody knows)."""
        known = self._reporters.get(asset)
        if known is None:
            known = self._reporters[asset] = self._find_reporters(asset)
        return known

    def _find_reporters(self, asset: str) -> tuple[str, str]:
        found = self.assets.get(asset)
        if found is not None and found.level == "line":
            asset = str(found.meaning.get("constraint", asset))
            found = self.assets.get(asset)
        return asset, str(found.meaning.get("source", "")) if found is not None else ""

    def _forget_orders(self) -> None:
        self._lines = self._units = None
        self._reporters = {}

    def _sort_units(self) -> dict[str, list[Asset]]:
        by_line: dict[str, list[Asset]] = {}
        for unit in self.units():
            if unit.parent is not None:
                by_line.setdefault(unit.parent, []).append(unit)
        return {line: self._in_flow_order(line, units) for line, units in by_line.items()}

    def _in_flow_order(self, line: str, units: list[Asset]) -> list[Asset]:
        found = self.assets.get(line)
        declared = found.meaning.get("units", ()) if found is not None else ()
        order = {str(unit): place for place, unit in enumerate(declared)}
        return sorted(units, key=lambda unit: (order.get(unit.id, len(order)), unit.path))


def natural_key(path: str) -> list[tuple[int, int, str]]:
    """Sort key in which line-2 comes before line-10."""
    return [
        (0, int(part), "") if part.isdigit() else (1, 0, part) for part in re.split(r"(\d+)", path)
    ]
