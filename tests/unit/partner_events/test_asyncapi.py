"""The AsyncAPI document: complete, self-consistent, and true of the examples that it shows."""

import json
from collections.abc import Iterator

import jsonschema
import pytest
import yaml

from aurelian.events.cloudevent import decode_event
from aurelian.events.schemas import EVENT_TYPES
from partner_events.asyncapi import make_document, make_example, render_yaml
from partner_events.event_types import TYPES, EventType

DOCUMENT = make_document()


def _references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        for key, value in node.items():
            if key == "$ref":
                yield value
            else:
                yield from _references(value)
    elif isinstance(node, list):
        for value in node:
            yield from _references(value)


def _resolve(reference: str) -> object:
    node: object = DOCUMENT
    for part in reference.removeprefix("#/").split("/"):
        assert isinstance(node, dict), reference
        node = node[part]
    return node


def test_every_event_type_is_described() -> None:
    assert tuple(each.name for each in TYPES) == EVENT_TYPES


def test_the_document_has_the_parts_that_asyncapi_3_asks_for() -> None:
    assert DOCUMENT["asyncapi"] == "3.0.0"
    assert set(DOCUMENT) <= {
        "asyncapi",
        "id",
        "info",
        "servers",
        "defaultContentType",
        "channels",
        "operations",
        "components",
    }
    info, channels, operations = DOCUMENT["info"], DOCUMENT["channels"], DOCUMENT["operations"]
    assert isinstance(info, dict) and {"title", "version"} <= set(info)
    assert isinstance(channels, dict) and isinstance(operations, dict)
    for operation in operations.values():
        assert operation["action"] == "send"
        assert operation["channel"]["$ref"].removeprefix("#/channels/") in channels
        # Messages of an operation are those of its channel, not of the components.
        for message in operation["messages"]:
            assert message["$ref"].startswith(operation["channel"]["$ref"] + "/messages/")


def test_every_reference_leads_somewhere() -> None:
    found = list(_references(DOCUMENT))
    assert len(found) > 50
    for reference in found:
        assert isinstance(_resolve(reference), dict), reference


@pytest.mark.parametrize("each", TYPES, ids=[each.name for each in TYPES])
def test_an_example_is_valid_and_an_incomplete_one_is_not(each: EventType) -> None:
    names = {m["name"]: m for m in DOCUMENT["components"]["messages"].values()}  # type: ignore[index]
    schema = {**names[each.name]["payload"], "components": DOCUMENT["components"]}
    validator = jsonschema.Draft202012Validator(
        schema, format_checker=jsonschema.Draft202012Validator.FORMAT_CHECKER
    )
    example = make_example(each)
    validator.validate(example)
    each.content.model_validate(each.example)
    assert decode_event(json.dumps(example)).type == each.name
    for name in ("id", "owner", "data"):
        assert not validator.is_valid({k: v for k, v in example.items() if k != name})
    assert not validator.is_valid({**example, "data": {}})
    assert not validator.is_valid({**example, "type": "another"})


def test_the_yaml_is_the_document() -> None:
    assert yaml.safe_load(render_yaml()) == DOCUMENT
