"""Show what goes over the backbone, one readable line each; called by `aurelian tail`."""

import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path

from aurelian.backbone.client import Consumer
from aurelian.backbone.topics import (
    CAPACITY_EVENTS,
    FIGURES,
    LINE_EVENTS,
    MAINTENANCE_EVENTS,
    SAMPLES,
)
from aurelian.events.cloudevent import EventError, decode_event
from aurelian.model.codec import DecodeError, decode
from aurelian.model.record import Record
from aurelian.model.sample import Flag, Sample, raw_status
from aurelian.model.status_codes import status_name
from aurelian.model.time import to_datetime, to_iso_ms
from aurelian.runtime.settings import KafkaSettings


async def tail_samples(
    bootstrap: str, match: str, *, from_start: bool, as_json: bool
) -> AsyncIterator[str]:
    """Yield a line for each sample whose signal's path contains `match`, until cancelled.

    Raises:
        ConnectionError: no broker, or no topic.
    """
    settings = _settings(bootstrap)
    async with Consumer(
        settings, [SAMPLES], client_id="aurelian-tail", from_end=not from_start
    ) as consumer:
        while True:
            for record in await consumer.take():
                for line in _sample_lines(record, match, as_json):
                    yield line


async def tail_events(
    bootstrap: str, match: str, *, from_start: bool, as_json: bool
) -> AsyncIterator[str]:
    """Yield a line for each business event whose type or subject contains `match`, until cancelled.

    Raises:
        ConnectionError: no broker, or no topic.
    """
    topics = [LINE_EVENTS, MAINTENANCE_EVENTS, CAPACITY_EVENTS, FIGURES]
    settings = _settings(bootstrap)
    async with Consumer(
        settings, topics, client_id="aurelian-tail", from_end=not from_start
    ) as consumer:
        while True:
            for record in await consumer.take():
                line = _event_line(record, match, as_json)
                if line is not None:
                    yield line


def _settings(bootstrap: str) -> KafkaSettings:
    logging.getLogger("aiokafka").setLevel(
        logging.CRITICAL
    )  # says the same twice a second while a broker is away
    return KafkaSettings(kafka_bootstrap=bootstrap, log_level="WARNING", state=Path())


def _sample_lines(record: Record, match: str, as_json: bool) -> list[str]:
    try:
        samples = decode(record.value or b"").samples()
    except DecodeError as error:
        return [f"unreadable record {record.topic}/{record.partition}/{record.offset}: {error}"]
    return [_sample_line(each, as_json) for each in samples if match in each.signal.path]


def _sample_line(sample: Sample, as_json: bool) -> str:
    time = to_iso_ms(to_datetime(sample.time))
    if as_json:
        value = sample.value.hex() if isinstance(sample.value, bytes) else sample.value
        fields = {
            "time": time,
            "signal": sample.signal.path,
            "value": value,
            "unit": sample.signal.unit,
            "status": f"{sample.status:#010x}",
            "status_name": status_name(raw_status(sample.status, sample.flags)),
            "flags": int(sample.flags),
            "flag_names": _flag_words(int(sample.flags)),
        }
        return json.dumps(fields)
    said = f"{time}  {sample.signal.path} = {sample.value!r} {sample.signal.unit}".rstrip()
    return "  ".join([said, *_doubts(sample)])


def _doubts(sample: Sample) -> list[str]:
    """What keeps a sample from being good, live and at its source's time; none where nothing
    does."""
    found = []
    code = raw_status(sample.status, sample.flags)
    if code:
        counts = ", counts as good" if code != sample.status else ""
        found.append(f"{status_name(code)}{counts}")
    if words := _flag_words(int(sample.flags) & ~_SAID_BY_STATUS):
        found.append(f"[{', '.join(words)}]")
    return found


def _flag_words(flags: int) -> list[str]:
    """The flags in words. One that this version does not know is named by its number."""
    if flags & Flag.AT_GATEWAY_TIME:
        flags &= ~int(Flag.TIME_REPLACED)  # set with it, and says the same
    words = [word for flag, word in _FLAG_WORDS.items() if flags & flag]
    unknown = flags & ~_KNOWN
    return words + [f"flag {1 << bit}" for bit in range(32) if unknown >> bit & 1]


_FLAG_WORDS = {
    Flag.HISTORICAL: "historical",
    Flag.TRANSIENT: "transient",
    Flag.RETAINED: "retained by the broker",
    Flag.INITIAL: "first after a connect",
    Flag.HEARTBEAT: "heartbeat",
    Flag.TIME_REPLACED: "time replaced by the gateway's",
    Flag.TIME_UNCERTAIN: "time uncertain",
    Flag.OUT_OF_RANGE: "out of range",
    Flag.TIME_SHARED: "time shared with another value",
    Flag.TIME_AMBIGUOUS: "time ambiguous (clock change)",
    Flag.WAS_UNCERTAIN: "was uncertain",
    Flag.WAS_BAD: "was bad",
    Flag.AT_SERVER_TIME: "at server time",
    Flag.AT_GATEWAY_TIME: "at gateway time",
}
_KNOWN = sum(map(int, _FLAG_WORDS))
_SAID_BY_STATUS = int(Flag.WAS_UNCERTAIN | Flag.WAS_BAD)


def _event_line(record: Record, match: str, as_json: bool) -> str | None:
    try:
        event = decode_event(record.value or b"")
    except EventError as error:
        return f"unreadable record {record.topic}/{record.partition}/{record.offset}: {error}"
    if match not in event.type and match not in event.subject:
        return None
    if as_json:
        return (record.value or b"").decode()
    data = json.dumps(event.data, ensure_ascii=False)
    return f"{to_iso_ms(event.time)}  {event.type}  {event.subject}  {data}"
