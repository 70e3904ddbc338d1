"""Hostile input of every kind that a plant, a broker or a bug can produce: JSON and topics,
Sparkplug payloads, OPC UA values, records written to Kafka directly. Seeded; used by
test_hostile_input.py.

What is made here is wrong, odd or at an edge on purpose. Some of it is legal and must be stored,
some must be rejected; nothing of it may stop or change what stands beside it.
"""

from __future__ import annotations

import json
import math
import random
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from asyncua import ua

from aurelian.backbone.topics import ASSETS, REJECTED, SAMPLES, SOURCE_EVENTS, Topic
from aurelian.model import codec
from aurelian.model.sample import Flag, Sample, Signal, ValueType, make_batch
from aurelian.pb import sparkplug_b_pb2 as spb

OWNER = "hostile"
SITE = f"{OWNER}/site"
LINE = f"{SITE}/hall/line-1"

NAMES = (
    "",
    " ",
    "x" * 201,
    "k" * 6_000,
    "ü" * 400,
    "a/b/c",
    "../../etc/passwd",
    "nul\0byte",
    "bell\a",
    "line\nbreak",
    "\u202eright to left",
    "\ufeffmark",
    "e\u0301 and é",
    "'; DROP TABLE historian.sample_number; --",
    "<script>alert(1)</script>",
    "{unit}",
    "%s%n%x",
    "CON",
    "__proto__",
    "temp.value",
    "🏭" * 60,
    "state",
    "State",
    "name\\with\\backslashes",
    "tab\tseparated",
)

VALUES: tuple[object, ...] = (
    None,
    True,
    0,
    -0.0,
    5e-324,
    1.7976931348623157e308,
    2**53 + 1,
    2**63,
    -(2**63) - 1,
    2**64,
    10**400,
    "",
    "9",
    "Offline",
    "serial\0",
    "x" * 100_000,
    "läuft ❤ 运行",
    [],
    [1, 2, [3, [4, [5]]]],
    {},
    {"a": {"b": {"c": {"d": {"e": 1}}}}},
    {"value": 1, "value2": "2"},
)

TIMES: tuple[object, ...] = (
    None,
    0,
    -1,
    1,
    946_684_800_000,
    -11_644_473_600_000,
    4_102_444_800_000,
    253_402_300_799_999,
    10**30,
    1e308,
    True,
    "yesterday",
    "2026-10-25T02:30:00",
    "2026-13-45T99:99:99Z",
    "2026-11-26T10:00:00+99:00",
    [],
    {},
    "",
)


def json_messages(choose: random.Random) -> Iterator[tuple[str, bytes]]:
    """Topic below the source's root and payload, for ever."""
    makers: list[Callable[[], bytes]] = [
        lambda: _json({choose.choice(NAMES): choose.choice(VALUES)}),
        lambda: _json({"ts": choose.choice(TIMES), "temp": 20.5}),
        lambda: _json({"ts": _now_ms(), "temp": choose.choice(VALUES), "ok": 1}),
        lambda: _json({"value": choose.choice(VALUES), "unit": choose.choice(NAMES)}),
        lambda: _json({"ts": _now_ms(), "state": choose.choice(VALUES)}),
        lambda: b'{"k\\ud800": 1}',
        lambda: b'{"a": "\\udfff"}',
        lambda: b'{"a": 1, "a": 2, "A": 3}',
        lambda: b'{"a": NaN, "b": Infinity, "c": -Infinity}',
        lambda: b'{"a": 1e999, "b": -1e999, "c": 1E-999}',
        lambda: b'{"n": ' + b"9" * 5_000 + b"}",
        lambda: b"[" * 5_000 + b"]" * 5_000,
        lambda: b'{"a":' * 2_000 + b"1" + b"}" * 2_000,
        lambda: b"\xef\xbb\xbf" + _json({"temp": 1}),
        lambda: _json({"temp": 1}).decode().encode("utf-16"),
        lambda: b"",
        lambda: b"null",
        lambda: b"nul",
        lambda: b'"text"',
        lambda: b"12.5",
        lambda: b"\x00",
        lambda: choose.randbytes(choose.randrange(1, 2_000)),
        lambda: b'{"a": "' + b"y" * 600_000 + b'"}',
        lambda: _json({f"member{n}": n for n in range(2_000)}),
        lambda: _json([{"ts": _now_ms(), "temp": n} for n in range(50)]),
    ]
    topics = (
        "oven",
        "oven",
        "oven",
        "nobody",
        "x" * 300,
        "y" * 6_000,
        "z" * 20_000,
        "ü" * 100,
        "with blank",
        "oven ",
        "OVEN",
        "<b>",
        "a'b\"c",
    )
    while True:
        yield choose.choice(topics), choose.choice(makers)()


def sparkplug_messages(choose: random.Random) -> Iterator[tuple[str, bytes]]:
    """Whole topic and payload, for ever; group `Hostile`."""
    nodes = ("Node", "Other", "N" * 300, "n ode", "ø", "Node")
    devices = ("robot", "d" * 6_000, "ro bot", "robot", "é")
    kinds = ("NBIRTH", "NDEATH", "DBIRTH", "DDEATH", "NDATA", "DDATA", "DDATA", "NCMD", "XDATA")
    while True:
        kind = choose.choice(kinds)
        topic = f"spBv1.0/Hostile/{kind}/{choose.choice(nodes)}"
        if kind.startswith("D"):
            topic += f"/{choose.choice(devices)}"
        if choose.random() < 0.15:
            yield topic, choose.randbytes(choose.randrange(0, 400))
            continue
        payload = spb.Payload(seq=choose.randrange(0, 300))
        if choose.random() < 0.9:
            payload.timestamp = choose.choice((_now_ms(), 0, 1, 2**64 - 1, 946_684_800_000))
        for _ in range(choose.randrange(0, 6)):
            metric = payload.metrics.add()
            if choose.random() < 0.7:
                metric.name = choose.choice((*NAMES, "marked", "marked", "bdSeq"))
            if choose.random() < 0.5:
                metric.alias = choose.randrange(0, 2**64)
            metric.datatype = choose.randrange(0, 40)
            if choose.random() < 0.5:
                metric.timestamp = choose.choice((_now_ms(), 0, 2**63, 946_684_800_000))
            match choose.randrange(0, 8):
                case 0:
                    metric.int_value = choose.randrange(0, 2**32)
                case 1:
                    metric.long_value = choose.randrange(0, 2**64)
                case 2:
                    metric.double_value = choose.choice((math.nan, math.inf, 1.5))
                case 3:
                    metric.string_value = choose.choice(NAMES)
                case 4:
                    metric.bytes_value = choose.randbytes(9)
                case 5:
                    metric.is_null = True
                case 6:
                    metric.boolean_value = True
                case _:
                    pass
            if choose.random() < 0.2:
                metric.properties.keys.append("Quality")
                value = metric.properties.values.add(type=3)
                value.int_value = choose.randrange(0, 1_000)
        yield topic, payload.SerializeToString()


OPCUA_VALUES = (
    ua.Variant("nul\0byte", ua.VariantType.String),
    ua.Variant("x" * 50_000, ua.VariantType.String),
    ua.Variant(math.nan, ua.VariantType.Double),
    ua.Variant(-math.inf, ua.VariantType.Double),
    ua.Variant(2**64 - 1, ua.VariantType.UInt64),
    ua.Variant(-(2**63), ua.VariantType.Int64),
    ua.Variant(b"\x00\xff" * 500, ua.VariantType.ByteString),
    ua.Variant([1.0, math.nan], ua.VariantType.Double),
    ua.Variant(datetime(1601, 1, 1, tzinfo=UTC), ua.VariantType.DateTime),
    ua.Variant(ua.LocalizedText("läuft", "de"), ua.VariantType.LocalizedText),
    ua.Variant(True, ua.VariantType.Boolean),
)
"""One a node of the hostile server, each declared as a double in the plant model."""


def opcua_values(choose: random.Random) -> Iterator[tuple[int, ua.DataValue]]:
    """Index of the node and its next value, with odd status and times, for ever."""
    codes = (0, 0, 0, 0x408F0000, 0x80310000, 0x40000480, 0x80000000)
    times = (None, datetime(1601, 1, 1, tzinfo=UTC), datetime(2000, 1, 1, tzinfo=UTC))
    while True:
        index = choose.randrange(len(OPCUA_VALUES))
        at = choose.choice((*times, datetime.now(UTC), datetime(2099, 1, 1, tzinfo=UTC)))
        yield (
            index,
            ua.DataValue(
                OPCUA_VALUES[index],
                StatusCode=ua.StatusCode(choose.choice(codes)),
                SourceTimestamp=at,
            ),
        )


def kafka_records(
    choose: random.Random,
) -> Iterator[tuple[Topic, str, bytes | None, list[tuple[str, bytes]]]]:
    """Topic, key, value and headers of records that no gateway would write, for ever."""
    while True:
        topic = choose.choice((SAMPLES, SAMPLES, SOURCE_EVENTS, REJECTED, ASSETS))
        key = choose.choice((LINE, "", "k" * 900, "hostile-source", "nul\0key", "pilot-a/north"))
        headers = choose.choice(
            (
                [],
                [("sequence", b"1")],
                [("gateway", b"forged"), ("boot", b"x"), ("sequence", b"-1")],
                [("gateway", b"\xff\xfe"), ("boot", b"1"), ("sequence", b"9" * 30)],
                [
                    ("gateway", b"forged"),
                    ("boot", b"7"),
                    ("stream", LINE.encode()),
                    ("sequence", b"3"),
                ],
            )
        )
        yield topic, key, _kafka_value(topic, choose), headers


def _kafka_value(topic: Topic, choose: random.Random) -> bytes | None:
    if choose.random() < 0.35:
        return choose.choice((b"", b"{}", b"null", b"\x08", choose.randbytes(300)))
    if topic is ASSETS:
        return _asset(choose)
    if topic is SAMPLES:
        return _batch(choose)
    event = codec.SourceEvent(
        owner=choose.choice((OWNER, "", "nul\0owner", "o" * 3_000)),
        gateway=choose.choice(("forged", "", "g" * 3_000)),
        boot=choose.randrange(0, 2**63),
        source=choose.choice(("forged", "", "nul\0source", "s" * 3_000)),
        time=choose.choice((_now_ms() * 1000, 0, -(2**63), 2**63 - 1)),
    )
    event.gap.from_time, event.gap.to_time = -(2**63), 2**63 - 1
    event.gap.reason = choose.choice(NAMES)
    return codec.encode_event(event)


def _batch(choose: random.Random) -> bytes:
    owner = choose.choice((OWNER, OWNER, "pilot-a", "", "o" * 3_000, "nul\0owner"))
    name = choose.choice(NAMES)
    path = choose.choice((f"{LINE}/oven/{name}", f"{owner}/{name}", name))
    signal = Signal(
        choose.choice((f"forged-{hash(path) % 500}", "", "i" * 3_000, "nul\0id")),
        choose.choice(("forged-asset", "", "nul\0asset")),
        path,
        choose.choice(list(ValueType)),
        choose.choice(("", "Cel", "u" * 3_000)),
        choose.choice(("forged", "nul\0source", "")),
        choose.random() < 0.5,
    )
    text = choose.choice(("good text", "nul\0", "x" * 10_000))
    at = choose.choice((_now_ms() * 1000, 0, -(2**63), 2**63 - 1))
    samples = [
        Sample(signal, 1.5, ValueType.DOUBLE, at, _now_ms() * 1000, 0, 0, Flag.NONE),
        Sample(signal, text, ValueType.TEXT, at, at, 0, 2**32 - 1, Flag.NONE),
        Sample(signal, "{not json", ValueType.JSON, at, _now_ms() * 1000, 0, 0, Flag.NONE),
        Sample(signal, 10, ValueType.INT64, at, _now_ms() * 1000, at, 0, Flag.HISTORICAL),
    ]
    batch = make_batch(
        choose.sample(samples, choose.randrange(0, 5)),
        owner=owner,
        gateway=choose.choice(("forged", "", "nul\0gateway")),
        boot=choose.randrange(0, 2**63),
        sequence=choose.choice((0, 1, 2, 5, 2**63)),
        line=choose.choice((LINE, "", "l" * 3_000, "nul\0line", "pilot-a/north/machining/line-1")),
    )
    data = bytearray(codec.encode(batch))
    if data and choose.random() < 0.3:
        data[choose.randrange(len(data))] ^= 1 << choose.randrange(8)
    return bytes(data)


def _asset(choose: random.Random) -> bytes:
    body: dict[str, object] = {
        "id": choose.choice(("forged-asset", "", "i" * 3_000)),
        "owner": choose.choice((OWNER, "pilot-a", "", "nul\0owner")),
        "path": choose.choice((f"{LINE}/oven", "", "p" * 3_000, LINE)),
        "level": choose.choice(("unit", "line", "galaxy", 7)),
        "name": choose.choice(NAMES),
        "meaning": choose.choice(
            (
                None,
                [],
                {},
                {"signals": [{"id": "forged-1", "name": "n", "type": "no number"}]},
                {"signals": [{"id": 7}]},
                {"units": ["nobody"], "constraint": "nobody", "zone": "Oslo"},
            )
        ),
        "signals": choose.choice((None, [], [{"id": "forged-1", "type": "no number"}])),
    }
    for name in choose.sample(sorted(body), choose.randrange(0, 4)):
        del body[name]
    return json.dumps(body).encode()


def _json(body: object) -> bytes:
    return json.dumps(body, ensure_ascii=False).encode(errors="surrogatepass")


def _now_ms() -> int:
    return time.time_ns() // 1_000_000
