"""HistoryRead responses from asyncua's encoder: values as Publish brings them, and damage that
costs one node only."""

from __future__ import annotations

import struct
from datetime import UTC, datetime

import pytest
from asyncua import ua
from asyncua.common.utils import Buffer
from asyncua.ua.ua_binary import struct_to_binary

from aurelian.model.sample import ValueType
from aurelian.model.time import to_us
from opcua_gateway.decode.notifications import Undecodable, decode_publish
from opcua_gateway.history.decoder import BAD_DECODING_ERROR, decode_history

AT = datetime(2026, 1, 5, 7, 30, 1, 234567, UTC)
AT_US = to_us(AT)


def data(value: object, kind: ua.VariantType, status: int = 0) -> ua.DataValue:
    return ua.DataValue(
        ua.Variant(value, kind), ua.StatusCode(status), SourceTimestamp=AT, ServerTimestamp=AT
    )


def result(values: list[ua.DataValue], point: bytes | None = None) -> ua.HistoryReadResult:
    made = ua.HistoryReadResult()
    made.ContinuationPoint = point
    made.HistoryData = ua.HistoryData(DataValues=values)  # type: ignore[assignment]
    return made


def encoded(results: list[ua.HistoryReadResult]) -> bytes:
    return bytes(struct_to_binary(ua.HistoryReadResponse(Results=results)))


def test_values_points_and_statuses_of_each_node_arrive() -> None:
    refused = ua.HistoryReadResult(StatusCode=ua.StatusCode(ua.StatusCodes.BadUserAccessDenied))
    body = encoded(
        [
            result([data(0.5, ua.VariantType.Double), data(None, ua.VariantType.Null)], b"\x01\0"),
            refused,
            result([data("Größe", ua.VariantType.String, 0x408F0000)]),
            result([]),
        ]
    )
    first, second, third, fourth = decode_history(Buffer(body), [4, 5, 6, 7])
    assert (first.status, first.point, len(first.values)) == (0, b"\x01\0", 2)
    number, nothing = first.values
    assert (number.handle, number.value, number.type) == (4, 0.5, ValueType.DOUBLE)
    assert (number.source_time, number.server_time) == (AT_US, AT_US)
    assert (nothing.value, nothing.type) == (None, ValueType.NULL)
    assert second.status == ua.StatusCodes.BadUserAccessDenied
    assert (second.point, second.values) == (b"", ())
    (text,) = third.values
    assert (text.handle, text.value, text.status) == (6, "Größe", 0x408F0000)
    assert fourth.values == ()


def test_a_time_with_a_digit_below_microseconds_is_the_same_live_and_out_of_the_history() -> None:
    plain = struct_to_binary(ua.DataValue(ua.Variant(1.0), SourceTimestamp=AT))
    ticks = struct.pack("<q", (AT_US + 11_644_473_600_000_000) * 10)
    odd = struct.pack("<q", (AT_US + 11_644_473_600_000_000) * 10 + 7)
    assert plain.count(ticks) == 1
    history = encoded([result([ua.DataValue(ua.Variant(1.0), SourceTimestamp=AT)])])
    (found,) = decode_history(Buffer(history.replace(ticks, odd)), [0])
    item = ua.MonitoredItemNotification(0, ua.DataValue(ua.Variant(1.0), SourceTimestamp=AT))
    block = ua.DataChangeNotification(MonitoredItems=[item])
    response = ua.PublishResponse()
    response.Parameters.NotificationMessage.NotificationData = [block]  # type: ignore[list-item]
    live = decode_publish(Buffer(struct_to_binary(response).replace(ticks, odd)))
    assert found.values[0].source_time == live.notifications[0].source_time == AT_US


def test_damage_costs_the_values_behind_it_in_its_node_only() -> None:
    good = data(1.0, ua.VariantType.Double)
    body = encoded([result([good, good]), result([good])])
    at = body.index(struct_to_binary(good))
    second = body.index(struct_to_binary(good), at + 1)
    broken = bytearray(body)
    broken[second + 1] = 40  # a Variant type that there is not
    first, other = decode_history(Buffer(bytes(broken)), [0, 1])
    assert (first.status, len(first.values)) == (BAD_DECODING_ERROR, 1)
    assert (other.status, len(other.values)) == (0, 1)


def test_a_length_that_the_bytes_do_not_have_takes_no_memory() -> None:
    body = encoded([result([data(1.0, ua.VariantType.Double)])])
    at = body.index(struct.pack("<i", 1) + struct_to_binary(data(1.0, ua.VariantType.Double)))
    broken = body[:at] + struct.pack("<i", 2**31 - 1) + body[at + 4 :]
    (found,) = decode_history(Buffer(broken), [0])
    assert (found.status, found.values) == (BAD_DECODING_ERROR, ())


@pytest.mark.parametrize("nodes", [0, 2])
def test_a_response_that_has_not_a_result_for_each_node_is_none(nodes: int) -> None:
    body = encoded([result([])])
    with pytest.raises(Undecodable):
        decode_history(Buffer(body), list(range(nodes)))


def test_no_cut_response_raises_anything_else() -> None:
    body = encoded([result([data(1.0, ua.VariantType.Double)] * 3, b"point"), result([])])
    for end in range(len(body)):
        try:
            decode_history(Buffer(body[:end]), [0, 1])
        except Undecodable:
            continue
        # What stands behind the results says nothing.
        assert end >= len(body) - 4


def test_a_refused_service_says_its_status() -> None:
    response = ua.HistoryReadResponse()
    response.ResponseHeader.ServiceResult = ua.StatusCode(ua.StatusCodes.BadTooManyOperations)
    with pytest.raises(ua.uaerrors.BadTooManyOperations):
        decode_history(Buffer(bytes(struct_to_binary(response))), [])
