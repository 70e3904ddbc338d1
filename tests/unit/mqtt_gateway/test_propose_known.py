"""What a source of the plant files takes at a broker is not proposed a second time."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from aurelian.edge.control.connector import KnownSource
from aurelian.edge.control.planning import Change, NewSource, Place, plan_change
from aurelian.model.plant import Plant
from mqtt_gateway.connect.composing import compose
from mqtt_gateway.connect.propose import propose
from mqtt_gateway.connect.proposed import Proposals
from mqtt_gateway.connect.sightings import Machine, Sightings
from mqtt_gateway.packets import Arrived
from mqtt_gateway.sparkplug.messages import Described, Edge

_AT = 1_790_000_000_000_000
_PLACE = Place("acme", "north", "UTC")
PACKER, FILLER = "fabrik/hall2/packare1/data", "fabrik/hall2/fyllare3/data"
NEW = "verkstad/svets2/data"


def heard(*topics: str, payload: bytes = b'{"speed": 7, "state": 1}') -> Sightings:
    sightings = Sightings()
    for n in range(3):
        at = _AT + n * 1_000_000
        sightings.take(Arrived(each.encode(), payload, 0, False, False, at) for each in topics)
    return sightings


def proposed(sightings: Sightings, known: Sequence[Plant] = (), url: str = "mqtt://b") -> Proposals:
    base = {"id": "b", "url": url}
    return propose(sightings, base, "acme/north", ["UTC"], KnownSource.of(known))


def written(folder: Path, found: Proposals, place: Place = _PLACE) -> Change:
    """The plant file that follows, which is written."""
    taken = [each.stem for each in folder.glob("*.yaml")]
    made, _ = compose(found.sources, {}, place, None, ["b"] if taken else [])
    new = [NewSource(each.fields, each.units, each.known_as) for each in made if each.units]
    change = plan_change(folder, new, place)
    change.path.write_bytes(change.after)
    return change


def states(found: Proposals) -> dict[str, tuple[str, str]]:
    """By unit its source in the plant files and what it is there."""
    return {
        str(unit.fields["name"]): (source.known_as, unit.known_as)
        for source in found.sources
        for unit in source.units
    }


def test_a_second_machine_at_a_broker_does_not_double_the_first_ones(tmp_path: Path) -> None:
    plant = written(tmp_path, proposed(heard(PACKER, FILLER))).plant
    # Another user, and the usual port said: the same broker.
    again = proposed(heard(PACKER, FILLER, NEW), [plant], "mqtt://b:1883")
    at = "acme/north/hall/line-1"
    assert states(again) == {
        "packare1": ("acme/north/b", f"{at}/packare1"),
        "fyllare3": ("acme/north/b", f"{at}/fyllare3"),
        "svets2": ("", ""),
    }
    change = written(tmp_path, again)
    lines = "\n".join(change.lines())
    assert f"unit {at}/svets2: added" in lines and "packare1" not in lines
    assert [each.id for each in change.plant.sources] == ["b", "b-2"]
    topics = [each.subscriptions[0].topic for each in change.plant.sources]
    assert topics == ["fabrik/hall2/{unit}/data", "verkstad/{unit}/data"]


def test_a_machine_of_a_topic_that_is_taken_goes_to_the_source_that_takes_it(
    tmp_path: Path,
) -> None:
    plant = written(tmp_path, proposed(heard(PACKER, FILLER))).plant
    sealer = "fabrik/hall2/sealer/data"
    again = proposed(heard(PACKER, sealer), [plant])
    assert states(again)["sealer"] == ("acme/north/b", "")
    change = written(tmp_path, again)
    assert [each.id for each in change.plant.sources] == ["b"]
    assert {each.model.name: each.model.source for each in change.plant.units()} == dict.fromkeys(
        ("packare1", "fyllare3", "sealer"), "b"
    )
    assert not [line for line in change.lines() if "packare1" in line]
    # Of what is there now nothing is new, and of another broker all is.
    assert all(as_known for _, as_known in states(proposed(heard(sealer), [change.plant])).values())
    elsewhere = proposed(heard(PACKER), [plant], "mqtt://b:1884")
    assert states(elsewhere) == {"packare1": ("", "")}


def test_a_machine_that_another_sites_source_has_is_not_offered_to_a_second_one(
    tmp_path: Path,
) -> None:
    north = written(tmp_path, proposed(heard(PACKER, FILLER))).plant
    other = tmp_path / "other"
    other.mkdir()
    south = written(other, proposed(heard(PACKER, FILLER)), Place("acme", "south", "UTC")).plant
    found = states(proposed(heard(PACKER), [north, south]))
    assert set(found) == {"packare1"} and found["packare1"][1]


def test_what_a_source_takes_and_cannot_read_is_told(tmp_path: Path) -> None:
    plant = written(tmp_path, proposed(heard(PACKER, FILLER))).plant
    found = proposed(heard(PACKER, payload=b"\xff\xfe{"), [plant])
    assert not found.sources
    assert found.left_out[PACKER].startswith("acme/north/b of the plant files takes it already")


def born(*devices: str | None, group: str = "Werk1") -> Sightings:
    sightings = Sightings()
    speed = Described("Speed", None, "Double", "", {})
    for device in devices:
        sightings.machines[Edge(group, "kante"), device] = Machine({"Speed": speed}, {}, True)
    return sightings


def test_devices_of_a_known_group_are_not_proposed_again(tmp_path: Path) -> None:
    plant = written(tmp_path, proposed(born("fraese7"))).plant
    assert [each.kind for each in plant.sources] == ["sparkplug"]
    again = proposed(born("fraese7", "fraese8"), [plant])
    at = "acme/north/hall/line-1"
    assert states(again) == {
        "kante-fraese7": ("acme/north/b", f"{at}/kante-fraese7"),
        "kante-fraese8": ("acme/north/b", ""),
    }
    change = written(tmp_path, again)
    assert len(change.plant.sources) == 1 and len(list(change.plant.units())) == 2
    assert states(proposed(born("x", group="Werk2"), [plant])) == {"kante-x": ("", "")}
