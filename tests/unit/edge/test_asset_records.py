"""Asset records with what machines say of themselves."""

from typing import Any

from aurelian.edge.asset_records import Describing, PlantAssets
from aurelian.model.plant import Plant
from tests.unit.mqtt_gateway.sparkplug.test_order import make_plant


class Machines:
    """A source whose machines describe themselves."""

    def __init__(self, plant: Plant) -> None:
        self.model, self.owner = plant.sources[0], plant.owner
        self.said: dict[str, dict[str, Any]] = {}

    def descriptions(self) -> dict[str, dict[str, Any]]:
        return self.said


def test_an_asset_that_is_described_anew_is_published_once_more() -> None:
    plant = make_plant()
    machines = Machines(plant)
    assert isinstance(machines, Describing)
    assets = PlantAssets([machines], [plant])  # type: ignore[list-item]
    plain = {each.id: each.meaning for each in assets}
    assert assets.changed() == []

    press = next(plant.units()).id
    machines.said = {press: {"sparkplug": {"device": "press"}}}
    (changed,) = assets.changed()
    assert changed.meaning == {**plain[press], "sparkplug": {"device": "press"}}
    assert assets.changed() == []
    assert {each.id: each.meaning for each in assets} == {**plain, press: changed.meaning}

    machines.said = {press: {"sparkplug": {"device": "press"}}}  # another object
    assert [each.id for each in assets.changed()] == [press]
