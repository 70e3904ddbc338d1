"""What `aurelian check` says of topics that two entries take, and of descriptors that are not
there."""

from pathlib import Path

import pytest

from aurelian.local.plant_check import warnings_of
from tests.unit.mqtt_gateway.payloads import make_plant


def warnings(source: dict[str, object], home: Path) -> list[str]:
    source = {"time_zone": "Europe/Oslo", **source}
    found = warnings_of(make_plant(source), {"MQTT": ["h"], "OPCUA": []}, home)
    return [each for each in found if each.startswith("source ")]


@pytest.mark.parametrize(
    ("topics", "says"),
    [
        (["tele/{unit}/#", "tele/{unit}/SENSOR"], "fit both tele/+/# and tele/+/SENSOR"),
        (["#", "a/{unit}"], "fit both # and a/+"),
        (["a/{unit}/x", "a/{unit}/y"], ""),
        (["a/{unit}", "$SYS/+"], ""),
    ],
)
def test_a_topic_that_two_entries_take_is_warned_of(
    topics: list[str], says: str, tmp_path: Path
) -> None:
    found = warnings({"topics": [{"topic": each} for each in topics]}, tmp_path)
    assert bool(found) == bool(says)
    assert all(says in each for each in found)


def test_descriptors_that_are_not_there_are_warned_of(tmp_path: Path) -> None:
    about = {"descriptor_file": "plant.desc", "message": "a.B"}
    source: dict[str, object] = {"topic": "a/{unit}", "payload": "protobuf", "protobuf": about}
    (found,) = warnings(source, tmp_path)
    assert f"{tmp_path}/plant.desc (`descriptor_file`) is not there" in found
    assert "every payload is rejected with this reason, and kept" in found
    (tmp_path / "plant.desc").touch()
    assert warnings(source, tmp_path) == []
