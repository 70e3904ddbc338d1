"""CloudEvents in and out, beside the SDK of the CloudEvents project as a foreign peer."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent
from hypothesis import given
from hypothesis import strategies as st

from aurelian.events.cloudevent import Event, EventError, decode_event, encode_event
from aurelian.events.schemas import LINE_STATE_CHANGED

NAMES = st.text(st.characters(categories=["L", "N", "P"]), min_size=1, max_size=20)
DATA = st.dictionaries(
    st.text(max_size=8),
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=8),
    max_size=4,
)
TIMES = st.datetimes(
    datetime(1971, 1, 1),
    datetime(2200, 1, 1),
    timezones=st.sampled_from([UTC, timezone(timedelta(hours=2))]),
)


def make(data: dict[str, object], at: datetime, subject: str = "line") -> Event:
    return Event(LINE_STATE_CHANGED, "/aurelian/test", subject, "acme", at, data, "id-1")


@given(DATA, TIMES, NAMES)
def test_the_sdk_reads_what_we_write(data: dict, at: datetime, subject: str) -> None:
    read = JSONFormat().read(CloudEvent, encode_event(make(data, at, subject)))
    assert read.get_specversion() == "1.0"
    assert (read.get_id(), read.get_source(), read.get_type()) == (
        "id-1",
        "/aurelian/test",
        LINE_STATE_CHANGED,
    )
    assert read.get_subject() == subject
    assert read.get_time() == at
    assert read.get_extension("owner") == "acme"
    assert read.get_data() == data


@given(DATA, TIMES, NAMES)
def test_we_read_what_the_sdk_writes(data: dict, at: datetime, subject: str) -> None:
    attributes = {
        "specversion": "1.0",
        "id": "id-1",
        "source": "/aurelian/test",
        "type": LINE_STATE_CHANGED,
        "subject": subject,
        "time": at,
        "datacontenttype": "application/json",
        "owner": "acme",
    }
    written = JSONFormat().write(CloudEvent(attributes, data))
    assert decode_event(written) == make(data, at, subject)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"specversion": "0.3"}, "specversion"),
        ({"owner": None}, "owner"),
        ({"subject": None}, "subject"),
        ({"time": None}, "time"),
        ({"time": "yesterday"}, "yesterday"),
        ({"data": [1]}, "dictionary"),
        ({"data": {"x": float("nan")}}, "NaN"),
        ({"data": {"x": float("-inf")}}, "-Infinity"),
    ],
)
def test_an_event_that_lacks_what_the_platform_needs_is_refused(change: dict, reason: str) -> None:
    body = json.loads(encode_event(make({"x": 1}, datetime(2026, 11, 26, tzinfo=UTC)))) | change
    text = json.dumps({name: value for name, value in body.items() if value is not None})
    with pytest.raises(EventError, match=reason):
        decode_event(text)


def test_what_json_has_no_number_for_is_not_written() -> None:
    with pytest.raises(ValueError, match="JSON"):
        encode_event(make({"x": float("nan")}, datetime(2026, 11, 26, tzinfo=UTC)))
