"""When a broker's count of what it gave up is taken for messages of ours."""

from mqtt_gateway.drops import Drops

BEGIN = 1_790_000_000_000_000


def test_a_rise_while_the_broker_had_reason_is_ours_since_then() -> None:
    drops = Drops()
    drops.suspect(BEGIN, 0.0)
    assert drops.told(b"7", 5.0) is None  # the first count says nothing of a rise
    assert drops.told(b"7", 15.0) is None
    assert drops.told(b"12", 24.0) == (5, BEGIN)
    assert drops.told(b"13", 24.5) == (1, BEGIN)  # what was given up last is counted later


def test_a_rise_without_reason_is_of_other_clients() -> None:
    drops = Drops(3)
    assert drops.told(b"9", 1.0) is None  # never away
    drops.suspect(BEGIN, 1.0)
    assert drops.told(b"20", 27.0) is None  # too long ago
    drops.suspect(BEGIN + 5, 27.0)
    assert drops.told(b"21", 28.0) == (1, BEGIN + 5)


def test_one_suspicion_after_another_goes_back_to_the_first() -> None:
    drops = Drops(0)
    drops.suspect(BEGIN, 0.0)
    drops.suspect(BEGIN + 9, 20.0)
    assert drops.told(b"2", 40.0) == (2, BEGIN)


def test_a_broker_that_began_anew_counts_from_nothing() -> None:
    drops = Drops(1000)
    drops.suspect(BEGIN, 0.0)
    assert drops.told(b"4", 1.0) == (4, BEGIN)


def test_what_is_no_count_is_passed_over() -> None:
    drops = Drops(5)
    drops.suspect(BEGIN, 0.0)
    for payload in (b"", b"-1", b"1.5", b"many", "²".encode(), b"9" * 5_000, b"\xff"):
        assert drops.told(payload, 1.0) is None
    assert drops.count == 5
