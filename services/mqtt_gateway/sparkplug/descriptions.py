"""What births say of the plant model's units, for their asset records. Pure; used by mapping.py."""

from __future__ import annotations

import json
from typing import Any

from aurelian.edge.names import readable
from mqtt_gateway.sparkplug.messages import Born

_MOST_BYTES = 200_000
"""Of one unit's description: its asset's record must fit a record of Kafka."""


class Descriptions:
    """By asset; a unit that is described anew has a new object, and only then."""

    def __init__(self) -> None:
        self._of: dict[str, dict[str, Any]] = {}

    def __call__(self) -> dict[str, dict[str, Any]]:
        """Members for the asset records' meaning."""
        return self._of

    def take(self, asset: str, born: Born, at: int) -> None:
        """Take a birth; `at`: microseconds since 1970. What is known already changes nothing, so
        that births again and again are no news."""
        listed: list[dict[str, object]] = []
        size = left_out = 0
        for each in born.metrics:
            said: dict[str, object] = {"name": readable(each.name), "type": each.datatype}
            if each.alias is not None:
                said["alias"] = each.alias
            if each.unit:
                said["unit"] = readable(each.unit)
            if each.properties:
                said["properties"] = _storable(each.properties)
            size += len(json.dumps(said))
            if size > _MOST_BYTES:
                left_out += 1
            else:
                listed.append(said)
        schema: dict[str, Any] = {
            "edge_node": readable(f"{born.edge.group}/{born.edge.node}"),
            "device": None if born.device is None else readable(born.device),
            "metrics": listed,
            "left_out": left_out,
        }
        known = self._of.get(asset, {}).get("sparkplug", {})
        if {key: each for key, each in known.items() if key != "born_at"} != schema:
            self._of[asset] = {"sparkplug": {**schema, "born_at": at}}


def _storable(said: object) -> object:
    """The same with every text such that it can be stored."""
    match said:
        case str():
            return readable(said)
        case list():
            return [_storable(each) for each in said]
        case dict():
            return {readable(key): _storable(each) for key, each in said.items()}
    return said
