"""Topics on which some payloads are JSON and some are not: the ladder, the command and what is
proposed say the same of them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import pytest

from aurelian.edge.ladder import Step, Verdict
from aurelian.model.source_model import SourceModel
from mqtt_gateway.connect import walk
from mqtt_gateway.connect.arriving import PlainArrivals
from mqtt_gateway.connect.listening import _of_plain
from mqtt_gateway.connect.propose import propose
from mqtt_gateway.connect.sightings import Sightings
from mqtt_gateway.connect.stand_in import plant_around
from mqtt_gateway.packets import Arrived
from mqtt_gateway.settings import MqttGatewaySettings

_AT = 1_790_000_000_000_000
JSON, TEXT = b'{"force": 5}', b"NO SIGNAL"


def arrived(topics: Mapping[str, Sequence[bytes]]) -> list[Arrived]:
    return [
        Arrived(topic.encode(), payload, 0, False, False, _AT + n * 1_000_000)
        for topic, payloads in topics.items()
        for n, payload in enumerate(payloads)
    ]


def said_by_all(topics: Mapping[str, Sequence[bytes]]) -> tuple[Step, Step | None, Sightings]:
    """The steps of the ladder and of the command, and what was heard."""
    model = SourceModel.model_validate(
        {"id": "b", "kind": "mqtt", "url": "mqtt://b", "topics": [{"topic": "#"}]}
    )
    arrivals = PlainArrivals(plant_around(model), model, MqttGatewaySettings())
    arrivals.take(arrived(topics))
    ladder = _of_plain(arrivals.heard, model, [], 1.0, is_open=arrivals.is_open)
    heard = Sightings()
    heard.take(arrived(topics))
    return ladder, walk._mixed(heard, 1.0, {}), heard


@pytest.mark.parametrize("payloads", [[JSON, TEXT, JSON], [TEXT, JSON, JSON]])
def test_a_mixed_topic_is_said_alike_and_proposed_with_what_is_wrong(
    payloads: list[bytes],
) -> None:
    ladder, command, heard = said_by_all({"w/press/data": payloads, "w/scale": [b"5", b"six"]})
    assert command is not None
    assert (ladder.verdict, ladder.code) == (Verdict.WARNING, "E1755")
    assert (command.said, command.fix, command.code) == (ladder.said, ladder.fix, ladder.code)
    assert "1 of 5 messages cannot be read, the first on w/press/data: not JSON" in ladder.said
    found = propose(heard, {"id": "b", "url": "mqtt://b"}, "acme/north", ["UTC"])
    [press] = [
        unit for each in found.sources for unit in each.units if unit.fields["name"] == "press"
    ]
    assert [each.fields["name"] for each in press.signals] == ["force"]
    reasons = "\n".join(why for each in found.sources for why in each.why)
    assert "w/press/data: 1 of 3 payloads cannot be read (not JSON" in reasons


def test_topics_with_payloads_of_other_kinds_are_no_warning() -> None:
    ladder, command, _ = said_by_all({"w/scale": [b"on", b"off"], "w/raw": [b"\xff\x00"]})
    assert ladder.verdict is Verdict.PASSED and command is None
