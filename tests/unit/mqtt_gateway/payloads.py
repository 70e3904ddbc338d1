"""Sources of plain MQTT and their messages as the tests of this folder make and read them."""

from collections.abc import Collection, Mapping
from datetime import UTC

from aurelian.model.plant import Plant
from aurelian.model.sample import Flag
from mqtt_gateway.json_payload import Field, read_members
from mqtt_gateway.message_map import Mapped, MessageMap
from mqtt_gateway.times import Times

AT = 1_767_592_800_000_000
"""2026-01-05T06:00:00Z, when every message of these tests was received."""


def read_fields(payload: bytes, declared: Collection[str] = ()) -> list[Field]:
    """All values of a payload, without those that are broken."""
    members = read_members(payload, declared=declared, times=Times(UTC))
    return [each for each in members if isinstance(each, Field)]


def make_plant(
    source: Mapping[str, object],
    units: Mapping[str, Mapping[str, str]] | None = None,
    lines: int = 1,
) -> Plant:
    """A plant `acme/north` of one area `hall` and one source; on each of its lines `line-1`, … the
    units with their signals: address and type. An address that begins with `@` is the unit's."""
    given = units or {"m": {}}

    def unit(name: str, signals: Mapping[str, str]) -> dict[str, object]:
        address = signals.get("@", "")
        return {
            "name": name,
            "source": "x",
            "address": address,
            "signals": [
                {"name": f"s{number}", "address": each, "type": kind}
                for number, (each, kind) in enumerate(signals.items())
                if each != "@"
            ],
        }

    return Plant.model_validate(
        {
            "company": {"id": "acme", "name": "Acme"},
            "site": "north",
            "time_zone": "Europe/Oslo",
            "sources": [{"id": "x", "kind": "mqtt", "url": "mqtt://h", **source}],
            "areas": [
                {
                    "name": "hall",
                    "lines": [
                        {
                            "name": f"line-{line + 1}",
                            "products": [{"id": "cup", "ideal_cycle_s": 2}],
                            "units": [unit(name, signals) for name, signals in given.items()],
                        }
                        for line in range(lines)
                    ],
                }
            ],
        }
    )


def make_map(
    source: Mapping[str, object],
    units: Mapping[str, Mapping[str, str]] | None = None,
    lines: int = 1,
) -> MessageMap:
    """The map of such a plant's source."""
    plant = make_plant(source, units, lines)
    return MessageMap(plant, plant.sources[0], max_payload_bytes=1_000_000, max_discovered=1_000)


def send(mapping: MessageMap, topic: str, payload: bytes | str) -> Mapped:
    """Map one message."""
    data = payload if isinstance(payload, bytes) else payload.encode()
    return mapping.map(topic, data, Flag.NONE, AT)


def values(mapped: Mapped, site: str = "acme/north/") -> dict[str, object]:
    """Values by unit and address, say `m/temp`; of a discovered unit by its path below the site."""
    found: dict[str, object] = {}
    for each in mapped.readings:
        if each.model is not None and each.unit is not None:
            name = f"{each.unit.model.name}/{each.model.address}"
        elif each.unit is not None:
            name = each.signal.path.removeprefix(f"{each.line}/")
        else:
            name = each.signal.path.removeprefix(site)
        found[name] = each.value
    return found


def times(mapped: Mapped) -> set[int | None]:
    """The times that the values came with."""
    return {each.source_time for each in mapped.readings}
