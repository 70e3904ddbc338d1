"""What a broker's code says, against the names that paho has of them (MQTT 5, table 3-1)."""

import pytest
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.reasoncodes import ReasonCode

from aurelian.edge import knock


@pytest.mark.parametrize(
    ("code", "name", "said"),
    [
        (0, "Success", "lets everybody in"),
        (134, "Bad user name or password", "wants a name and a password"),
        (135, "Not authorized", "wants a name and a password"),
        (136, "Server unavailable", "is not available just now"),
        (137, "Server busy", "is busy"),
        (138, "Banned", "has locked this machine out"),
    ],
)
def test_a_code_of_mqtt_5_means_what_its_name_says(code: int, name: str, said: str) -> None:
    foreign = ReasonCode(PacketTypes.CONNACK, identifier=code)
    assert foreign.getName() == name
    assert knock._REASONS[code] == said


def test_an_unknown_version_is_told_by_its_code() -> None:
    foreign = ReasonCode(PacketTypes.CONNACK, "Unsupported protocol version")
    assert foreign.value in knock._UNSUPPORTED_VERSION
