"""What happens at a server as deliveries: each gap is told and leaves holes, and what the history
brought is marked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import pytest

from aurelian.edge.columns import NO_TIME, Numbers
from aurelian.edge.gateway import Delivery
from aurelian.model import codec
from aurelian.model.plant import Plant
from aurelian.model.sample import Flag, ValueType
from opcua_gateway.decode.notifications import Published
from opcua_gateway.deliveries import Deliveries
from opcua_gateway.happenings import Connected, Message, ReadBack
from opcua_gateway.history.holes import Holes
from opcua_gateway.mapping import Notification, tags_of

S = 1_000_000
T = 1_790_000_000 * S


def make_plant(
    names: Sequence[str],
    each: Mapping[str, Mapping[str, object]] | None = None,
    monitoring: Mapping[str, object] | None = None,
    source: Mapping[str, object] | None = None,
    **signal: object,
) -> Plant:
    """A plant of one source; `each`: of a signal by its name, `signal`: of all of them."""
    peer = {"id": "peer", "kind": "opcua", "url": "opc.tcp://127.0.0.1:4840", **(source or {})}
    if monitoring is not None:
        peer["monitoring"] = dict(monitoring)
    return Plant.model_validate(
        {
            "company": {"id": "x", "name": "X"},
            "site": "s",
            "time_zone": "UTC",
            "sources": [peer],
            "areas": [
                {
                    "name": "a",
                    "lines": [
                        {
                            "name": "l",
                            "products": [{"id": "cup", "ideal_cycle_s": 2}],
                            "units": [
                                {
                                    "name": "press",
                                    "source": "peer",
                                    "signals": [
                                        {
                                            "name": name,
                                            "address": f"ns=2;s={name}",
                                            **signal,
                                            **(each or {}).get(name, {}),
                                        }
                                        for name in names
                                    ],
                                }
                            ],
                        }
                    ],
                }
            ],
        }
    )


def make(names: Sequence[str] = ("force", "name"), **signal: object) -> tuple[Deliveries, Holes]:
    plant = make_plant(names, **signal)
    (model,) = plant.sources
    tags = tags_of(plant, model)
    holes = Holes(len(tags), is_on=True, longest_us=3600 * S)
    return Deliveries(model, plant.owner, tags, holes), holes


def texts(*values: tuple[int, int, int], why: str = "") -> Published:
    """A message of texts, given as (handle, source time, status)."""
    found = tuple(
        Notification(handle, "x", ValueType.TEXT, status, time, None)
        for handle, time, status in values
    )
    return Published(
        1,
        1,
        (),
        not values,
        (),
        found,
        tuple(range(len(found))),
        unreadable=b"?" if why else b"",
        why=why,
    )


def reasons(delivery: Delivery) -> list[str]:
    return [event.gap.reason for event in delivery.events if event.HasField("gap")]


@pytest.mark.parametrize(
    ("lost", "why", "status", "reason"),
    [
        (2, "", 0, "2 messages were lost on the way"),
        (0, "damaged", 0, "damaged"),
        (0, "", 0x0480, "the server's queue was too small for 2 nodes, first x/s/a/l/press/force"),
    ],
)
def test_what_a_message_says_is_missing_is_told_and_can_be_read_back(
    lost: int, why: str, status: int, reason: str
) -> None:
    made, holes = make()
    made.of(Message(texts((0, T, 0), (1, T + 1, 0)), None, 0, T + 2))
    assert holes.unread is None
    after = texts((0, T + 5 * S, status), (1, T + 6 * S, status), why=why)
    delivery = made.of(Message(after, None, lost, T + 7 * S))
    assert reasons(delivery) == [reason]
    if why:
        # What stands behind damage may be of any node: the next message ends the holes.
        assert holes.take(10, T + 7 * S) == []
        made.of(Message(texts((0, T + 8 * S, 0), (1, T + 9 * S, 0)), None, 0, T + 9 * S))
    taken = holes.take(10, T + 7 * S)
    assert sorted((hole.handle, hole.after, hole.end) for hole in taken) == [
        (0, T, T + (8 if why else 5) * S),
        (1, T + 1, T + (9 if why else 6) * S),
    ]


def test_only_a_session_that_was_not_resumed_leaves_holes() -> None:
    made, holes = make()
    # The first one of all: nothing was missed.
    made.of(Connected(False, T))
    assert holes.unread is None
    made.of(Message(texts((0, T, 0), (1, T, 0)), None, 0, T))
    assert not reasons(made.of(Connected(True, T + S)))
    assert holes.unread is None
    assert reasons(made.of(Connected(False, T + 2 * S))) == ["no session with the server"]
    assert holes.unread is not None


def test_values_of_the_history_are_flagged_and_leave_what_is_known_of_now() -> None:
    made, _ = make()
    made.of(Connected(False, T))
    made.heard_at = T
    stored: list[bool] = []
    value = Notification(1, "old", ValueType.TEXT, 0, T - S, None)
    gap = codec.SourceEvent(time=T, gap=codec.Gap(from_time=T - S, to_time=T, recovered=True))
    delivery = made.of(ReadBack((value,), (gap,), lambda: stored.append(True), T + 9 * S))
    (reading,) = delivery.readings
    assert (reading.value, reading.flags, reading.source_time) == ("old", Flag.HISTORICAL, T - S)
    assert list(delivery.events) == [gap] and made.heard_at == T
    assert delivery.ack is not None
    delivery.ack()
    assert stored == [True]
    # The first live value is still the first.
    (live,) = made.of(Message(texts((1, T, 0)), None, 0, T)).readings
    assert live.flags == Flag.INITIAL


@pytest.mark.parametrize("count", [4, 31, 32, 100])
def test_an_enumeration_has_its_names_in_messages_of_any_size(count: int) -> None:
    made, _ = make([f"n{n}" for n in range(count)], type="text")
    made.names = {2: {7: "Setup"}}
    numbers = Numbers(
        ValueType.INT64,
        np.arange(count, dtype=np.uint32),
        np.arange(count, dtype=np.uint32),
        np.full(count, 7, np.int64),
        np.zeros(count, np.uint32),
        np.full(count, T, np.int64),
        np.full(count, NO_TIME, np.int64),
    )
    delivery = made.of(Message(Published(1, 1, (), False, (numbers,)), None, 0, T))
    columns = [] if delivery.columns is None else delivery.columns.readings()
    found = {r.signal.path.rpartition("/")[2]: r.value for r in (*columns, *delivery.readings)}
    assert found == {f"n{n}": "Setup" if n == 2 else 7 for n in range(count)}
