"""Topics and payloads that nobody expects beside those of machines: the rest goes on."""

from __future__ import annotations

from collections.abc import Mapping

from aurelian.edge.proposals.value_shapes import Shape, shape_of
from aurelian.model.source_model import SourceModel
from mqtt_gateway.connect.propose import Proposals, propose
from mqtt_gateway.connect.sightings import Sightings
from mqtt_gateway.packets import Arrived

_AT = 1_790_000_000_000_000


def proposed(topics: Mapping[str, bytes]) -> Proposals:
    """What is proposed for topics of which each said its payload thrice."""
    heard = Sightings()
    for n in range(3):
        heard.take(
            Arrived(topic.encode(), payload, 0, False, False, _AT + n * 1_000_000)
            for topic, payload in topics.items()
        )
    found = propose(heard, {"id": "b", "url": "mqtt://b"}, "acme/works", ["UTC"])
    for each in found.sources:
        SourceModel.model_validate(dict(each.fields))
    return found


def test_machines_that_are_the_first_level_of_their_topics_are_one_source() -> None:
    topics = {f"{name}/{what}": b"1.5" for name in ("press", "oven") for what in ("speed", "temp")}
    [source] = proposed(topics).sources
    assert source.fields["topic"] == "{unit}/{signal}"
    assert {each.fields["name"] for each in source.units} == {"press", "oven"}


def test_topics_of_one_shape_that_bring_other_things_are_left_out_with_a_reason() -> None:
    found = proposed({"a/state": b'{"v": 1}', "a/status": b'{"v": 2}', "b/speed": b"1.5"})
    assert len(found.sources) == 1
    assert found.left_out == {
        "b/speed": "topics of this shape bring something else already; describe them by hand"
    }


def test_a_number_with_more_digits_than_any_float_has_costs_nothing_else() -> None:
    huge = b'{"v": ' + b"9" * 400 + b', "temperature": ' + b"9" * 400 + b', "w": 1.5}'
    [source] = proposed({"plant/press": huge, "plant/oven": b'{"v": 1, "temperature": 20}'}).sources
    assert {each.fields["name"] for each in source.units} == {"press", "oven"}
    assert shape_of([1, 10**400, 2], []) is Shape.UNKNOWN


def test_a_name_that_no_plant_file_can_have_is_left_out_and_said() -> None:
    odd = b'{"v": 1.5, "\\ud800": 2.5, "a\\u0000b": 3.5}'
    found = proposed({"plant/press": odd, "plant/oven": b'{"v": 1.5}'})
    [source] = found.sources
    signals = {each.fields["name"]: each.fields["signals"] for each in source.units}
    assert {len(each) for each in signals.values()} == {1} and set(signals) == {"press", "oven"}
    assert "character" in found.left_out["press"]
