"""Times of payloads that cannot be, as the path from the topic to the outbox judges them (D9): kept
at the time of receipt, flagged, the original beside it, and never the newest."""

from __future__ import annotations

import json

import pytest

from aurelian.edge.assembly import Assembly
from aurelian.edge.gateway import Delivery
from aurelian.edge.ordinals import Ordinals
from aurelian.model.codec import decode
from aurelian.model.sample import Flag, Sample
from mqtt_gateway.json_messages import JsonMessages
from mqtt_gateway.packets import Arrived
from mqtt_gateway.settings import MqttGatewaySettings
from mqtt_gateway.times import Times
from tests.unit.mqtt_gateway.payloads import AT, make_plant

SECOND = 1_000_000
NOT_BEFORE = AT - 400 * 86_400 * SECOND


class Path:
    """From messages of one source to what the outbox gets."""

    def __init__(self, source: dict[str, object]) -> None:
        plant = make_plant(source, {"m": {"temp": "double", "text": "text"}})
        self._messages = JsonMessages(plant, plant.sources[0], MqttGatewaySettings())
        self._assembly = Assembly("g", 1, Ordinals(), NOT_BEFORE)

    def send(
        self, payload: object, at: int = AT, *, topic: str = "p/m", retained: bool = False
    ) -> list[Sample]:
        """The samples that one message becomes."""
        data = payload.encode() if isinstance(payload, str) else json.dumps(payload).encode()
        arrived = [Arrived(topic.encode(), data, 1, retained, False, at)]
        deliveries: list[Delivery] = list(self._messages.deliveries(arrived))
        group = self._assembly.assemble(deliveries)
        return [s for entry in group.entries for s in decode(entry.encode(0)).samples()]


def newest(samples: list[Sample]) -> object:
    """The value that counts as the newest."""
    return max(samples, key=lambda each: min(each.time, each.gateway_time)).value


@pytest.mark.parametrize("text", ["", "x"])
@pytest.mark.parametrize(
    ("given", "original"),
    [
        (0, 0),
        (12_345, 12_345 * SECOND),  # seconds since the device's start
        (946_684_800, 946_684_800 * SECOND),  # 2000-01-01, a clock that lost its battery
        (946_684_800_000, 946_684_800 * SECOND),
        ("1970-01-01T00:05:00Z", 300 * SECOND),
        ("2000-01-01T00:00:00Z", 946_684_800 * SECOND),
        (1_767_592_800 + 7_200, AT + 7_200 * SECOND),  # far ahead
        ("2099-01-01T00:00:00Z", 4_070_908_800 * SECOND),
    ],
)
def test_a_clock_that_is_not_set_or_far_ahead_decides_nothing(
    given: object, original: int, text: str
) -> None:
    path = Path({"topic": "p/{unit}"})
    more = {"text": text} if text else {}  # a text goes the other way than columns of numbers
    samples = path.send({"ts": given, "temp": 1} | more)
    samples += path.send({"ts": 1_767_592_801, "temp": 2} | more, AT + SECOND)
    wrong = samples[0]
    assert (wrong.time, wrong.source_time) == (AT, original)
    assert wrong.flags & Flag.TIME_REPLACED
    right = [each for each in samples if each.value == 2.0]
    assert [(each.flags, each.time) for each in right] == [(Flag.NONE, AT + SECOND)]
    assert newest([wrong, *right]) == 2.0


def test_a_time_that_stands_still_is_noticed_and_replaced() -> None:
    path = Path({"topic": "p/{unit}"})
    samples = [
        each
        for n in range(12)
        for each in path.send({"ts": 1_767_592_800, "temp": n}, AT + n * SECOND)
    ]
    assert [bool(each.flags & Flag.TIME_REPLACED) for each in samples] == [False] * 8 + [True] * 4
    assert samples[-1].time == AT + 11 * SECOND
    assert samples[-1].source_time == AT
    assert newest(samples) == 11.0


@pytest.mark.parametrize(
    ("payload", "topic", "message"),
    [
        ("tasmota", "tele/m/SENSOR", {"Time": "2026-01-05T07:00:00", "temp": 1}),
        ("json", "p/m", {"ts": "2026-01-05T07:00:00", "temp": 1}),
    ],
)
def test_a_time_without_a_zone_is_of_the_zone_of_the_source(
    payload: str, topic: str, message: dict[str, object]
) -> None:
    source: dict[str, object] = {"payload": payload, "time_zone": "Europe/Oslo"}
    if payload == "json":
        source["topic"] = "p/{unit}"
    (sample,) = Path(source).send(message, topic=topic)
    assert (sample.time, sample.flags) == (AT, Flag.NONE)


def test_no_time_at_all_counts_at_receipt() -> None:
    (sample,) = Path({"topic": "p/{unit}"}).send({"temp": 1})
    assert (sample.time, sample.source_time) == (AT, 0)
    assert sample.flags & Flag.TIME_REPLACED


@pytest.mark.parametrize(
    ("unit", "given"),
    [
        ("s", 1_767_592_800),
        ("ms", 1_767_592_800_000),
        ("us", 1_767_592_800_000_000),
        ("ns", 1_767_592_800_000_000_000),
    ],
)
def test_the_unit_of_times_is_told_by_their_size_or_said(unit: str, given: int) -> None:
    for source in ({}, {"time_unit": unit}):
        (sample,) = Path({"topic": "p/{unit}"} | source).send({"ts": given, "temp": 1})
        assert (sample.time, sample.flags) == (AT, Flag.NONE)


@pytest.mark.parametrize("text", ["", "x"])
def test_milliseconds_since_the_start_of_a_device_are_not_seconds_of_last_year(text: str) -> None:
    """20.4 days of milliseconds look like seconds of November."""
    uptime = 1_762_560_000
    more = {"text": text} if text else {}
    message = {"ts": uptime, "temp": 1} | more
    looks_right = Path({"topic": "p/{unit}"}).send(message)[0]
    assert looks_right.time == uptime * SECOND  # nothing is known of this clock yet
    said = Path({"topic": "p/{unit}", "time_unit": "ms"}).send(message)[0]
    known = Path({"topic": "p/{unit}"})
    known.send({"ts": AT // 1_000, "temp": 0} | more)
    learned = known.send(message, AT + SECOND)[0]
    for sample, at in ((said, AT), (learned, AT + SECOND)):
        assert (sample.time, sample.source_time) == (at, uptime * 1_000)
        assert sample.flags & Flag.TIME_REPLACED


def test_what_is_known_of_one_clock_says_nothing_of_another() -> None:
    times = Times()
    assert times.number(AT // 1_000, "a", AT) == AT
    assert times.number(1_700_000_000, "a", AT) == 1_700_000_000_000
    assert times.number(1_700_000_000, "b", AT) == 1_700_000_000 * SECOND


def test_a_retained_value_keeps_its_old_time() -> None:
    old = AT - 500 * 86_400 * SECOND
    (sample,) = Path({"topic": "p/{unit}"}).send({"ts": old // SECOND, "temp": 1}, retained=True)
    assert (sample.time, sample.flags) == (old, Flag.RETAINED)
