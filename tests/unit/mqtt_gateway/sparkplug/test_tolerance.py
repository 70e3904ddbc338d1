"""Edge nodes of the field: broken deaths, late data of the session before, other names, births that
a broker kept (T24 to T28)."""

import gzip
import zlib

import pytest

from aurelian.model.evidence import UNCERTAIN_LAST_USABLE
from aurelian.model.sample import Flag
from aurelian.pb import sparkplug_b_pb2 as pb
from mqtt_gateway.sparkplug.messages import (
    Action,
    Born,
    Died,
    Irregular,
    Rebirth,
    Refused,
    Stale,
    Told,
    parse_topic,
)
from tests.unit.mqtt_gateway.sparkplug.test_host import AT, EDGE, Line, kinds, values


def rules(actions: list[Action]) -> list[str]:
    return [each.rule for each in actions if isinstance(each, Irregular)]


def born(**settings: object) -> Line:
    line = Line(**settings)
    line.birth()
    line.device_birth()
    return line


@pytest.mark.parametrize("ahead", [1, 2, 127])
def test_a_death_whose_number_runs_ahead_is_a_death(ahead: int) -> None:
    """pysparkplug: 1 after 0; mqtt-spb-wrapper: 3 after 1."""
    line = Line()
    line.birth(bd_seq=200)
    line.device_birth()
    actions = line.death((200 + ahead) % 256)
    assert kinds(actions) == [Irregular, Died, Stale, Stale]
    assert rules(actions) == ["ndeath-bdseq"]
    assert not list(line.host.online())


def test_a_death_of_the_session_before_is_asked_about_and_the_node_lives() -> None:
    """T28: the broker brings it after the next birth."""
    line = Line()
    line.birth(bd_seq=3)
    line.birth(bd_seq=4)
    line.device_birth()
    assert kinds(line.death(3)) == [Irregular, Rebirth]
    line.now += 1
    line.birth(bd_seq=4)
    line.device_birth()
    line.now += 60
    assert Died not in kinds(line.host.tick(line.now))
    assert (EDGE, "press") in list(line.host.online())


def test_a_death_of_another_number_counts_where_nobody_answers() -> None:
    """A node whose death certificate is the same for ever."""
    line = Line()
    line.birth(bd_seq=3)
    line.device_birth()
    assert kinds(line.death(0)) == [Irregular, Rebirth]
    assert Died not in kinds(line.host.tick(line.now + 4))
    assert Died in kinds(line.host.tick(line.now + 5))
    assert not list(line.host.online())


def test_data_show_that_a_death_was_another_ones() -> None:
    line = born()
    line.death(2)
    line.now += 4
    assert values(line.data(4.0)) == [("Force", 4.0)]
    assert Died not in kinds(line.host.tick(line.now + 10))


def test_a_number_that_an_earlier_birth_had_is_no_death_at_once() -> None:
    """A node that begins at 0 again after a restart, and the death of its session before."""
    line = Line()
    line.birth(bd_seq=5)
    line.birth(bd_seq=0)
    assert kinds(line.death(5)) == [Irregular, Rebirth]


def test_a_host_that_never_asks_believes_no_death_that_may_be_another_ones() -> None:
    line = born(ask_rebirth=False)
    assert kinds(line.death(2)) == [Irregular]
    assert Died not in kinds(line.host.tick(line.now + 1000))
    assert Died in kinds(line.death(4))


def at(line: Line, milliseconds: int, value: float, seq: int) -> list[Action]:
    """Data whose message was sent so long after the last birth."""
    message = pb.Payload(timestamp=AT // 1000 + milliseconds, seq=seq)
    message.metrics.add(alias=2, double_value=value)
    return line.raw("DDATA", message.SerializeToString(), "press")


def test_late_data_of_the_session_before_do_not_take_the_number_of_new_ones() -> None:
    line = born()
    assert at(line, -1, 7.0, 2) == []
    new = at(line, 1, 8.0, 2)
    assert values(new) == [("Force", 8.0)]
    assert [each.error_class for each in new if isinstance(each, Refused)] == ["late"]
    assert values(at(line, 2, 9.0, 3)) == [("Force", 9.0)]
    line.now += 60
    assert line.host.tick(line.now) == []


def test_births_of_devices_that_came_before_their_nodes_count() -> None:
    """A node whose devices have connections of their own."""
    line = born()
    early = pb.Payload(timestamp=AT // 1000 + 20, seq=1)
    early.metrics.add(name="Force", datatype=10, double_value=3.0)
    line.send("DDATA", {"alias": 2, "double_value": 2.0}, device="press")  # up to number 2
    assert line.raw("DBIRTH", early.SerializeToString(), "press") == []
    birth = pb.Payload(timestamp=AT // 1000 + 10, seq=0)
    birth.metrics.add(name="bdSeq", datatype=4, long_value=3)
    actions = line.raw("NBIRTH", birth.SerializeToString())
    assert values(actions) == [("Force", 3.0)]
    assert list(line.host.online()) == [(EDGE, None), (EDGE, "press")]
    # What waits from the session before is none of this one.
    at(line, 15, 9.0, 7)
    birth.timestamp += 10
    assert values(line.raw("NBIRTH", birth.SerializeToString())) == []


def test_data_of_a_clock_that_was_set_back_are_kept() -> None:
    line = born()
    assert at(line, -1, 7.0, 2) == []
    line.now += 3
    later = line.host.tick(line.now)
    assert values(later) == [("Force", 7.0)] and rules(later) == ["time-before-birth"]
    assert values(at(line, 1, 8.0, 3)) == [("Force", 8.0)]


def test_stored_values_after_a_birth_are_no_late_data() -> None:
    line = born()
    message = pb.Payload(timestamp=AT // 1000 - 1, seq=2)
    message.metrics.add(alias=2, double_value=1.0, is_historical=True)
    assert values(line.raw("DDATA", message.SerializeToString(), "press")) == [("Force", 1.0)]


def test_long_after_a_birth_no_data_are_late() -> None:
    line = born()
    line.now += 11
    assert values(at(line, -1, 7.0, 2)) == [("Force", 7.0)]


def test_names_in_data_are_understood_where_aliases_exist() -> None:
    line = born()
    named = {"name": "Force", "datatype": 10, "double_value": 9.0}
    assert values(line.send("DDATA", named, device="press")) == [("Force", 9.0)]


def test_a_name_that_was_born_with_its_groups_prefix() -> None:
    """mqtt-spb-wrapper."""
    for strict in (False, True):
        line = Line(strict=strict)
        line.birth()
        line.send(
            "DBIRTH", {"name": "DATA/heat", "datatype": 10, "double_value": 1.0}, device="oven"
        )
        actions = line.send("DDATA", {"name": "heat", "double_value": 2.0}, device="oven")
        if strict:
            assert kinds(actions) == [Refused, Rebirth]
        else:
            assert values(actions) == [("DATA/heat", 2.0)] and rules(actions) == ["data-name"]


def test_a_message_without_a_number_is_taken_but_by_a_strict_host() -> None:
    assert rules(born().data(5.0, seq=None)) == ["no-seq"]
    assert values(born().data(5.0, seq=None)) == [("Force", 5.0)]
    strict = born(strict=True).data(5.0, seq=None)
    assert kinds(strict) == [Irregular, Refused, Rebirth]


def test_what_is_broken_in_a_birth_is_told_and_the_birth_counts() -> None:
    line = Line()
    birth = pb.Payload(timestamp=AT // 1000, seq=9)
    birth.metrics.add(name="Uptime", alias=1, long_value=9)
    birth.metrics.add(name="Load", alias=1, datatype=10, double_value=1.0)
    actions = line.raw("NBIRTH", birth.SerializeToString())
    assert set(rules(actions)) == {
        "nbirth-seq",
        "nbirth-bdseq",
        "nbirth-rebirth",
        "birth-alias",
        "birth-datatype",
    }
    assert Born in kinds(actions)
    data = pb.Payload(timestamp=AT // 1000, seq=10)
    data.metrics.add(name="Load", double_value=2.0)
    assert values(line.raw("NDATA", data.SerializeToString())) == [("Load", 2.0)]


def kept(line: Line, kind: str, payload: pb.Payload, device: str | None = None) -> list[Action]:
    name = f"spBv1.0/G/{kind}/E" + (f"/{device}" if device else "")
    topic = parse_topic(name)
    assert topic is not None
    return line.host.receive_kept(topic, name, payload.SerializeToString(), line.now, AT)


def kept_births(line: Line) -> list[Action]:
    node = pb.Payload(timestamp=AT // 1000, seq=0)
    node.metrics.add(name="bdSeq", datatype=4, long_value=7)
    node.metrics.add(name="Uptime", alias=1, datatype=8, long_value=9)
    device = pb.Payload(timestamp=AT // 1000, seq=1)
    device.metrics.add(name="Force", alias=2, datatype=10, double_value=1.0)
    # Retained messages come in any order.
    return kept(line, "DBIRTH", device, "press") + kept(line, "NBIRTH", node)


def test_births_that_a_broker_kept_name_what_comes_and_make_nobody_alive() -> None:
    """conformance-mqtt-aware: a cold start beside a Sparkplug aware broker."""
    line = Line()
    told = [each for each in kept_births(line) if isinstance(each, Told)]
    assert values(list(told)) == [("Uptime", 9), ("Force", 1.0)]
    for each in (each for part in told for each in part.values):
        assert each.flags == Flag.INITIAL | Flag.RETAINED and each.time == AT
        assert each.status == UNCERTAIN_LAST_USABLE
    assert list(line.host.online()) == []

    live = line.data(4.0, seq=77)
    assert kinds(live) == [Born, Born, Told] and values(live) == [("Force", 4.0)]
    assert list(line.host.online()) == [(EDGE, None), (EDGE, "press")]
    assert values(line.data(5.0, seq=78)) == [("Force", 5.0)]
    assert Died in kinds(line.death(7))


def test_a_birth_that_a_broker_kept_is_no_news_after_a_live_one() -> None:
    line = born()
    assert kept_births(line) == []
    assert values(line.data(4.0)) == [("Force", 4.0)]


def test_a_node_that_died_meanwhile_is_not_brought_back_by_what_the_broker_kept() -> None:
    line = Line()
    kept_births(line)
    line.death(7)
    assert kinds(line.data(4.0, seq=3)) == [Refused, Rebirth]


def test_a_payload_that_is_compressed_within_another() -> None:
    """As Eclipse Tahu and sparkplug-client send them; a bomb is refused."""
    line = born()
    data = pb.Payload(timestamp=AT // 1000, seq=2)
    data.metrics.add(alias=2, double_value=5.0)
    for pack in (zlib.compress, gzip.compress):
        packed = pb.Payload(uuid="SPBV1.0_COMPRESSED", body=pack(data.SerializeToString()))
        assert values(line.raw("DDATA", packed.SerializeToString(), "press")) == [("Force", 5.0)]
        data.seq += 1
    for body in (zlib.compress(bytes(17 * 2**20)), zlib.compress(b"\xff" * 9)[:-3], b"nothing"):
        packed = pb.Payload(uuid="SPBV1.0_COMPRESSED", body=body)
        (refused, *_) = line.raw("DDATA", packed.SerializeToString(), "press")
        assert isinstance(refused, Refused) and refused.error_class == "unreadable"
