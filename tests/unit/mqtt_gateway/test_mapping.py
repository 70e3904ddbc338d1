"""Topics and JSON payloads without a broker: templates, fields, times, what is discovered and what
is rejected."""

import json
import math
import re
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurelian.edge.contract import apply
from aurelian.edge.gateway import Reject
from aurelian.model.addresses import AddressError
from aurelian.model.mqtt_topics import parse_template
from aurelian.model.plant import Plant
from aurelian.model.sample import Flag, Sample, ValueType
from aurelian.model.source_model import SourceModel
from mqtt_gateway.json_payload import Field, Unreadable
from mqtt_gateway.mapping import printable
from mqtt_gateway.message_map import Mapped, MessageMap
from mqtt_gateway.times import to_time
from mqtt_gateway.window import Window
from tests.unit.mqtt_gateway.payloads import read_fields

AT = 1_767_592_800_000_000


def make_plant(
    topic: str = "plant/{unit}/state", *, closed: bool = False, url: str = "mqtt://127.0.0.1:1883"
) -> Plant:
    return Plant.model_validate(
        {
            "company": {"id": "pilot-x", "name": "Pilot X"},
            "site": "north",
            "time_zone": "UTC",
            "sources": [
                {
                    "id": "x-json",
                    "kind": "mqtt_json",
                    "url": url,
                    "topic": topic,
                    "closed": closed,
                    "time_zone": "Europe/Oslo",
                }
            ],
            "areas": [
                {
                    "name": "forming",
                    "lines": [
                        {
                            "name": "line-1",
                            "products": [{"id": "cup", "ideal_cycle_s": 2}],
                            "units": [
                                {
                                    "name": "press",
                                    "source": "x-json",
                                    "signals": [
                                        {"name": "force", "unit": "kN"},
                                        {
                                            "name": "parts",
                                            "address": "counts.good",
                                            "type": "int64",
                                        },
                                        {"name": "mode", "type": "text"},
                                        {"name": "setup", "type": "json"},
                                    ],
                                }
                            ],
                        }
                    ],
                }
            ],
        }
    )


def map_message(
    topic: str,
    payload: object,
    *,
    template: str = "plant/{unit}/state",
    closed: bool = False,
    max_discovered: int = 10,
) -> Mapped:
    plant = make_plant(template, closed=closed)
    mapping = MessageMap(
        plant, plant.sources[0], max_payload_bytes=1_000_000, max_discovered=max_discovered
    )
    body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
    return mapping.map(topic, body, Flag.NONE)


def told(mapped: Mapped) -> dict[str, object]:
    return {
        reading.signal.path.removeprefix("pilot-x/north/forming/line-1/"): reading.value
        for reading in mapped.readings
    }


@pytest.mark.parametrize(
    ("template", "filter", "topic", "places"),
    [
        ("plant/{unit}/state", "plant/+/state", "plant/press/state", {"unit": "press"}),
        ("plant/{unit}/state", "plant/+/state", "plant/press/other", None),
        (
            "plant/{unit}/{signal}",
            "plant/+/+",
            "plant/press/force",
            {"unit": "press", "signal": "force"},
        ),
        ("p/+/m-{unit}/x", "p/+/+/x", "p/any/m-7/x", {"unit": "7"}),
        ("p/{unit}/#", "p/+/#", "p/press/a/b", {"unit": "press", "signal": "a/b"}),
        ("p/{unit}/#", "p/+/#", "p/press", {"unit": "press"}),
        ("a.b/{unit}", "a.b/+", "aXb/press", None),
        ("fixed/topic", "fixed/topic", "fixed/topic", {}),
        ("#", "#", "a/b", {"signal": "a/b"}),
        ("p/{unit}/#", "p/+/#", "p/press/", {"unit": "press"}),
    ],
)
def test_a_template_finds_unit_and_signal_in_a_topic(
    template: str, filter: str, topic: str, places: dict[str, str] | None
) -> None:
    parsed = parse_template(template)
    assert parsed.filter == filter
    assert parsed.match(topic) == places


@pytest.mark.parametrize("template", ["", "a/#/b", "a/b#", "{unit}/{unit}", "a/{signal}/#"])
def test_an_unusable_template_is_refused_with_its_source(template: str) -> None:
    with pytest.raises(AddressError):
        parse_template(template)
    with pytest.raises(ValueError, match=r"sources\.0\.topic|plant/\{unit\}/state"):
        make_plant(template)


@pytest.mark.parametrize(
    ("url", "says"),
    [
        ("mqtt://user:word@127.0.0.1", "say `user` and `password_file` beside it"),
        ("127.0.0.1:1883", "say mqtt://host:1883"),
        ("ssl://127.0.0.1:8883", "ssl:// is called mqtts:// here"),
        ("mqtt://127.0.0.1/plant/press", "'/plant/press' belongs into `topic`"),
    ],
)
def test_an_address_that_is_none_is_refused(url: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        make_plant(url=url)


@pytest.mark.parametrize(
    ("source", "says"),
    [
        ({"tls": {"ca_file": "x.pem"}}, "`tls` is there for mqtts:// and wss:// only"),
        ({"url": "mqtts://h", "tls": {"key": "k.pem"}}, "`certificate` and `key` belong together"),
        ({"url": "mqtts://h", "tls": {"waive": "hostname"}}, "did you mean 'host_name'"),
        ({"user": "me"}, "the password of `user: me` is nowhere"),
        ({"redundant": ["opc.tcp://h:1"]}, "`redundant` is there for kind opcua only"),
        ({"kind": "opcua", "url": "opc.tcp://h:1", "tls": {"ca_file": "x"}}, "the kinds of MQTT"),
    ],
)
def test_what_does_not_belong_together_is_refused(source: dict[str, object], says: str) -> None:
    given = {"id": "x", "kind": "mqtt_json", "url": "mqtt://h", "topic": "a/{unit}"} | source
    with pytest.raises(ValueError, match=re.escape(says)):
        SourceModel.model_validate(given)


@pytest.mark.parametrize(
    ("payload", "fields"),
    [
        (b"12.5", [Field("", 12.5, ValueType.DOUBLE, None)]),
        (b"12", [Field("", 12, ValueType.INT64, None)]),
        (b"true", [Field("", True, ValueType.BOOL, None)]),
        (b'"open"', [Field("", "open", ValueType.TEXT, None)]),
        (b"null", [Field("", None, ValueType.NULL, None)]),
        (b"[1,NaN]", [Field("", "[1,null]", ValueType.JSON, None)]),
        (b'{"value":1,"ts":1767592800}', [Field("", 1, ValueType.INT64, AT)]),
        (b'{"value":1,"timestamp":"2026-01-05T06:00:00Z"}', [Field("", 1, ValueType.INT64, AT)]),
        (b'{"timestamp_ms":1767592800000,"a":1.0}', [Field("a", 1.0, ValueType.DOUBLE, AT)]),
        (
            b'{"ts":1767592800000,"fields":{"a":1,"b":{"c":2}}}',
            [Field("a", 1, ValueType.INT64, AT), Field("b.c", 2, ValueType.INT64, AT)],
        ),
        (
            b'{"a":{"value":1,"ts":1767592800},"b":2}',
            [Field("a", 1, ValueType.INT64, AT), Field("b", 2, ValueType.INT64, None)],
        ),
        (
            b'{"big":9007199254740993,"bigger":18446744073709551615}',
            [
                Field("big", 2**53 + 1, ValueType.INT64, None),
                Field("bigger", 2**64 - 1, ValueType.UINT64, None),
            ],
        ),
        (b"{}", []),
    ],
)
def test_fields_are_read_from_every_form(payload: bytes, fields: list[Field]) -> None:
    assert read_fields(payload) == fields


def test_nan_and_infinity_are_read_as_they_stand() -> None:
    nan, infinite = read_fields(b'{"a":NaN,"b":-Infinity}')
    assert isinstance(nan.value, float) and math.isnan(nan.value)
    assert infinite.value == -math.inf


def test_a_declared_name_is_never_taken_for_a_time_or_taken_apart() -> None:
    fields = read_fields(b'{"time":5,"setup":{"a":1},"ts":1767592800}', declared={"time", "setup"})
    assert fields == [
        Field("time", 5, ValueType.INT64, AT),
        Field("setup", '{"a":1}', ValueType.JSON, AT),
    ]


@pytest.mark.parametrize(
    "payload", [b"", b"nonsense", b"{", b"\xff\xfe", b'{"a":1}x', b"[" * 100_000, b"1" * 5000]
)
def test_what_is_no_json_is_unreadable(payload: bytes) -> None:
    with pytest.raises(Unreadable):
        read_fields(payload)


@given(
    st.recursive(
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**64 - 1)
        | st.floats(allow_nan=False)
        | st.text(),
        lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    )
)
def test_every_json_text_is_read(content: object) -> None:
    for field in read_fields(json.dumps(content).encode()):
        assert isinstance(field.type, ValueType)


@given(st.binary(max_size=40))
def test_no_bytes_from_outside_break_the_mapping(payload: bytes) -> None:
    mapped = map_message("plant/press/state", payload)
    assert mapped.readings or mapped.rejects or payload.strip() == b"{}"


@pytest.mark.parametrize(
    ("found", "time"),
    [
        (1_767_592_800, AT),
        (1_767_592_800.25, AT + 250_000),
        (1_767_592_800_000, AT),
        (1_767_592_800_000_000, AT),
        (1_767_592_800_000_000_123, AT),
        ("1767592800000", AT),
        ("2026-01-05T06:00:00Z", AT),
        ("2026-01-05T07:00:00+01:00", AT),
        ("2026-01-05 07:00:00", AT),
        ("1601-01-01T00:00:00Z", -11_644_473_600_000_000),
        ("yesterday", None),
        (True, None),
        (None, None),
        (math.nan, None),
        ([1], None),
    ],
)
def test_times_are_read_by_magnitude_or_as_iso_8601(found: object, time: int | None) -> None:
    assert to_time(found, ZoneInfo("Europe/Oslo")) == time


@given(st.datetimes(datetime(2001, 9, 10), datetime(2199, 1, 1), timezones=st.just(UTC)))
def test_all_four_magnitudes_and_iso_mean_the_same_time(when: datetime) -> None:
    when = when.replace(microsecond=0)
    seconds = int(when.timestamp())
    expected = seconds * 1_000_000
    assert [to_time(seconds * 10**power) for power in (0, 3, 6, 9)] == [expected] * 4
    assert to_time(when.isoformat()) == expected


def test_known_fields_get_their_signals_and_unknown_ones_are_discovered() -> None:
    mapped = map_message(
        "plant/press/state", {"force": 1.5, "counts": {"good": 2, "odd/name": 3}, "parts": 4}
    )
    assert told(mapped) == {
        "press/force": 1.5,
        "press/parts": 2,
        "press/counts.odd%2Fname": 3,
        "press/parts~": 4,
    }
    assert [reading.signal.discovered for reading in mapped.readings] == [False, False, True, True]
    assert mapped.readings[2].signal.type is ValueType.INT64
    assert mapped.unit is not None and mapped.unit.model.name == "press"


def test_an_unknown_unit_is_discovered_under_the_site() -> None:
    mapped = map_message("plant/robot/state", {"speed": 1.0})
    assert [reading.signal.path for reading in mapped.readings] == ["pilot-x/north/robot/speed"]
    assert (mapped.readings[0].line, mapped.readings[0].unit, mapped.unit) == (
        "pilot-x/north",
        None,
        None,
    )


def test_a_signal_may_stand_in_the_topic() -> None:
    assert told(map_message("p/press/force", 1.5, template="p/{unit}/{signal}")) == {
        "press/force": 1.5
    }
    assert told(map_message("p/press/counts", {"good": 5}, template="p/{unit}/{signal}")) == {
        "press/parts": 5
    }
    assert told(map_message("p/press/mode", b"AUTO mode", template="p/{unit}/{signal}")) == {
        "press/mode": "AUTO mode"
    }
    assert told(map_message("p/press/a/b", 1, template="p/{unit}/#")) == {"press/a%2Fb": 1}


def test_a_topic_without_a_unit_belongs_to_the_only_one() -> None:
    assert told(map_message("press-line", {"force": 2.0}, template="press-line")) == {
        "press/force": 2.0
    }


def test_a_closed_source_rejects_what_it_does_not_know_and_keeps_the_rest() -> None:
    mapped = map_message("plant/press/state", {"force": 1.5, "odd": 1, "odder": 2}, closed=True)
    assert told(mapped) == {"press/force": 1.5}
    (reject,) = mapped.rejects
    assert (reject.error_class, reject.samples, reject.origin) == (
        "unknown_signal",
        2,
        "plant/press/state",
    )


def test_names_without_end_are_not_discovered_without_end() -> None:
    mapped = map_message("plant/press/state", {f"n{n}": n for n in range(15)}, max_discovered=10)
    assert len(mapped.readings) == 10
    assert mapped.rejects[0].samples == 5


def test_unreadable_json_is_rejected_with_its_bytes() -> None:
    (reject,) = map_message("plant/press/state", b"\x00nonsense").rejects
    assert (reject.error_class, reject.payload, reject.origin) == (
        "unreadable",
        b"\x00nonsense",
        "plant/press/state",
    )


def test_a_payload_above_the_limit_is_rejected_unread() -> None:
    (reject,) = map_message("plant/press/state", b"1" * 1_000_001).rejects
    assert (reject.error_class, len(reject.payload)) == ("too_large", 1_000_001)


@pytest.mark.parametrize(
    ("payload", "value", "flags", "bad"),
    [
        (b'{"force":NaN,"ts":1767592800}', None, Flag.NONE, True),
        (b'{"force":Infinity,"ts":1767592800}', None, Flag.NONE, True),
        (b'{"force":3,"ts":1767592800}', 3.0, Flag.NONE, False),
        (b'{"force":1.0,"ts":"1601-01-01T00:00:00Z"}', 1.0, Flag.TIME_REPLACED, False),
        (b'{"force":1.0,"ts":1767679200}', 1.0, Flag.TIME_REPLACED, False),
        (b'{"force":1.0}', 1.0, Flag.TIME_REPLACED, False),
    ],
)
def test_odd_values_and_times_come_through_the_contract_flagged(
    payload: bytes, value: float | None, flags: Flag, bad: bool
) -> None:
    (reading,) = map_message("plant/press/state", payload).readings
    sample = apply(reading, AT)
    assert isinstance(sample, Sample)
    assert (sample.value, sample.flags, bool(sample.status & 0x80000000)) == (value, flags, bad)


def test_text_where_a_number_is_declared_is_rejected_by_the_contract() -> None:
    (reading,) = map_message("plant/press/state", b'{"force":"much"}').readings
    reject = apply(reading, AT)
    assert isinstance(reject, Reject) and reject.error_class == "type"


def test_bytes_of_a_topic_that_are_no_utf8_can_be_read_by_people() -> None:
    assert printable(b"plant/\xff/state") == "plant/\\xff/state"


@given(st.permutations(range(12)))
def test_acknowledgements_leave_in_the_order_of_receipt(order: list[int]) -> None:
    window = Window()
    tickets = [window.add([100 + n]) for n in range(12)]
    sent = [number for n in order for number in window.stored(tickets[n])]
    assert sent == [100 + n for n in range(12)]
