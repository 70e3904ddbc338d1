"""Numbers of ordinary Sparkplug messages as columns give the same values as one by one, and the
order of a signal's values stays."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from aurelian.edge.columns import SignalTable
from aurelian.edge.contract import Reading
from aurelian.model.plant import Plant
from aurelian.model.sample import Flag
from aurelian.pb import sparkplug_b_pb2 as pb
from mqtt_gateway.mapping import SignalMap
from mqtt_gateway.sparkplug.host import Host
from mqtt_gateway.sparkplug.lane import Known, read_numbers
from mqtt_gateway.sparkplug.mapping import ActionMap, Content
from mqtt_gateway.sparkplug.messages import Action, Numbers, Told, parse_topic
from mqtt_gateway.sparkplug.units import SparkplugUnits
from tests.unit.mqtt_gateway.sparkplug.test_host import AT
from tests.unit.mqtt_gateway.sparkplug.test_order import make_plant

NOW = AT + 5_000_000
DATATYPES = {
    "int_value": (1, 2, 3, 5, 6, 7, 11, 13),
    "long_value": (3, 4, 7, 8, 13),
    "float_value": (9, 10),
    "double_value": (9, 10),
    "boolean_value": (11,),
    "string_value": (12,),
}
NAMES = ["d", "i", "u", "b", "t", "alone"]


class Both:
    """A host whose ordinary numbers are columns, or one that has none."""

    def __init__(self, *, columns: bool) -> None:
        plant = make_lane_plant()
        signals = SignalMap(plant, plant.sources[0], 100)
        units = SparkplugUnits(signals.units, any_group=False)
        self.mapping = ActionMap(plant.sources[0], plant.owner, signals, units)
        handle_of = self.mapping.handle_of if columns else None
        self.host = Host(handle_of=handle_of, reorder_s=0)

    def take(self, kind: str, message: pb.Payload, device: str | None = None) -> list[Action]:
        name = f"spBv1.0/G/{kind}/E" + (f"/{device}" if device else "")
        topic = parse_topic(name)
        assert topic is not None
        return self.host.receive(topic, name, message.SerializeToString(), 100.0, NOW)


def make_lane_plant() -> Plant:
    """`alone` is not declared."""
    types = ("double", "int64", "uint64", "bool", "text")
    return make_plant(*({"name": n, "type": t} for n, t in zip(NAMES, types, strict=False)))


def births() -> tuple[pb.Payload, pb.Payload]:
    node = pb.Payload(timestamp=AT // 1000, seq=0)
    node.metrics.add(name="bdSeq", datatype=4, long_value=1)
    device = pb.Payload(timestamp=AT // 1000, seq=1)
    for alias, (name, datatype) in enumerate(zip(NAMES, (10, 4, 8, 11, 12, 10), strict=True)):
        device.metrics.add(name=name, alias=alias, datatype=datatype, is_null=True)
    return node, device


def readings(contents: Sequence[Content], table: SignalTable) -> list[Reading]:
    found: list[Reading] = []
    for content in contents:
        columns = content.numbers.finish(table)
        assert columns is None or content.others.isdisjoint(content.numbers.handles)
        found += [] if columns is None else columns.readings()
        found += content.readings
    return found


def of_each_signal(found: list[Reading]) -> dict[str, list[object]]:
    """What it says, in order; values as texts, since NaN is not itself."""
    by_path: dict[str, list[object]] = {}
    for each in found:
        said = repr(each.value), each.type, each.source_time, each.status, each.flags, each.line
        by_path.setdefault(each.signal.path, []).append(said)
    return by_path


numbers = [
    st.tuples(st.just("int_value"), st.integers(0, 2**32 - 1)),
    st.tuples(st.just("long_value"), st.integers(0, 2**64 - 1)),
    st.tuples(st.just("float_value"), st.floats(width=32)),
    st.tuples(st.just("double_value"), st.floats()),
    st.tuples(st.just("boolean_value"), st.booleans()),
]
values = st.one_of(*numbers, st.tuples(st.just("string_value"), st.text(max_size=3)))
times = st.one_of(st.none(), st.just(0), st.integers(1, 2**64 - 1), st.integers(1, 2 * AT // 1000))


@st.composite
def data(draw: st.DrawFn) -> pb.Payload:
    message = pb.Payload()
    if (at := draw(times)) is not None:
        message.timestamp = at
    odd = draw(st.booleans())  # else nearly ordinary
    for _ in range(draw(st.integers(0, 5))):
        metric = message.metrics.add()
        n = draw(st.integers(0, len(NAMES) if odd else 3))  # one alias too many
        if draw(st.booleans()) and n < len(NAMES):
            metric.name = NAMES[n]
        else:
            metric.alias = n
        field, value = draw(values if odd else st.one_of(*numbers))
        setattr(metric, field, value)
        if draw(st.integers(0, 3)) == 0:
            metric.datatype = draw(st.sampled_from(DATATYPES[field]))
        if (at := draw(times)) is not None:
            metric.timestamp = at
        match draw(st.integers(0, 25)) if odd else 25:
            case 0:
                metric.is_null = True
            case 1:
                metric.is_historical = True
            case 2:
                metric.is_transient = True
            case 3:
                metric.properties.keys.append("Quality")
                metric.properties.values.add(type=3, int_value=0)
    return message


@given(st.lists(data(), max_size=6))
def test_both_ways_give_the_same_values_in_the_same_order(messages: list[pb.Payload]) -> None:
    found = []
    for columns in (True, False):
        both = Both(columns=columns)
        node, device = births()
        actions = both.take("NBIRTH", node) + both.take("DBIRTH", device, "press")
        for seq, message in enumerate(messages, 2):
            message.seq = seq
            actions += both.take("DDATA", message, "press")
        actions += both.host.lose_all("gone")
        contents = both.mapping.map(actions, NOW)
        rejects = [(e.error_class, e.samples) for c in contents for e in c.rejects]
        if not columns:
            assert not any(isinstance(each, Numbers) for each in actions)
        found.append((of_each_signal(readings(contents, both.mapping.table)), rejects))
    (fast, fast_rejects), (slow, slow_rejects) = found
    assert fast_rejects == slow_rejects
    assert fast == slow


def test_ordinary_numbers_are_columns_and_others_are_not() -> None:
    both = Both(columns=True)
    node, device = births()
    both.take("NBIRTH", node)
    both.take("DBIRTH", device, "press")

    def send(seq: int, **fields: object) -> list[Action]:
        message = pb.Payload(timestamp=AT // 1000, seq=seq)
        message.metrics.add(alias=0, double_value=1.5)
        message.metrics.add(alias=1, long_value=2**64 - 5, **fields)  # type: ignore[arg-type]
        return both.take("DDATA", message, "press")

    (plain,) = send(2)
    assert isinstance(plain, Numbers)
    (kept,) = send(3, is_historical=True)
    assert isinstance(kept, Told) and kept.values[1].flags == Flag.HISTORICAL
    contents = both.mapping.map([plain, kept, plain], NOW)
    assert [(c.numbers.place, len(c.readings)) for c in contents] == [(2, 0), (0, 2), (2, 0)]
    together = both.mapping.map([plain, plain], NOW)
    assert [(c.numbers.place, len(c.readings)) for c in together] == [(4, 0)]
    numbers = readings(together, both.mapping.table)
    assert [each.value for each in numbers] == [1.5, -5, 1.5, -5]
    assert {each.source_time for each in numbers} == {AT}


@pytest.mark.parametrize("seconds", [0, 30])
def test_what_was_told_in_columns_is_stale_too(seconds: int) -> None:
    both = Both(columns=True)
    node, device = births()
    both.take("NBIRTH", node)
    both.take("DBIRTH", device, "press")
    message = pb.Payload(timestamp=AT // 1000, seq=2)
    message.metrics.add(alias=0, double_value=7.25)
    both.take("DDATA", message, "press")
    if seconds:  # born again without its device
        both.take("NBIRTH", births()[0])
        actions = both.host.tick(100.0 + seconds)
    else:
        actions = both.host.lose_all("gone")
    found = readings(both.mapping.map(actions, NOW), both.mapping.table)
    assert 7.25 in [each.value for each in found]


def test_an_alias_of_another_device_is_no_ordinary_one() -> None:
    message = pb.Payload(seq=1)
    message.metrics.add(alias=5, double_value=1.0)
    known = Known(None, "Uptime", 10, alias=5, handle=0)
    assert read_numbers(None, message, {5: known}, {}) is not None
    assert read_numbers("press", message, {5: known}, {}) is None
