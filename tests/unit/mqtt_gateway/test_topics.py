"""Topic templates to units and signals: ISA-95 levels, UMH locations, several topics of one source,
and what the plant file's check says of wrong ones."""

import re
from typing import get_args
from urllib.parse import unquote

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurelian.model.mqtt_payloads import USUAL_TOPICS, PayloadName
from aurelian.model.mqtt_topics import overlap, parse_template
from aurelian.model.source_model import SourceModel
from mqtt_gateway.payloads.table import DECODERS
from tests.unit.mqtt_gateway.payloads import make_map, make_plant, send, values

ISA = "{enterprise}/{site}/{area}/{line}/{unit}/{signal}"


def test_every_payload_of_the_plant_file_has_a_decoder() -> None:
    assert {*DECODERS, "protobuf"} == set(get_args(PayloadName))
    assert set(USUAL_TOPICS) <= set(get_args(PayloadName))


@pytest.mark.parametrize("payload", USUAL_TOPICS)
def test_the_topics_of_a_product_can_be_subscribed_to(payload: str) -> None:
    source = SourceModel.model_validate(
        {"id": "x", "kind": "mqtt", "url": "mqtt://h", "payload": payload}
    )
    (entry,) = source.subscriptions
    assert [each.text for each in entry.templates()] == [*USUAL_TOPICS[payload]]


def test_isa_95_levels_name_machines_that_have_one_name_on_each_line() -> None:
    mapping = make_map({"topic": ISA}, {"press": {"force": "double"}}, lines=2)
    assert [each.template.filter for each in mapping.routes] == ["acme/north/+/+/+/+"]
    paths = []
    for line in ("line-1", "line-2"):
        (reading,) = send(mapping, f"acme/north/hall/{line}/press/force", "1.5").readings
        assert reading.model is not None
        paths.append(reading.signal.path)
    assert paths == [f"acme/north/hall/line-{n}/press/s0" for n in (1, 2)]
    (reading,) = send(mapping, "acme/north/hall/line-3/press/force", "1.5").readings
    assert (reading.model, reading.signal.path) == (
        None,
        "acme/north/hall/line-3/press/force",
    )


def test_without_levels_two_machines_of_one_name_are_refused() -> None:
    with pytest.raises(ValueError, match="has another unit with the address 'press'"):
        make_plant({"topic": "p/{unit}/{signal}"}, {"press": {}}, lines=2)


def test_a_work_cell_may_stand_before_the_machine() -> None:
    units = {"robot": {"@": "hall/line-1/cell-4/robot", "speed": "double"}}
    mapping = make_map({"topic": "{area}/{line}/{cell}/{unit}/#"}, units)
    assert values(send(mapping, "hall/line-1/cell-4/robot/speed", "2")) == {"robot/speed": 2}


def test_a_location_of_another_site_is_never_taken_for_ours() -> None:
    mapping = make_map({"payload": "umh"}, {"press": {"force": "double"}})
    ours = send(mapping, "umh/v1/acme/north/hall/line-1/press/_raw/force", '{"value":1}')
    theirs = send(mapping, "umh/v1/hall/line-1/press/_raw/force", '{"value":2}')
    whole = send(mapping, "umh/v1/acme/north/_raw/power", '{"value":3}')
    assert values(ours) == {"press/force": 1}
    assert values(theirs) == {"%/hall/line-1/press/force": 2}
    assert values(whole) == {"power": 3}


def test_a_discovered_machine_never_takes_the_path_of_a_declared_one() -> None:
    units = {"press": {"@": "P1", "force": "double"}}
    mapping = make_map({"topic": "{area}/{line}/{unit}/{signal}"}, units)
    declared = send(mapping, "hall/line-1/P1/odd", "1").readings[0].signal
    other = send(mapping, "hall/line-1/press/odd", "1").readings[0].signal
    assert declared.path == "acme/north/hall/line-1/press/odd"
    assert other.path == "acme/north/hall/line-1/press~/odd"


names = st.text(st.characters(exclude_categories=("Cc", "Cs")), min_size=1, max_size=8)
levels = names.filter(lambda text: "/" not in text and "+" not in text and "#" not in text)


@given(st.lists(st.tuples(levels, levels, levels, levels), min_size=2, max_size=6, unique=True))
def test_two_topics_never_become_one_signal(topics: list[tuple[str, ...]]) -> None:
    mapping = make_map({"topic": "{area}/{line}/{unit}/{signal}"}, {"press": {"force": "double"}})
    signals = [send(mapping, "/".join(each), "1").readings[0].signal for each in topics]
    assert len({each.path for each in signals}) == len(topics)
    for names, signal in zip(topics, signals, strict=True):
        # Nothing of the names is lost: a path can be read back.
        if signal.discovered and names[:3] != ("hall", "line-1", "press"):
            assert tuple(map(unquote, signal.path.split("/")[2:])) == names


def test_each_topic_of_a_source_has_its_own_payload() -> None:
    mapping = make_map(
        {
            "topics": [
                {"topic": "bare/{unit}/{signal}", "payload": "bare"},
                {"payload": "tasmota"},
                {"topic": "json/{unit}"},
            ]
        }
    )
    filters = [each.template.filter for each in mapping.routes]
    assert filters == ["bare/+/+", "tele/+/#", "stat/+/#", "json/+"]
    assert values(send(mapping, "bare/m/x", "007")) == {"m/x": 7}
    assert values(send(mapping, "tele/m/SENSOR", '{"A0":1}')) == {"m/A0": 1}
    assert values(send(mapping, "json/m", '{"a":{"value":2,"unit":"C"}}')) == {"m/a": 2}


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"topic": ""}, "payload json needs a `topic`"),
        ({"topic": "a/#/b"}, "`#` stands alone, at the end"),
        ({"topic": "a/b#"}, "`#` stands alone, at the end"),
        ({"topic": "a/{unit}/{unit}"}, "{unit} stands twice"),
        ({"topic": "a/{signal}/#"}, "{signal} has no place"),
        ({"topic": "a/{unitt}"}, "did you mean 'unit'?"),
        ({"topic": "a/{unit"}, "a brace is not closed"),
        ({"topic": "{area}/{line}/x"}, "names no machine"),
        ({"topic": "$share/g/{unit}"}, "the group as `share`"),
        ({"topic": "umh/{location}/x"}, "begins with `_`"),
        ({"topic": "umh/x{location}/_raw"}, "{location} is a level of its own"),
        ({"topic": "umh/{location}/{unit}/_raw"}, "{location} already has the unit"),
        ({"topic": "a\0/{unit}"}, "no NUL"),
        ({"topic": "a/" + "x" * 70_000}, "at most 65,535 bytes"),
        ({"topics": [{"topic": "a/{unit}"}, {"topic": "a/+"}]}, "'a/+' stands twice"),
        ({"topics": [{"topic": "a/{unit}"}, {"topic": "{line}/{unit}"}]}, "in different ways"),
        ({"topic": "a", "topics": [{"topic": "b"}]}, "not both"),
        ({"payload": "tasmot"}, "did you mean 'tasmota'?"),
        ({"payload": "xml"}, "there are json, bare, umh"),
        ({"payload": "raw", "topic": "a/{unit}"}, "payload raw needs a `layout`"),
        (
            {"topic": "a", "layout": [{"name": "x", "type": "int8", "offset": 0}]},
            "`layout` is there for payload raw only",
        ),
        ({"payload": "protobuf", "topic": "a/{unit}"}, "needs `protobuf: {descriptor_file"),
        ({"topic": "a", "share": "a/b"}, "share.group"),
        ({"kind": "sparkplug", "payload": "bare"}, "`payload` is there for kind mqtt only"),
        (
            {"kind": "opcua", "url": "opc.tcp://h:1", "share": "g"},
            "`share` is there for kind mqtt only",
        ),
    ],
)
def test_a_wrong_topic_is_refused_with_what_to_write(given: dict[str, object], says: str) -> None:
    source = {"id": "x", "kind": "mqtt", "url": "mqtt://h"} | given
    with pytest.raises(ValueError, match=re.escape(says)):
        SourceModel.model_validate(source)


@pytest.mark.parametrize(
    ("layout", "says"),
    [
        ({"type": "bool", "bit": 8}, "less than or equal to 7"),
        ({"type": "int8", "bit": 1}, "`bit` is there for type bool only"),
        ({"type": "int8", "scale": 0}, "a scale of 0"),
        ({"type": "int9"}, "'int8'"),
    ],
)
def test_a_wrong_layout_is_refused(layout: dict[str, object], says: str) -> None:
    entry = {"name": "x", "offset": 0} | layout
    source = {"id": "x", "kind": "mqtt", "url": "mqtt://h", "topic": "a", "payload": "raw"}
    with pytest.raises(ValueError, match=re.escape(says)):
        SourceModel.model_validate(source | {"layout": [entry]})
    with pytest.raises(ValueError, match="'x' stands twice"):
        twice = [{"name": "x", "offset": 0, "type": "int8"}] * 2
        SourceModel.model_validate(source | {"layout": twice})


def test_the_older_kind_is_the_same() -> None:
    for kind in ("mqtt", "mqtt_json"):
        source = SourceModel.model_validate(
            {"id": "x", "kind": kind, "url": "mqtt://h", "topic": "a/{unit}"}
        )
        assert [each.payload for each in source.subscriptions] == ["json"]


@pytest.mark.parametrize(
    ("one", "other", "expected"),
    [
        ("a/+", "a/b", True),
        ("a/#", "a", True),
        ("a/#", "a/b/c", True),
        ("a/+/c", "a/b/+", True),
        ("a/+", "a/b/c", False),
        ("a/b", "a/c", False),
        ("#", "$SYS/x", False),
        ("+/x", "$aws/x", False),
        ("$aws/#", "$aws/x", True),
        ("#", "a/b", True),
    ],
)
def test_filters_that_a_topic_can_fit_both_overlap(one: str, other: str, expected: bool) -> None:
    assert overlap(one, other) is expected
    assert overlap(other, one) is expected


@given(st.text(max_size=60))
def test_no_topic_takes_a_template_long(topic: str) -> None:
    for text in ("umh/v1/{location}/{contract}/#", "a/{unit}/#", "#", "+/{unit}-{signal}"):
        parse_template(text).match(topic)
