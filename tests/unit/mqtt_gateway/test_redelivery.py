"""Which messages count as sent again where the broker does not say so."""

from mqtt_gateway.packets import Arrived
from mqtt_gateway.redelivery import Redelivery


def message(number: int, payload: bytes, topic: bytes = b"a") -> Arrived:
    """`number`: its packet identifier, 0: of QoS 0."""
    return Arrived(topic, payload, number, retained=False, again=False, at=1)


def again(redelivery: Redelivery, *messages: Arrived) -> list[bool]:
    return [each.again for each in redelivery.marked(messages)]


def test_what_was_not_acknowledged_is_known_on_the_next_connection_and_once() -> None:
    redelivery = Redelivery()
    stored = redelivery.received([message(1, b"1"), message(2, b"2")])
    redelivery.received([message(3, b"3")])
    redelivery.acknowledged(stored)
    redelivery.connected(session_present=True)
    assert again(redelivery, message(1, b"3"), message(2, b"3")) == [True, False]


def test_another_topic_another_payload_and_qos_0_are_new() -> None:
    redelivery = Redelivery()
    redelivery.received([message(1, b"1"), message(2, b"2"), message(3, b"3")])
    redelivery.connected(session_present=True)
    new = [message(4, b"1", b"b"), message(5, b"4"), message(0, b"1")]
    assert again(redelivery, *new) == [False, False, False]


def test_without_our_session_nothing_is_sent_again() -> None:
    redelivery = Redelivery()
    redelivery.received([message(1, b"1")])
    redelivery.connected(session_present=False)
    assert again(redelivery, message(1, b"1")) == [False]


def test_it_is_waited_for_only_among_the_first_messages() -> None:
    redelivery = Redelivery()
    redelivery.received([message(1, b"1")])
    redelivery.connected(session_present=True)
    assert again(redelivery, message(1, b"x"), message(2, b"y")) == [False, False]
    assert again(redelivery, message(3, b"1")) == [False]


def test_what_a_second_break_leaves_open_is_awaited_too() -> None:
    redelivery = Redelivery()
    redelivery.received([message(1, b"1")])
    redelivery.connected(session_present=True)
    redelivery.connected(session_present=True)
    assert again(redelivery, message(1, b"1")) == [True]
