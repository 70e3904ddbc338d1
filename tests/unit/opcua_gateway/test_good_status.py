"""Odd status codes that count as good, in columns and one by one; the time that values count at."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurelian.edge.assembly import Assembly, Delivery
from aurelian.edge.columns import NO_TIME, Numbers
from aurelian.edge.contract import apply
from aurelian.edge.ordinals import Ordinals
from aurelian.model.codec import decode
from aurelian.model.sample import Flag, Sample, ValueType, raw_status
from opcua_gateway.decode.good_status import GoodStatus
from opcua_gateway.decode.notifications import Published
from opcua_gateway.deliveries import Deliveries
from opcua_gateway.happenings import Connected, Message, ReadBack
from opcua_gateway.history.holes import Holes
from opcua_gateway.mapping import Notification, tags_of
from tests.source_alone import readings_of
from tests.unit.opcua_gateway.test_deliveries import make_plant

S = 1_000_000
T = 1_790_000_000 * S
ODD, BAD_ODD, PLAIN = 0x40900000, 0x80310000, 0x40910000


def column(statuses: list[int]) -> Published:
    n = len(statuses)
    numbers = Numbers(
        ValueType.DOUBLE,
        np.arange(n, dtype=np.uint32),
        np.arange(n, dtype=np.uint32),
        np.arange(n, dtype=np.float64),
        np.array(statuses, np.uint32),
        np.full(n, T, np.int64),
        np.full(n, NO_TIME, np.int64),
    )
    return Published(1, 1, (), False, (numbers,))


def made(count: int, **source: object) -> Deliveries:
    plant = make_plant([f"s{n}" for n in range(count)], source=source)
    (model,) = plant.sources
    tags = tags_of(plant, model)
    return Deliveries(model, plant.owner, tags, Holes(count, is_on=False, longest_us=S))


def samples(deliveries: list[Delivery]) -> list[Sample]:
    group = Assembly("g", 1, Ordinals()).assemble(deliveries)
    batches = [decode(entry.encode(n)) for n, entry in enumerate(group.entries) if entry.samples]
    return [sample for batch in batches for sample in batch.samples()]


codes = st.sampled_from([0, ODD, ODD | 0x480, BAD_ODD, PLAIN, 0x80000000])


@given(st.one_of(st.lists(codes, min_size=1), st.lists(codes, min_size=32, max_size=40)))
def test_codes_count_the_same_in_columns_and_one_by_one_and_none_is_lost(codes: list[int]) -> None:
    said = {"good_status": [ODD, "BadNoCommunication"]}
    one = made(len(codes), **said)
    one.of(Connected(False, T))
    found = samples([one.of(Message(column(codes), None, 0, T))])
    assert [raw_status(each.status, each.flags) for each in found] == codes
    good = [each.status >> 30 == 0 for each in found]
    assert good == [code & 0xFFFF0000 in (0, ODD, BAD_ODD) for code in codes]
    alone = GoodStatus((ODD, BAD_ODD)).of(column(codes)).notifications
    assert [(each.status, int(each.flags)) for each in alone] == [
        (each.status, int(each.flags & ~Flag.INITIAL)) for each in found
    ]


def test_what_the_history_has_counts_as_what_came_live() -> None:
    one = made(1, good_status=[ODD], event_time="gateway")
    back = Notification(0, 1.0, ValueType.DOUBLE, ODD, T - 9, None)
    (reading,) = one.of(ReadBack((back,), (), None, T)).readings
    # Not at its receipt: all of an hour would stand at one moment.
    assert reading.flags == Flag.HISTORICAL | Flag.WAS_UNCERTAIN
    assert (reading.status, reading.source_time) == (0x00900000, T - 9)


@pytest.mark.parametrize(
    ("event_time", "source_time", "server_time", "time", "flags"),
    [
        ("source", T - 5, T - 3, T - 5, Flag.NONE),
        ("source", None, T - 3, T - 3, Flag.NONE),
        ("server", T - 5, T - 3, T - 3, Flag.AT_SERVER_TIME),
        ("server", None, T - 3, T - 3, Flag.AT_SERVER_TIME),
        ("server", T - 5, None, T - 5, Flag.NONE),
        ("server", T - 5, T + 7200 * S, T - 5, Flag.NONE),  # it cannot be: the source's
        ("server", None, T + 7200 * S, T, Flag.TIME_REPLACED),
        ("gateway", T - 5, T - 3, T, Flag.AT_GATEWAY_TIME),
        ("gateway", None, None, T, Flag.AT_GATEWAY_TIME),
        (
            "server",
            T - 900 * S,
            T - 600 * S,
            T - 600 * S,
            Flag.AT_SERVER_TIME | Flag.TIME_UNCERTAIN,
        ),
    ],
)
def test_a_value_counts_at_the_time_that_the_plant_file_says(
    event_time: str, source_time: int | None, server_time: int | None, time: int, flags: Flag
) -> None:
    one = made(1, event_time=event_time)
    came = Notification(0, 1.0, ValueType.DOUBLE, 0, source_time, server_time)
    delivery = one.of(Message(Published(1, 1, (), False, (), (came,), (0,)), None, 0, T))
    (reading,) = readings_of(delivery)
    found = apply(reading, T)
    assert isinstance(found, Sample)
    assert (found.time, found.flags) == (time, flags)
    if flags & Flag.AT_SERVER_TIME or event_time == "gateway":
        assert (found.source_time, found.server_time) == (source_time or 0, server_time or 0)


def test_values_at_their_receipt_are_all_kept_in_order() -> None:
    one = made(1, event_time="gateway")
    came = [Notification(0, float(n % 3), ValueType.DOUBLE, 0, T - 50, None) for n in range(20)]
    published = Published(1, 1, (), False, (), tuple(came), tuple(range(20)))
    found = samples([one.of(Message(published, None, 0, T))])
    assert [(each.value, each.sub, each.time) for each in found] == [
        (float(n % 3), n, T) for n in range(20)
    ]
    assert not any(each.flags & Flag.TIME_REPLACED for each in found)
