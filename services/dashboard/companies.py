"""Every company's picture and the browsers that look at it, kept apart. Filled by feed.py; asked by
gate.py.

A record goes to the picture of the company that owns it and to no other; a page shows one picture.
Pure apart from waking the clients' waiting tasks.
"""

from __future__ import annotations

import gc
import logging
from collections.abc import Callable, Iterator

from aurelian.model.asset import Asset
from dashboard import metrics
from dashboard.hub import Hub
from dashboard.live import LivePlant
from dashboard.records import Message

log = logging.getLogger(__name__)


class Pictures:
    """The live pictures by company. Attributes are for reading only.

    Attributes:
        plants: by owner.
    """

    def __init__(self, make: Callable[[], LivePlant]) -> None:
        self._make = make
        self.plants: dict[str, LivePlant] = {}
        self._owners: dict[str, str] = {}

    def of(self, owner: str) -> LivePlant:
        """The company's picture, made on first use."""
        if owner not in self.plants:
            self.plants[owner] = self._make()
        return self.plants[owner]

    def of_asset(self, asset: str) -> LivePlant | None:
        """The picture that an asset is in; None: nobody has told of it."""
        owner = self._owners.get(asset)
        return None if owner is None else self.plants[owner]

    def owner_of(self, asset: str) -> str | None:
        """The company that an asset belongs to."""
        return self._owners.get(asset)

    def put_asset(self, asset: Asset) -> list[Message]:
        """Take a node of its owner's tree. One whose id another company has already is passed over:
        nobody renames what is not theirs."""
        owner = self._owners.setdefault(asset.id, asset.owner)
        if owner != asset.owner:
            metrics.FOREIGN_ASSETS.inc()
            log.warning(
                "asset record of another owner passed over",
                extra={"fields": {"asset": asset.id, "owner": owner, "claimed": asset.owner}},
            )
            return []
        return [Message("plant", {})] if self.of(owner).put_asset(asset) else []

    def remove_asset(self, asset: str) -> list[Message]:
        """Forget a node."""
        plant = self.of_asset(asset)
        removed = plant is not None and plant.remove_asset(asset)
        self._owners.pop(asset, None)
        return [Message("plant", {})] if removed else []


class Companies:
    """A hub for each company whose pages somebody opened, over the pictures of all."""

    def __init__(self, make_hub: Callable[[str, LivePlant], Hub], pictures: Pictures) -> None:
        self._make_hub, self.pictures = make_hub, pictures
        self._hubs: dict[str, Hub] = {}
        self._problem: str | None = "starting"
        self.closed = False

    def hub_of(self, owner: str) -> Hub:
        """The company's hub, made on first use."""
        hub = self._hubs.get(owner)
        if hub is None:
            hub = self._hubs[owner] = self._make_hub(owner, self.pictures.of(owner))
            hub.problem, hub.closed = self._problem, self.closed
        return hub

    def publish(self, owner: str, messages: list[Message]) -> None:
        """Send to every browser of a company."""
        if owner in self._hubs:
            self._hubs[owner].publish(messages)

    def replace(self, pictures: Pictures) -> None:
        """Show other pictures from now on."""
        self.pictures = pictures
        for owner, hub in self._hubs.items():
            hub.replace(pictures.of(owner))
        # The pictures live until the next ones: without this each full garbage collection walks
        # through them and holds the event loop, 11 ms with 1,000 machines.
        gc.unfreeze()
        gc.collect()
        gc.freeze()

    def hubs(self) -> Iterator[Hub]:
        """All hubs."""
        return iter(self._hubs.values())

    @property
    def problem(self) -> str | None:
        """What the pages wait for, in words; None: nothing."""
        return self._problem

    @problem.setter
    def problem(self, problem: str | None) -> None:
        self._problem = problem
        for hub in self._hubs.values():
            hub.problem = problem

    def close(self) -> None:
        """End all streams."""
        self.closed = True
        for hub in self._hubs.values():
            hub.close()
