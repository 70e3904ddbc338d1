"""What is asked for each node: queue sizes, sampling, filters."""

from __future__ import annotations

import math
from fractions import Fraction
from pathlib import Path

import pytest
from asyncua import ua
from hypothesis import given
from hypothesis import strategies as st

from opcua_gateway.items.asked import (
    MOST_QUEUED,
    Asked,
    Filter,
    Trigger,
    asked_of,
    fingerprint,
    needed_queue,
)
from opcua_gateway.items.create import Item, Made, _made, items_for, with_wider_queues
from opcua_gateway.items.revised import Revisions
from opcua_gateway.mapping import tags_of
from opcua_gateway.resume import Resume
from opcua_gateway.session import Limits, Terms
from opcua_gateway.settings import OpcuaGatewaySettings
from opcua_gateway.sources import make_sources
from tests.unit.opcua_gateway.test_deliveries import make_plant

MS = st.integers(1, 5_000)


@pytest.mark.parametrize("sampling_s", [5e-324, 1e-310, 1e-300, 1e-9, math.inf])
def test_a_time_that_no_clock_has_asks_for_no_endless_queue(sampling_s: float) -> None:
    assert needed_queue(sampling_s, 0.25, 60) <= 10**9 + 1
    assert Asked(sampling_ms=sampling_s).queue(0.25, 60) <= MOST_QUEUED


@pytest.mark.parametrize("revised_ms", [math.nan, math.inf, -math.inf, -1.0, 1e300, 1e-308])
def test_what_is_no_time_of_a_clock_revises_nothing(revised_ms: float) -> None:
    answer = ua.MonitoredItemCreateResult(ua.StatusCode(0), 1, revised_ms, 0)
    made = _made(Item(0, "ns=2;s=v", 0.25, 20), answer)
    assert made == Made(0, 0.25, 20)


@given(sampling=MS, publishing=MS, outage=st.integers(0, 600_000))
def test_a_queue_has_all_values_of_two_publishing_intervals_and_the_outage(
    sampling: int, publishing: int, outage: int
) -> None:
    exact = math.ceil(Fraction(2 * publishing + outage, sampling)) + 1
    assert needed_queue(sampling / 1000, publishing / 1000, outage / 1000) == exact
    asked = Asked(sampling_ms=sampling).queue(publishing / 1000, outage / 1000)
    assert asked == max(10, min(exact, MOST_QUEUED)) >= 2


@pytest.mark.parametrize(
    ("asked", "queue"),
    [
        (Asked(), 243),  # (0.5 + 60) / 0.25 + 1
        (Asked(queue_size=500), 500),
        (Asked(queue_size=20), 243),
        (Asked(queue_size=1), 1),
        (Asked(sampling_ms=1000), 62),  # ceil(60.5) + 1
        (Asked(sampling_ms=0), 2421),  # ten values in a publishing interval
        (Asked(sampling_ms=1), MOST_QUEUED),
        (Asked(sampling_ms=1, queue_size=70_000), 70_000),
    ],
)
def test_queues_by_hand(asked: Asked, queue: int) -> None:
    assert asked.queue(0.25, 60) == queue


def test_what_the_plant_file_says_becomes_what_is_asked() -> None:
    plant = make_plant(
        ("a", "b", "c", "d"),
        each={
            "a": {"monitoring": {"deadband": 2.5, "discard": "newest"}},
            "b": {"monitoring": {"trigger": "status", "sampling_interval_ms": 0}},
            "c": {"type": "text", "monitoring": {"heartbeat_s": 0}},
        },
        monitoring={"deadband_percent": 1, "heartbeat_s": 30, "queue_size": 7},
    )
    (model,) = plant.sources
    value = Filter(Trigger.STATUS_VALUE, 2.5)
    share = Filter(Trigger.STATUS_VALUE, 1.0, True)
    asked = asked_of(model, tags_of(plant, model))
    assert asked == [
        Asked(-1, 7, False, value, True, 30),
        Asked(0, 7, True, Filter(Trigger.STATUS), True, 30),
        Asked(-1, 7, True, Filter(), False, 0),
        Asked(-1, 7, True, share, True, 30),
    ]
    # A percentage of nothing is no filter, and the others keep theirs.
    nodes = [(handle, f"i={handle}") for handle in range(4)]
    items = items_for(nodes, asked, Terms(1, 0.25, 2), 60, lambda handle: False)
    assert [item.filter for item in items] == [
        value,
        Filter(Trigger.STATUS),
        Filter(),
        Filter(Trigger.STATUS_VALUE),
    ]
    assert [item.sampling_s for item in items] == [0.25, 0.0, 0.25, 0.25]


def test_items_that_were_asked_otherwise_are_not_gone_on_with() -> None:
    before = [Asked(), Asked(filter=Filter(Trigger.STATUS_VALUE, 1.0))]
    assert fingerprint(0.25, before) == fingerprint(0.25, [Asked(heartbeat_s=9), before[1]])
    for other in (
        [Asked(), Asked()],
        [Asked(), Asked(filter=Filter(Trigger.STATUS_VALUE, 2.0))],
        [Asked(queue_size=1), before[1]],
        [Asked(sampling_ms=0), before[1]],
    ):
        assert fingerprint(0.25, other) != fingerprint(0.25, before)
    assert fingerprint(0.5, before) != fingerprint(0.25, before)


def test_a_server_that_samples_faster_is_asked_for_a_longer_queue_once() -> None:
    asked = [Asked(), Asked(), Asked(), Asked(queue_size=1), Asked(sampling_ms=0)]
    terms = Terms(1, 0.25, 2)
    nodes = [(handle, f"i={handle}") for handle in range(5)]
    items = items_for(nodes, asked, terms, 60, lambda handle: False)
    assert [item.queue_size for item in items] == [243, 243, 243, 1, 2421]
    made = {
        0: Made(0, 0.1, 243),  # (0.5 + 60) / 0.1 + 1 = 606
        1: Made(0, 0.5, 243),
        2: Made(0, 0.1, 100),  # it has no more: that is told, not asked again
        3: Made(0, 0.1, 1),
        4: Made(0, 0.05, 2421),
    }
    wider = with_wider_queues(items, made, asked, terms, 60)
    assert [(item.handle, item.queue_size) for item in wider] == [(0, 606)]
    assert with_wider_queues(items, {0: Made(0x80340000)}, asked, terms, 60) == []


def test_a_session_goes_on_only_where_its_items_are_what_the_plant_file_asks(
    tmp_path: Path,
) -> None:
    def found(said: str, **monitoring: float) -> bool:
        plant = make_plant(("a",), monitoring=monitoring)
        (source,) = make_sources(OpcuaGatewaySettings(state=tmp_path), [plant])
        addresses = tuple(tag.model.address for tag in source._tags)
        asked = source._dialler.fingerprint if said == "the same" else said
        resume = Resume("secret", (), Limits(("",), 1), addresses, (), 5, asked=asked)
        source._resumption._file.save(resume)
        source._resumption.load(
            source._deliveries.progress,
            source._holes,
            source._deliveries.units,
            source.model.url,
        )
        assert (
            source._resumption.url
        )  # one that watches other nodes is gone back to as well, to end it
        return source._resumption.fits

    assert found("the same", deadband=1)
    assert found("", deadband=1)  # a file of a version that did not say it
    assert not found(fingerprint(0.25, [Asked()]), deadband=1)


def test_a_filter_that_is_not_had_is_logged_once_and_shown_in_each_session(
    caplog: pytest.LogCaptureFixture,
) -> None:
    asked = [Asked(filter=Filter(Trigger.STATUS_VALUE, 1.0), is_chosen=True), Asked()]
    revisions, terms = Revisions("x/s/peer", ["a", "b"], asked, 60), Terms(1, 0.25, 2)
    items = items_for([(0, "i=0"), (1, "i=1")], asked, terms, 60, lambda handle: False)
    # That the usual filter is refused is nothing that the plant file said.
    refused = {handle: Made(0, 0.25, 243, 0x80450000) for handle in (0, 1)}
    shown = "1 node comes without the filter of the plant file, first a: the server refuses it"
    for _ in range(2):
        revisions.begin()
        revisions.made(terms, items, refused)
        assert revisions.tell() == f"{shown} (0x80450000)"
        assert revisions.tell() == ""
    assert [record.message for record in caplog.records] == ["nodes come without their filter"]
    revisions.resumed()
    assert revisions.tell() == f"{shown} (0x80450000)"
    # Another time it is taken.
    revisions.made(terms, items, {0: Made(0, 0.25, 243)})
    assert revisions.tell() == revisions.summary == ""
