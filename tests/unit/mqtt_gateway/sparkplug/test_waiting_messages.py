"""Messages that wait for one before them: each is a value, a reject or in a gap record, whatever
comes meanwhile."""

import pytest

from aurelian.model.sample import ValueType
from aurelian.pb import sparkplug_b_pb2 as pb
from mqtt_gateway.sparkplug.lane import DeviceNumbers
from mqtt_gateway.sparkplug.messages import Died, Missing, Refused, Stale, Told, parse_topic
from tests.unit.mqtt_gateway.sparkplug.test_host import AT, Line, kinds, values
from tests.unit.mqtt_gateway.sparkplug.test_layout import DEVICE, doubles, message_of

SECOND = 1_000_000


def born() -> Line:
    line = Line()
    line.birth()
    line.device_birth()
    return line


def data(seq: int, value: float, milliseconds: int = 0, **more: object) -> bytes:
    message = pb.Payload(timestamp=AT // 1000 + milliseconds, seq=seq)
    message.metrics.add(alias=2, double_value=value, **more)  # type: ignore[arg-type]
    return message.SerializeToString()


def test_a_gap_begins_with_the_last_message_that_came_in_order() -> None:
    line = born()
    topic = parse_topic("spBv1.0/G/DDATA/E/press")
    assert topic is not None
    for seq, after in ((2, 1), (4, 3), (5, 5)):
        line.host.receive(topic, "", data(seq, 1.0), line.now + after, AT + after * SECOND)
    (missing,) = (e for e in line.host.tick(line.now + 6) if isinstance(e, Missing))
    assert missing.since == AT + 1 * SECOND


def test_what_waits_counts_when_the_node_dies() -> None:
    line = born()
    line.data(7.0, seq=3)
    death = line.death(3)
    assert kinds(death) == [Missing, Told, Died, Stale, Stale]
    assert values(death) == [("Force", 7.0)]


def test_what_waits_counts_when_the_broker_is_lost() -> None:
    line = born()
    line.data(7.0, seq=3)
    assert kinds(line.host.lose_all("away")) == [Missing, Told, Died, Stale, Stale]


def test_what_waits_counts_by_the_births_before_the_next_one() -> None:
    line = born()
    line.raw("DDATA", data(3, 7.0), "press")
    birth = pb.Payload(timestamp=AT // 1000 + 9, seq=0)
    birth.metrics.add(name="bdSeq", datatype=4, long_value=3)
    actions = line.raw("NBIRTH", birth.SerializeToString())
    assert kinds(actions)[:2] == [Missing, Told] and values(actions) == [("Force", 7.0)]


def test_what_seems_to_be_of_the_session_before_is_refused_when_this_one_ends() -> None:
    line = born()
    assert line.raw("DDATA", data(2, 7.0, -1), "press") == []
    assert [e.error_class for e in line.death(3) if isinstance(e, Refused)] == ["late"]


def test_a_number_that_comes_twice_while_it_waits_loses_neither() -> None:
    line = born()
    assert line.data(7.0, seq=3) == []
    assert values(line.data(8.0, seq=3)) == [("Force", 8.0)]
    assert values(line.host.tick(line.now + 3)) == [("Force", 7.0)]


@pytest.mark.parametrize("flag", ["is_historical", "is_transient"])
def test_what_is_no_present_value_is_no_last_one(flag: str) -> None:
    line = born()
    line.data(7.0)
    line.raw("DDATA", data(3, 5.0, **{flag: True}), "press")
    stale = [
        each for action in line.death(3) if isinstance(action, Stale) for each in action.values
    ]
    assert ("Force", 7.0, ValueType.DOUBLE) in stale


def test_of_a_metric_twice_in_a_message_the_later_value_is_the_last() -> None:
    """Also where it has two types, and the message lies as one before."""
    numbers, aliases = DeviceNumbers(DEVICE), doubles(9)
    for n in range(4):
        message = message_of([float(n)] * 9)
        message.metrics[8].alias = 1
        message.metrics[0].long_value = message.metrics[8].long_value = n
        columns = numbers.read(message.SerializeToString(), message, aliases, {})
        assert columns is not None and columns.keys() == {ValueType.DOUBLE, ValueType.INT64}
        assert aliases[1].kind is ValueType.INT64
