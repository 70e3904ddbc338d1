"""A broker's counter of messages that it threw away, as gaps."""

import pytest

from mqtt_gateway.address import Address
from mqtt_gateway.broker_drops import BrokerDrops
from mqtt_gateway.connection import Wanted
from mqtt_gateway.packets import Arrived
from tests.unit.mqtt_gateway.payloads import AT, make_plant

SECOND = 1_000_000
TOPIC = "$SYS/broker/publish/messages/dropped"


def make_drops(topic: str = TOPIC) -> BrokerDrops:
    (model,) = make_plant({"topic": "p/{unit}", "dropped_topic": topic}).sources
    wanted = Wanted(Address(model), "aurelian-g-x", ("p/+",), False, 100, 60, 10, 5.0)
    return BrokerDrops(model, wanted)


def report(drops: BrokerDrops, *counts: str, topic: str = TOPIC) -> list[tuple[int, int, str]]:
    for n, count in enumerate(counts):
        at = AT + n * 10 * SECOND
        drops.note(Arrived(topic.encode(), count.encode(), 0, n == 0, False, at))
    return [(gap.from_time - AT, gap.to_time - AT, gap.reason) for gap in drops.take()]


def test_a_rise_is_a_gap_between_two_reports() -> None:
    reason = f"the broker threw away 5 messages, maybe of ours ({TOPIC})"
    drops = make_drops()
    assert report(drops, "12", "12", "17") == [(10 * SECOND, 20 * SECOND, reason)]
    assert drops.take() == []


@pytest.mark.parametrize(
    "counts", [("12",), ("12", "3", "3"), ("12", "many", "-4", "1e9", "9" * 99)]
)
def test_a_first_report_a_restart_and_nonsense_are_no_rise(counts: tuple[str, ...]) -> None:
    assert report(make_drops(), *counts) == []


def test_each_node_of_a_cluster_has_a_counter_of_its_own() -> None:
    drops = make_drops("$SYS/brokers/+/metrics/messages/dropped")
    for node, count in (("a", "5"), ("b", "900"), ("a", "5"), ("b", "901")):
        report_of = f"$SYS/brokers/{node}/metrics/messages/dropped"
        drops.note(Arrived(report_of.encode(), count.encode(), 0, False, False, AT))
    (gap,) = drops.take()
    assert "threw away 1 messages" in gap.reason and "/b/" in gap.reason


def test_counters_without_end_are_not_remembered_without_end() -> None:
    drops = make_drops("$SYS/+")
    for n in range(1_000):
        report(drops, "1", topic=f"$SYS/{n}")
    assert len(drops._last) == 100
    for n in range(5_000):
        drops.note(Arrived(b"$SYS/1", str(n).encode(), 0, False, False, AT))
    assert len(drops.take()) == 1_000
