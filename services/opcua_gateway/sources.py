"""Makes the OPC UA sources of plants; called by `aurelian.edge.reload`."""

from __future__ import annotations

from collections.abc import Container, Sequence

from aurelian.model.addresses import AddressError
from aurelian.model.plant import Plant
from aurelian.model.plant_file import PlantError
from opcua_gateway.mapping import tags_of
from opcua_gateway.security.endpoints import announce_certificate
from opcua_gateway.settings import OpcuaGatewaySettings
from opcua_gateway.source import OpcuaSource
from opcua_gateway.turns import Turns


def make_sources(
    settings: OpcuaGatewaySettings,
    plants: Sequence[Plant],
    wanted: Container[str] | None = None,
) -> list[OpcuaSource]:
    """Make a source for each OPC UA server of the plants, of those whose key is `wanted`; None: of
    all.

    Raises:
        PlantError: an address is no node id.
    """
    sources = []
    turns = Turns()
    for plant in plants:
        for model in plant.sources:
            if model.kind == "opcua" and (wanted is None or model.key in wanted):
                try:
                    tags = tags_of(plant, model)
                except AddressError as error:
                    raise PlantError(str(error)) from error
                units = [each for each in plant.units() if each.model.source == model.id]
                sources.append(OpcuaSource(model, plant.owner, tags, settings, turns, units))
    if sources:
        announce_certificate(settings)
    return sources
