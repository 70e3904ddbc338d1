"""The time of payloads in a member of any name: read where the plant file names it, found where
exactly one looks like it."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from pydantic import ValidationError

from aurelian.model.mqtt_payloads import TopicModel
from aurelian.model.source_model import SourceModel
from mqtt_gateway.connect.arriving import PlainArrivals
from mqtt_gateway.connect.clock import judge_clock
from mqtt_gateway.connect.formats import make_context
from mqtt_gateway.connect.propose import propose
from mqtt_gateway.connect.proposed import ProposedSource
from mqtt_gateway.connect.sightings import Sightings
from mqtt_gateway.connect.stand_in import plant_around
from mqtt_gateway.json_payload import Field
from mqtt_gateway.packets import Arrived
from mqtt_gateway.payloads.contract import Message
from mqtt_gateway.payloads.table import decoder_of
from mqtt_gateway.settings import MqttGatewaySettings

_AT = 1_795_890_939_000_000
"""2026-11-28T18:35:39Z."""

NOW = datetime.fromtimestamp(_AT / 1e6, UTC)


def local(n: int, hours: int = 1) -> str:
    return (NOW + timedelta(hours=hours, seconds=n)).isoformat()[:19]


def messages(of: Callable[[int], Mapping[str, object]], count: int = 6) -> list[Arrived]:
    """One a second on one topic."""
    return [
        Arrived(b"h/press/data", json.dumps(of(n)).encode(), 0, False, False, _AT + n * 1_000_000)
        for n in range(count)
    ]


def proposed(of: Callable[[int], Mapping[str, object]]) -> ProposedSource:
    heard = Sightings()
    heard.take(messages(of))
    zones = ["Europe/Berlin"]
    [source] = propose(heard, {"id": "b", "url": "mqtt://b"}, "acme/n", zones).sources
    return source


def names(source: ProposedSource) -> list[object]:
    return [each.fields["name"] for unit in source.units for each in unit.signals]


TIMES: dict[str, Callable[[int], Any]] = {
    "tid": local,
    "datum": lambda n: f"{local(n).replace('T', ' ')}.250",
    "aika": lambda n: f"{local(n, 0)}Z",
    "zeit": lambda n: _AT // 1_000_000 + n,
    "tidpunkt": lambda n: _AT // 1_000 + n * 1_000,
}


@pytest.mark.parametrize("name", TIMES)
def test_the_one_member_that_is_a_time_near_now_is_proposed_as_that(name: str) -> None:
    source = proposed(lambda n: {name: TIMES[name](n), "temp": 20.5 + n})
    assert source.fields["time_member"] == name and names(source) == ["temp"]
    assert any(f"member {name} is always a time" in each for each in source.why)
    assert source.clock is not None and "say no time" not in source.clock.said
    is_local = name in ("tid", "datum")
    assert source.fields.get("time_zone") == ("Europe/Berlin" if is_local else None)


def test_one_that_stands_deeper_is_found_and_read() -> None:
    source = proposed(lambda n: {"header": {"zeit": local(n), "maschine": "P7"}, "temp": n})
    assert source.fields["time_member"] == "header.zeit"
    assert names(source) == ["header.maschine", "temp"]


def test_local_times_are_of_their_zone_also_where_other_machines_send_utc() -> None:
    heard = Sightings()
    heard.take(messages(lambda n: {"tid": local(n), "temp": n}, 3))
    others = messages(lambda n: {"ts": _AT // 1000 + n * 1000, "temp": n})
    heard.take(each._replace(topic=b"w/hall/saw/data") for each in others)
    base, zones = {"id": "b", "url": "mqtt://b"}, ["Europe/Berlin"]
    [source] = propose(heard, base, "acme/n", zones).sources
    assert source.fields["time_zone"] == "Europe/Berlin"
    topics = source.fields["topics"]
    assert isinstance(topics, list)
    assert [each.get("time_member") for each in topics] == ["tid", None]


@pytest.mark.parametrize(
    "of",
    [
        lambda n: {"start": local(n), "end": local(n + 30), "temp": n},  # which of them?
        lambda n: {"batch_began": local(0), "temp": n},  # stands still
        lambda n: {"next_service": local(n, 24 * 40), "temp": n},
        lambda n: {"ts": _AT // 1000 + n * 1000, "tid": local(n)},  # known by its name
        lambda n: {"day": local(n)[:10], "serial": "4711-0815-2026-11", "count": 1_000_000 + n},
        lambda n: {"tid": local(n) if n % 2 else "unknown", "temp": n},
    ],
)
def test_what_may_be_none_stays_a_value(of: Callable[[int], Mapping[str, object]]) -> None:
    assert "time_member" not in proposed(of).fields


def test_the_ladder_looks_at_that_member_too() -> None:
    fields = {"id": "b", "kind": "mqtt", "url": "mqtt://b", "topics": [{"topic": "#"}]}
    model = SourceModel.model_validate(fields)
    arrivals = PlainArrivals(plant_around(model), model, MqttGatewaySettings())
    arrivals.take(messages(lambda n: {"tid": local(n), "temp": n}))
    step = judge_clock(arrivals.stamps, model, ["Europe/Berlin"])
    assert step.code == "E1852" and step.facts["time_zone"] == "Europe/Berlin"


def read(payload: object, member: str, **declared: Any) -> dict[str, tuple[object, int | None]]:
    entry = TopicModel.model_validate({"topic": "h/{unit}/data", "time_member": member})
    context = make_context("press", entry, None, _AT)
    message = Message("h/press/data", json.dumps(payload).encode(), {"unit": "press"})
    [part] = decoder_of(entry)(message, context)
    return {each.name: (each.value, each.time) for each in part.members if isinstance(each, Field)}


def test_the_member_that_is_named_is_the_time_of_all() -> None:
    at = _AT
    assert read({"tid": local(0, 0), "a": 1, "b": {"c": 2}}, "tid") == {
        "a": (1, at),
        "b.c": (2, at),
    }
    assert read({"tid": at // 1000, "value": 5}, "tid") == {"": (5, at)}
    deep = {"header": {"zeit": local(0, 0)}, "a": 1}
    assert read(deep, "header.zeit") == {"a": (1, at)}
    assert read({"a.b": local(0, 0), "a": {"b": 1}}, "a.b") == {"a.b": (1, at)}
    # An object below with a time of its own, and a payload without any.
    assert read({"tid": at // 1000, "x": {"ts": at // 1000 - 5000, "v": 1}}, "tid") == {
        "x.v": (1, at - 5_000_000)
    }
    assert read({"a": 1}, "tid") == {"a": (1, None)}
    assert read({"tid": "soon", "a": 1}, "tid") == {"a": (1, None)}


def test_only_payloads_with_members_have_one() -> None:
    with pytest.raises(ValidationError, match="`time_member` is there for json and cbor only"):
        TopicModel.model_validate({"topic": "h/{unit}", "payload": "bare", "time_member": "tid"})
