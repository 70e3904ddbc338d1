"""`opcua_decode`: microseconds a value from a PublishResponse's bytes, 1,000 values a message, all
with status and both times; `by_count` has other sizes.

Peer: asyncua's own decoder of the same bytes, measured in the same run.
"""

from __future__ import annotations

import resource
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime

from asyncua import ua
from asyncua.ua.ua_binary import struct_from_binary, struct_to_binary

from opcua_gateway.decode.notifications import decode_publish

COUNTS = (8, 100, 1_000, 10_000)
VALUES = 1_000
"""In the message that the result is of."""

BUDGET_S = 0.5
"""For each measurement."""

AT = datetime(2026, 1, 1, tzinfo=UTC)


def run() -> Iterator[dict[str, object]]:
    """Yield a result of each kind of values."""
    for name, make in INPUTS.items():
        cpu = time.process_time()
        messages = {count: _message(make, count) for count in COUNTS}
        ours = {count: _us_a_value(_decode, messages[count], count) for count in COUNTS}
        peer = _us_a_value(_decode_by_asyncua, messages[VALUES], VALUES)
        yield {
            "bench": "opcua_decode",
            "value": round(ours[VALUES], 4),
            "unit": f"us/value at {VALUES}, {name}",
            "peer": round(peer, 3),
            "ratio": round(peer / ours[VALUES], 1),
            "target": 0.5,
            "cpu_s": round(time.process_time() - cpu, 2),
            "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
            "samples": VALUES,
            "by_count": {str(count): round(us, 4) for count, us in ours.items()},
        }


def _alternating(i: int) -> ua.Variant:
    match i % 3:
        case 0:
            return ua.Variant(i / 7, ua.VariantType.Double)
        case 1:
            return ua.Variant(i, ua.VariantType.Int32)
        case _:
            return ua.Variant(i % 2 == 0, ua.VariantType.Boolean)


INPUTS: dict[str, Callable[[int], ua.Variant]] = {
    "runs of Double": lambda i: ua.Variant(i / 7, ua.VariantType.Double),
    "alternating Double, Int32, Boolean": _alternating,
    "String": lambda i: ua.Variant(f"state {i}", ua.VariantType.String),
}


def _message(make: Callable[[int], ua.Variant], count: int) -> bytes:
    items = [
        ua.MonitoredItemNotification(i, ua.DataValue(make(i), ua.StatusCode(0), AT, AT))
        for i in range(count)
    ]
    response = ua.PublishResponse()
    response.Parameters.NotificationMessage.NotificationData = [
        ua.DataChangeNotification(MonitoredItems=items)
    ]
    return struct_to_binary(response)


def _decode(data: bytes) -> None:
    assert not decode_publish(ua.utils.Buffer(data)).why


def _decode_by_asyncua(data: bytes) -> None:
    struct_from_binary(ua.PublishResponse, ua.utils.Buffer(data))


def _us_a_value(decode: Callable[[bytes], None], data: bytes, count: int) -> float:
    """The best of the rounds that fit the budget: what the machine does when nothing else runs."""
    best, end = float("inf"), time.perf_counter() + BUDGET_S
    while time.perf_counter() < end:
        started = time.perf_counter()
        decode(data)
        best = min(best, time.perf_counter() - started)
    return best / count * 1e6
