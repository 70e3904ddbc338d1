"""What a source may send at worst: each bad name, text or time costs itself alone."""

from __future__ import annotations

from dataclasses import replace

import pytest

from aurelian.edge.assembly import Assembly, Delivery, Group
from aurelian.edge.contract import Reading, Reject
from aurelian.edge.names import text_fault
from aurelian.edge.ordinals import MOST_AT_ONE_TIME, Ordinals
from aurelian.edge.outbox.rows import RecordKind
from aurelian.model.codec import Rejected, SourceEvent, decode
from aurelian.model.evidence import time_is_refused
from aurelian.model.plant import derive_id
from aurelian.model.plant_parts import SignalModel
from aurelian.model.sample import Flag, Sample, Signal, Value, ValueType
from aurelian.model.source_model import SourceModel

NOW = 1_700_000_000_000_000
SECOND, DAY = 1_000_000, 86_400_000_000
SOURCE = SourceModel(id="src", kind="mqtt_json", url="mqtt://127.0.0.1:1883", topic="{unit}")
KINDS = {
    float: ValueType.DOUBLE,
    int: ValueType.INT64,
    bool: ValueType.BOOL,
    str: ValueType.TEXT,
    bytes: ValueType.BYTES,
    type(None): ValueType.NULL,
}


def reading(
    value: Value, name: str = "temp", at: int = NOW, *, declared: bool = True, **of: object
) -> Reading:
    kind = KINDS[type(value)]
    path = f"a/site/area/line/press/{name}"
    signal = Signal(derive_id(path), "press", path, kind, discovered=not declared)
    model = SignalModel(name="temp", type=ValueType.DOUBLE) if declared else None
    made = Reading(None, model, signal, "a/site/area/line", value, kind, at)
    return replace(made, **of)  # type: ignore[arg-type]


def assembled(readings: list[Reading], assembly: Assembly | None = None, at: int = NOW) -> Group:
    return (assembly or Assembly("g", 7, Ordinals())).assemble([delivery(readings, at)])


def delivery(readings: list[Reading], at: int = NOW) -> Delivery:
    return Delivery(source=SOURCE, owner="a", received_at=at, readings=readings)


def samples(group: Group) -> list[Sample]:
    return [
        sample
        for entry in group.entries
        if entry.kind is RecordKind.SAMPLES
        for sample in decode(entry.encode(1)).samples()
    ]


def rejected(group: Group) -> list[Rejected]:
    return [
        Rejected.FromString(entry.encode(1))
        for entry in group.entries
        if entry.kind is RecordKind.REJECTED
    ]


@pytest.mark.parametrize(
    "name",
    ["x" * 6000, "x" * 20_000, "k\ud800", "a\0b", "a\nb", "", "🏭" * 151, "/".join("x" * 900)],
)
def test_a_name_that_cannot_be_kept_costs_its_own_value(name: str) -> None:
    group = assembled([reading(1.0), reading(2.0, name, declared=False), reading(3.0, "ok")])
    assert [sample.value for sample in samples(group)] == [1.0, 3.0]
    (record,) = rejected(group)
    assert (record.error_class, record.payload) == ("name", b"2.0")


@pytest.mark.parametrize(
    "part", [{"unit": "C\ud800"}, {"unit": "x" * 300}, {"id": "i\ud800"}, {"asset": "p\0"}]
)
def test_a_unit_of_measure_or_an_id_is_a_name_too(part: dict[str, str]) -> None:
    bad = reading(2.0, declared=False)
    bad = replace(bad, signal=replace(bad.signal, **part))  # type: ignore[arg-type]
    group = assembled([bad, reading(3.0)])
    assert [sample.value for sample in samples(group)] == [3.0]
    assert [record.error_class for record in rejected(group)] == ["name"]


def test_a_line_is_a_name_too() -> None:
    group = assembled([reading(2.0, line="a/\ud800"), reading(3.0)])
    assert [sample.value for sample in samples(group)] == [3.0]


@pytest.mark.parametrize("text", ["serial\0", "\0", "k\ud800", "\udfff\0"])
@pytest.mark.parametrize("kind", [ValueType.TEXT, ValueType.JSON])
def test_a_text_that_cannot_be_stored_costs_itself_alone(text: str, kind: ValueType) -> None:
    neighbours = [reading(1000.0 + n, at=NOW + n) for n in range(200)]
    bad = reading(text, "msg", declared=False, type=kind)
    group = assembled([*neighbours[:100], bad, *neighbours[100:]])
    assert [sample.value for sample in samples(group)] == [1000.0 + n for n in range(200)]
    (record,) = rejected(group)
    assert record.error_class == "encoding" and record.payload
    assert text_fault(record.reason) is None and text_fault(record.origin) is None


@pytest.mark.parametrize(
    "changes", [{"type": "no type"}, {"value": object()}, {"source_time": "12:00"}]
)
def test_a_bug_in_an_adapter_costs_the_value_that_it_made(changes: dict[str, object]) -> None:
    broken = replace(reading(2.0), **changes)  # type: ignore[arg-type]
    group = assembled([reading(1.0), broken, reading(3.0, at=NOW + 1)])
    assert [sample.value for sample in samples(group)] == [1.0, 3.0]
    assert len(rejected(group)) == 1


def test_refused_values_of_a_declared_signal_are_told_first_and_then_every_ten_seconds() -> None:
    assembly = Assembly("g", 7, Ordinals())

    def refusals(value: Value, second: int) -> list[tuple[str, str, int]]:
        at = NOW + second * SECOND
        events = [
            SourceEvent.FromString(entry.encode(1)).refused
            for entry in assembled([reading(value, at=at)], assembly, at).entries
            if entry.kind is RecordKind.EVENTS
        ]
        return [(event.asset, event.signal, event.source_time) for event in events]

    signal = reading(1.0).signal
    assert refusals(1.0, 0) == []
    assert refusals("Offline", 1) == [(signal.asset, signal.id, NOW + SECOND)]
    assert [len(refusals("Offline", second)) for second in range(2, 13)] == [0] * 9 + [1, 0]
    assert refusals(2.0, 13) == []
    assert len(refusals("Offline", 14)) == 1
    undeclared = assembled([reading("a\0", "msg", declared=False)], assembly)
    assert [entry.kind for entry in undeclared.entries] == [RecordKind.REJECTED]


def test_a_live_time_of_before_the_gateway_is_replaced_and_an_old_one_by_nature_is_not() -> None:
    assembly = Assembly("g", 7, Ordinals(), not_before=NOW - 400 * DAY)
    year_2000 = 946_684_800_000_000
    live = reading(1.0, at=year_2000)
    group = assembled([live, replace(live, flags=Flag.HISTORICAL)], assembly)
    bad, old = samples(group)
    assert (bad.time, bad.source_time) == (NOW, year_2000)
    assert time_is_refused(bad.flags, bad.source_time)
    assert old.time == year_2000


def test_a_clock_that_starts_in_2000_after_each_power_cut_loses_no_value() -> None:
    assembly = Assembly("g", 7, Ordinals(), not_before=NOW - 400 * DAY)
    kept = set()
    for boot in range(2):
        for n in range(15):
            at = NOW + (boot * 100 + n) * SECOND
            value = reading(float(boot * 100 + n), at=946_684_800_000_000 + n * SECOND)
            kept |= {(s.time, s.sub) for s in samples(assembled([value], assembly, at))}
    assert len(kept) == 30


def test_values_of_one_time_are_numbered_as_they_came() -> None:
    group = assembled([reading(float(value)) for value in (9, 4, 4, 9)])
    assert [(s.value, s.sub) for s in samples(group)] == [(9, 0), (4, 1), (4, 1), (9, 2)]


def test_equal_values_of_a_recording_that_arrive_together_are_all_kept() -> None:
    assembly = Assembly("g", 7, Ordinals(), not_before=NOW - 400 * DAY)
    rows = [reading(0.0, at=NOW - 2000 * DAY + n * SECOND) for n in range(100)]
    found = samples(assembled(rows, assembly))
    assert [(s.time, s.sub) for s in found] == [(NOW, n) for n in range(100)]
    untimed = [replace(each, source_time=None) for each in rows]
    assert [s.sub for s in samples(assembled(untimed, assembly, NOW + 1))] == list(range(100))
    # Sent again after a lost acknowledgement, within what is remembered of a time.
    again = replace(delivery(rows[-10:]), repeated=True)
    assert [s.sub for s in samples(assembly.assemble([again]))] == list(range(90, 100))


@pytest.mark.parametrize("first, second", [(0.0, -0.0), (1, True), (0, False), ("a", b"a")])
def test_values_that_python_calls_equal_are_two(first: Value, second: Value) -> None:
    readings = [reading(first, declared=False), reading(second, declared=False)]
    assert [sample.sub for sample in samples(assembled(readings))] == [0, 1]


def test_what_a_broker_sends_again_has_the_ordinals_of_before() -> None:
    assembly = Assembly("g", 7, Ordinals())
    readings = [reading(9.0), reading(4.0)]
    before = samples(assembled(readings, assembly))
    again = replace(delivery(readings), repeated=True)
    assert [s.sub for s in samples(assembly.assemble([again]))] == [s.sub for s in before]


def test_a_time_that_stands_still_while_values_change_is_replaced() -> None:
    assembly = Assembly("g", 7, Ordinals())
    found = []
    for n in range(100):
        found += samples(assembled([reading(float(n))], assembly, NOW + n * SECOND))
    assert [s.time == NOW and s.sub == n for n, s in enumerate(found[:8])] == [True] * 8
    standing = found[MOST_AT_ONE_TIME:]
    assert all(time_is_refused(s.flags, s.source_time) for s in standing)
    assert [s.time for s in standing] == [NOW + n * SECOND for n in range(8, 100)]
    assert len({(s.time, s.sub) for s in found}) == 100


def test_history_may_have_many_values_at_one_time() -> None:
    readings = [reading(float(n), flags=Flag.HISTORICAL) for n in range(30)]
    found = samples(assembled(readings))
    assert [(s.time, s.sub) for s in found] == [(NOW, n) for n in range(30)]


def test_a_reject_of_an_adapter_can_name_the_declared_signal() -> None:
    signal = reading(1.0).signal
    reject = Reject("no number", "json", "plant/press", b"{", signal=signal)
    refused = replace(delivery([]), rejects=[reject])
    kinds = [entry.kind for entry in Assembly("g", 7, Ordinals()).assemble([refused]).entries]
    assert kinds == [RecordKind.REJECTED, RecordKind.EVENTS]
