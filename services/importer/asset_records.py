"""The asset records that an import publishes: those of its plant that nobody has published yet. A
gateway's own are left alone: it knows what its machines said of themselves. Called by
processor.py."""

from __future__ import annotations

import logging

from aurelian.backbone.client import Consumer, Unavailable
from aurelian.backbone.topics import ASSETS
from aurelian.model.asset import Asset
from aurelian.model.plant import Plant
from aurelian.model.record import Partition
from aurelian.runtime.retry import Backoff
from aurelian.runtime.settings import KafkaSettings

log = logging.getLogger(__name__)


class MissingAssets:
    """Finds the assets of a plant of which `aurelian.assets.v1` has no record."""

    def __init__(self, settings: KafkaSettings, plant: Plant) -> None:
        self._settings, self._plant = settings, plant
        self._found: list[Asset] = []

    def take(self) -> list[Asset]:
        """Those found since the last call; for the drain."""
        taken, self._found = self._found, []
        return taken

    async def find(self) -> None:
        """Read the topic to its end; waits while Kafka is away."""
        backoff = Backoff()
        while True:
            try:
                known = await self._read()
                break
            except Unavailable as error:
                log.debug("asset records cannot be read", extra={"fields": {"error": str(error)}})
                await backoff.wait()
        self._found = [asset for asset in self._plant.assets() if asset.id not in known]

    async def _read(self) -> set[str]:
        known: dict[str, bool] = {}
        async with Consumer(self._settings, [ASSETS], client_id="import-assets") as consumer:
            places = [Partition(ASSETS.name, number) for number in range(ASSETS.partitions)]
            ends = await consumer.end_offsets(places)
            while True:
                positions = await consumer.positions(places)
                if all(positions.get(place, 0) >= ends[place] for place in places):
                    return {asset for asset, there in known.items() if there}
                for record in await consumer.take():
                    known[(record.key or b"").decode()] = record.value is not None
