"""Values in columns become the same samples, rejects, counts and signs of life as the same values
one by one, whatever comes before, between and after."""

from __future__ import annotations

import math
from dataclasses import dataclass, replace

import numpy as np
from hypothesis import given, settings
from hypothesis import strategies as st

from aurelian.edge.assembly import MAX_BATCH_SAMPLES, Assembly, Delivery, Group
from aurelian.edge.columns import NO_TIME, NUMBER_TYPES, Columns, Numbers, SignalTable
from aurelian.edge.contract import Reading
from aurelian.edge.ordinals import Ordinals
from aurelian.edge.outbox.rows import RecordKind
from aurelian.model.codec import decode, decode_event, decode_rejected
from aurelian.model.plant_parts import SignalModel
from aurelian.model.sample import BAD, Flag, Sample, Signal, ValueType
from aurelian.model.source_model import SourceModel

NOW = 1_700_000_000_000_000
MINUTE = 60_000_000
OLDEST = NOW - 500 * MINUTE
D, I, U, B, T = (  # noqa: E741
    ValueType.DOUBLE,
    ValueType.INT64,
    ValueType.UINT64,
    ValueType.BOOL,
    ValueType.TEXT,
)
SOURCE = SourceModel(id="src", kind="opcua", url="opc.tcp://127.0.0.1:4840")
WIRE = {D: np.float64, I: np.int64, U: np.uint64, B: np.bool_}

MODELS = (
    {"type": D},
    {"type": D, "scale": 0.1, "offset": -3.0},
    {"type": D, "range": (-5.0, 5.0)},
    {"type": D, "range": (-5.0, 5.0), "closed": True, "scale": 2.0},
    {"type": I},
    {"type": I, "range": (0.0, 2.0**53 + 2)},
    {"type": I, "scale": 3.0},
    {"type": U},
    {"type": B},
    {"type": B, "range": (1.0, 2.0)},
    {"type": T},
    {"type": ValueType.JSON},
)


def table_of(models: tuple[dict[str, object], ...] = MODELS) -> SignalTable:
    """A signal for each model; every third is on another line, the last one has another owner."""
    entries = []
    for n, model in enumerate(models):
        described = SignalModel.model_validate({"name": f"s{n}", "address": f"ns=2;i={n}", **model})
        line = "a/x/hall/line-2" if n % 3 == 2 else "a/x/hall/line-1"
        path = f"{line}/press/s{n}" if n + 1 < len(models) else f"b/x/hall/line-1/press/s{n}"
        signal = Signal(f"id-{-n}", f"asset-{n % 4}", path, described.type, source="src")
        entries.append((None, described, signal, line))
    return SignalTable("a", entries)


@dataclass(frozen=True)
class One:
    """A value as it arrives."""

    handle: int
    value: float
    type: ValueType
    status: int
    source_time: int
    server_time: int


numbers = st.one_of(
    st.tuples(st.just(D), st.sampled_from([0.0, -0.0, 1.5, 9.0, math.nan, math.inf, 1e308, -7.0])),
    st.tuples(st.just(D), st.floats()),
    st.tuples(
        st.just(I), st.sampled_from([0, 1, -1, 4, 2**53, 2**53 + 1, 2**53 + 3, -(2**63), 2**63 - 1])
    ),
    st.tuples(st.just(U), st.sampled_from([0, 1, 2**53 + 1, 2**63 - 1, 2**63, 2**64 - 1])),
    st.tuples(st.just(B), st.booleans()),
)
near = st.integers(-3, 12).map(lambda n: NOW + n)
times = st.one_of(
    near,
    near,
    near,
    st.sampled_from(
        [
            NO_TIME,
            0,
            -5,
            1,
            OLDEST,
            OLDEST - 1,
            NOW - 5 * MINUTE,
            NOW - 5 * MINUTE - 1,
            NOW + 5 * MINUTE,
            NOW + 5 * MINUTE + 1,
            NOW + 60 * MINUTE + 1,
            2**62,
        ]
    ),
)
statuses = st.sampled_from([0, 0, 0, 0, 0x40910000, 0x408F0000, BAD, 0x80310000, 0x00000480])
ones = st.builds(
    lambda handle, number, *rest: One(handle, number[1], number[0], *rest),
    st.integers(0, len(MODELS) - 1),
    numbers,
    statuses,
    times,
    times,
)
ordinary = st.builds(
    lambda kept, value, at: One(kept[0], value, kept[1], 0, NOW + at, NOW),
    st.sampled_from([(0, D), (4, I), (7, U)]),
    st.sampled_from([1, 2]),
    st.integers(-2, 3),
)
messages = st.tuples(
    st.one_of(st.lists(ones, max_size=30), st.lists(ordinary, max_size=6)),
    st.sets(st.integers(0, len(MODELS) - 1)),
    st.sampled_from(["columns", "columns", "readings"]),
    st.booleans(),
)


def columns_of(table: SignalTable, values: list[One], initial: set[int]) -> Columns:
    """The values of a message as the decoder gives them: a part for each type."""
    parts = []
    for kind in NUMBER_TYPES:
        chosen = [(place, each) for place, each in enumerate(values) if each.type is kind]
        if chosen:
            parts.append(
                Numbers(
                    kind,
                    np.array([place for place, _ in chosen], np.uint32),
                    np.array([each.handle for _, each in chosen], np.uint32),
                    np.array([each.value for _, each in chosen], WIRE[kind]),
                    np.array([each.status for _, each in chosen], np.uint32),
                    np.array([each.source_time for _, each in chosen], np.int64),
                    np.array([each.server_time for _, each in chosen], np.int64),
                )
            )
    flags = np.zeros(len(table), np.bool_)
    flags[list(initial)] = True
    return Columns(table, tuple(parts), flags if initial else None)


def reading_of(table: SignalTable, one: One, initial: set[int]) -> Reading:
    """One value by hand, not by `Columns.readings`."""
    unit, model, signal, line = table.entries[one.handle]
    source, server = (
        None if each == NO_TIME else each for each in (one.source_time, one.server_time)
    )
    flags = Flag.INITIAL if one.handle in initial else Flag.NONE
    at = server if source is None else source
    value = one.value
    return Reading(unit, model, signal, line, value, one.type, at, server or 0, one.status, flags)


def told(group: Group) -> tuple[object, ...]:
    """All that a group says; samples by signal, since only each signal's own order counts."""
    samples: dict[str, list[Sample]] = {}
    rejects, events = [], []
    for n, entry in enumerate(group.entries):
        match entry.kind:
            case RecordKind.SAMPLES:
                batch = decode(entry.encode(n))
                assert len(batch) == entry.samples <= MAX_BATCH_SAMPLES
                for sample in batch.samples():
                    line = sample.signal.path.rpartition("/press")[0]
                    assert batch.line == line == entry.stream
                    samples.setdefault(sample.signal.id, []).append(sample)
            case RecordKind.REJECTED:
                rejected = decode_rejected(entry.encode(n))
                rejects.append((rejected.origin, rejected.reason, rejected.payload))
            case RecordKind.EVENTS:
                refused = decode_event(entry.encode(n)).refused
                events.append((refused.signal, refused.reason, refused.source_time))
    exact = {signal: [replace_value(each) for each in listed] for signal, listed in samples.items()}
    return exact, sorted(rejects), sorted(events), group.counts, group.heard


def replace_value(sample: Sample) -> tuple[str, Sample]:
    """With the value as text: -0.0 is not 0.0, and 1 is not True."""
    return repr(sample.value), replace(sample, signal=replace(sample.signal))


@settings(max_examples=400, deadline=None)
@given(st.lists(messages, min_size=1, max_size=6), st.integers(0, 6))
def test_columns_and_readings_say_the_same(
    sent: list[tuple[list[One], set[int], str, bool]], restart: int
) -> None:
    table = table_of()
    mixed = Assembly("g", 1, Ordinals(), OLDEST)
    plain = Assembly("g", 1, Ordinals(), OLDEST)
    waiting: list[tuple[Delivery, Delivery]] = []
    for n, (values, initial, way, ends_group) in enumerate(sent):
        by_hand = [reading_of(table, each, initial) for each in values]
        slow = Delivery(source=SOURCE, owner="a", received_at=NOW + n, readings=by_hand)
        fast = replace(slow, readings=(), columns=columns_of(table, values, initial))
        waiting.append((fast if way == "columns" else slow, slow))
        if ends_group or n + 1 == len(sent):
            ours = mixed.assemble([each for each, _ in waiting])
            expected = plain.assemble([each for _, each in waiting])
            assert told(ours) == told(expected)
            waiting = []
            if n == restart:
                known = [Ordinals(), Ordinals()]
                for group, ordinals in zip((ours, expected), known, strict=True):
                    for listed in told(group)[0].values():  # type: ignore[attr-defined]
                        for _, sample in listed:
                            ordinals.remember(sample)
                mixed, plain = (Assembly("g", 2, each, OLDEST) for each in known)


def test_many_values_of_a_message_are_cut_into_batches() -> None:
    table = table_of(({"type": D}, {"type": D}, {"type": D}, {"type": D}))
    values = [One(n % 2, float(n), D, 0, NOW - 10_000 + n, NO_TIME) for n in range(2 * 3_000)]
    group = Assembly("g", 1, Ordinals()).assemble(
        [
            Delivery(
                source=SOURCE,
                owner="a",
                received_at=NOW,
                columns=columns_of(table, values, set()),
            )
        ]
    )
    assert [entry.samples for entry in group.entries] == [2_000, 2_000, 2_000]
    batches = [decode(entry.encode(1)) for entry in group.entries]
    assert [value for batch in batches for value in batch.values()] == [
        each.value for each in values
    ]


def test_the_order_at_one_time_goes_on_from_message_to_message_and_from_way_to_way() -> None:
    """9, 4 and 9 at one time are three values, 9 and 9 are one; whichever way each came."""
    table = table_of(({"type": D}, {"type": D}))
    for ways in ("cccc", "crcr", "rcrc", "ccrr", "rrcc"):
        assembly = Assembly("g", 1, Ordinals())
        subs = []
        for way, value in zip(ways, (9.0, 4.0, 9.0, 9.0), strict=True):
            values = [One(0, value, D, 0, NOW, NOW)]
            delivery = Delivery(
                source=SOURCE, owner="a", received_at=NOW, columns=columns_of(table, values, set())
            )
            if way == "r":
                by_hand = [reading_of(table, each, set()) for each in values]
                delivery = replace(delivery, columns=None, readings=by_hand)
            samples = told(assembly.assemble([delivery]))[0]
            subs += [each.sub for _, each in samples["id-0"]]  # type: ignore[index]
        assert subs == [0, 1, 2, 2], ways


def test_what_is_ordinary_never_goes_value_by_value() -> None:
    """Else the property above would hold of nothing."""
    table = table_of()
    handles = [0, 1, 2, 4, 7, 8, 0, 4]
    kinds = [D, D, D, I, U, B, D, I]
    values = [
        One(handle, 1, kind, 0, NOW + n, NOW + n)
        for n, (handle, kind) in enumerate(zip(handles, kinds, strict=True))
    ]
    lane_only = Assembly("g", 1, Ordinals())
    lane_only._to_sample = lambda *_: 1 / 0  # type: ignore[assignment,method-assign]
    group = lane_only.assemble(
        [
            Delivery(
                source=SOURCE,
                owner="a",
                received_at=NOW,
                columns=columns_of(table, values, {2}),
            )
        ]
    )
    assert sum(entry.samples for entry in group.entries) == len(values)
    assert group.heard == [{"asset-0": NOW, "asset-1": NOW, "asset-2": NOW, "asset-3": NOW}]
