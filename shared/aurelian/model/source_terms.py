"""What a source was made of, as one text to compare: where it is equal, a changed plant file leaves
the source alone. Used by the gateways when they reload, and by `aurelian plant diff`. Pure."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from collections.abc import Iterable, Sequence

from aurelian.model.plant import Plant, Unit


def terms_of(plants: Sequence[Plant]) -> dict[str, str]:
    """The terms of each source of the plants, by `SourceModel.key`: a SHA-256 of all that its
    gateway reads of the file. Titles, calendars and products are none of it."""
    hosts = Counter(
        each.url for plant in plants for each in plant.sources if each.kind == "sparkplug"
    )
    found = {}
    for plant in plants:
        units: dict[str, list[Unit]] = {}
        for unit in plant.units():
            units.setdefault(unit.model.source, []).append(unit)
        for source in plant.sources:
            # Hosts of one broker have ids of their own (`mqtt_gateway.source.make_sources`).
            shares = source.kind == "sparkplug" and hosts[source.url] > 1
            said = [
                plant.owner,
                plant.path,
                plant.time_zone,
                source.model_dump(mode="json"),
                shares,
                list(map(_unit, units.get(source.id, ()))),
            ]
            text = json.dumps(said, sort_keys=True, separators=(",", ":"))
            found[source.key] = hashlib.sha256(text.encode()).hexdigest()
    return found


def changed_sources(
    before: dict[str, str], after: dict[str, str]
) -> tuple[Iterable[str], Iterable[str], Iterable[str]]:
    """Keys that came, that went, and that are there with other terms."""
    came = [key for key in after if key not in before]
    went = [key for key in before if key not in after]
    return came, went, [key for key in after if key in before and before[key] != after[key]]


def _unit(unit: Unit) -> object:
    model = unit.model.model_dump(mode="json", exclude={"title", "simulate"})
    return unit.line.id, unit.line.path, unit.id, model
