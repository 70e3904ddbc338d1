"""What is known of a line now: only what vouches for its constraint unit makes it live, a state
that was refused is unknown at once, and wrong clocks change no verdict."""

import json
from typing import Any

import pytest

from aurelian.model.machine_states import PackMl
from aurelian.model.sample import BAD, Flag, Signal, ValueType
from tests.linerig import LINE, Rig, make_plant, moment, us

EXECUTE, ABORTED, HELD, SUSPENDED, STOPPED = (
    int(state)
    for state in (
        PackMl.EXECUTE,
        PackMl.ABORTED,
        PackMl.HELD,
        PackMl.SUSPENDED,
        PackMl.STOPPED,
    )
)
NO_COMMUNICATION = 0x408F0000
LAST_USABLE = 0x40900000
BOOTED_2000 = us(0) - 26 * 31_556_952 * 1_000_000


def running_rig(**more: Any) -> Rig:
    rig = Rig(make_plant(**more), beats=False)
    rig.send(0, "mill/state", EXECUTE)
    rig.tick(0.5)
    return rig


def hearable_rig(**more: Any) -> Rig:
    rig = Rig(make_plant(**more))
    rig.send(0, "mill/state", EXECUTE)
    return rig


def words(rig: Rig) -> list[str]:
    return [event["state"] for event in rig.published("state-changed")]


# --- one time, several values (14)


def test_of_two_states_with_one_time_the_later_one_counts() -> None:
    rig = Rig()
    rig.send(10, "mill/state", EXECUTE)
    rig.send(10, "mill/state", ABORTED, received=10.3, sub=1)
    assert rig.state == "short_stop"


@pytest.mark.parametrize("together", [True, False])
def test_of_three_states_with_one_time_the_last_to_come_counts(together: bool) -> None:
    rig = running_rig()
    samples = [
        rig.sample(10, "mill/state", value, received=10 + n / 10, sub=n)
        for n, value in enumerate((ABORTED, EXECUTE, ABORTED))
    ]
    for part in [samples] if together else [[each] for each in samples]:
        rig.fold(rig.record(part), 11)
    assert rig.state == "short_stop"
    assert rig.states()[0] == (0, 10, "running")


def test_of_two_reasons_and_two_totals_with_one_time_the_later_one_counts() -> None:
    rig = running_rig()
    rig.send(10, "mill/state", ABORTED)
    rig.send(10, "mill/reason", 20)
    rig.send(10, "mill/reason", 30, sub=1)
    assert rig.stops()[-1].reason == "Bearing failure"
    rig.send(11, "wash/good", 5)
    rig.send(11, "wash/good", 6, sub=1)
    rig.send(12, "wash/good", 7)
    rig.live(12, 22)
    assert rig.kpis()[-1].good == 2


# --- what vouches (18)


def test_a_machine_that_reports_its_state_on_change_and_a_temperature_each_second_is_live() -> None:
    rig = running_rig()
    for at in range(1, 121):
        rig.send(at, "mill/temperature", 40.0)
        rig.tick(at)
    assert words(rig) == ["running"]


@pytest.mark.parametrize(
    ("status", "flags", "value"),
    [
        (BAD, 0, 1.0),
        (0x80310000, 0, None),
        (NO_COMMUNICATION, 0, 1.0),
        (LAST_USABLE, 0, 1.0),
        (0x40910000, 0, 1.0),
        (0x40920000, 0, 1.0),
        (0, Flag.HISTORICAL, 1.0),
        (0, Flag.RETAINED, 1.0),
        (0, Flag.HEARTBEAT, 1.0),
        (0, Flag.TIME_REPLACED, 1.0),
    ],
)
def test_values_that_are_no_sign_of_life_do_not_keep_a_line_running(
    status: int, flags: int, value: float | None
) -> None:
    rig = running_rig()
    for at in range(1, 60):
        more = {"source_time": BOOTED_2000 + at} if flags & Flag.TIME_REPLACED else {}
        rig.send(at, "mill/speed", value, status=status, flags=Flag(flags), **more)
        rig.tick(at)
    assert rig.state == "no_data"


def test_members_that_nobody_declared_are_no_sign_of_life() -> None:
    rig = running_rig()
    mill = rig.signals["mill/state"].asset
    rig.signals["mill/status"] = Signal(
        "undeclared", mill, f"{LINE}/mill/status", ValueType.TEXT, discovered=True
    )
    for at in range(1, 60):
        rig.send(at, "mill/status", "offline")
        rig.tick(at)
    assert rig.state == "no_data"


def test_a_refused_state_is_unknown_at_once_with_its_reason() -> None:
    rig = running_rig()
    rig.refuse(5, "mill/state", "text where a number belongs")
    rig.hear(5, "mill")
    rig.send(5.2, "mill/temperature", 40.0)
    rig.tick(5.5)
    assert rig.states() == [(0, 5, "running"), (5, None, "no_data")]
    assert rig.newest_row().reason == "values refused: text where a number belongs"
    for at in range(6, 60):
        rig.send(at, "mill/temperature", 40.0)
        rig.hear(at, "mill")
        if at % 10 == 0:
            rig.refuse(at, "mill/state", "text where a number belongs")
        rig.tick(at)
    assert words(rig) == ["running", "no_data"]
    rig.send(60, "mill/state", EXECUTE)
    rig.tick(60.5)
    assert rig.states()[-1] == (60, None, "running")


def test_a_refusal_from_before_the_newest_state_changes_nothing() -> None:
    rig = running_rig()
    rig.send(10, "mill/state", HELD)
    rig.refuse(9, "mill/state", "late")
    rig.tick(10.5)
    assert rig.state == "short_stop"


def test_a_state_that_was_accepted_before_the_refusal_does_not_end_it() -> None:
    rig = running_rig()
    rig.refuse(9, "mill/state", "no number")
    rig.tick(9.5)
    rig.send(8, "mill/state", EXECUTE)
    rig.tick(10)
    assert rig.state == "no_data"


def test_a_refused_state_of_a_neighbour_says_nothing_of_the_line() -> None:
    rig = running_rig()
    rig.refuse(5, "wash/state", "no number")
    rig.hear(6)
    rig.tick(6)
    assert rig.states() == [(0, None, "running")]


@pytest.mark.parametrize(
    ("status", "reason"),
    [
        (NO_COMMUNICATION, "no communication with the machine"),
        (0x80310000, "no communication with the machine"),
        (LAST_USABLE, "the last value that could be read, not the present one"),
        (0x40910000, "a substitute value, not the machine's"),
        (0x808B0000, "the value is of bad quality"),
    ],
)
def test_a_state_that_was_not_read_now_is_unknown_at_once_and_heartbeats_do_not_bring_it_back(
    status: int, reason: str
) -> None:
    rig = running_rig()
    rig.send(10, "mill/state", EXECUTE, status=status)
    rig.live(10, 50, 1)
    assert rig.states() == [(0, 10, "running"), (10, None, "no_data")]
    assert rig.newest_row().reason == reason
    rig.send(51, "mill/state", EXECUTE)
    assert rig.state == "running"


@pytest.mark.parametrize("flags", [Flag.RETAINED, Flag.HISTORICAL, Flag.HEARTBEAT])
def test_a_retained_historical_or_repeated_state_ends_no_doubt(flags: Flag) -> None:
    rig = running_rig()
    rig.send(10, "mill/state", EXECUTE, status=NO_COMMUNICATION)
    rig.send(11, "mill/state", EXECUTE, flags=flags)
    rig.hear(11.5, "mill")
    rig.tick(12)
    assert rig.state == "no_data"


def test_a_machine_that_comes_back_with_a_clock_of_2000_says_so() -> None:
    rig = running_rig()
    flags = Flag.TIME_REPLACED
    rig.send(10, "mill/state", ABORTED, flags=flags, source_time=BOOTED_2000)
    assert rig.states() == [(0, 10, "running"), (10, None, "no_data")]
    for at in range(11, 60):
        source_time = BOOTED_2000 + at * 1_000_000
        rig.send(at, "mill/speed", 1.0, flags=flags, source_time=source_time)
        rig.tick(at)
    assert rig.newest_row().reason == "clock of the machine is 26 years behind"


def test_one_queued_message_of_a_machine_that_died_brings_nothing_back() -> None:
    """(e) The gateway was away for 100 s and takes one message that waited 30 s and more."""
    rig = running_rig()
    rig.tick(100)
    before = words(rig)
    rig.send(60, "mill/state", EXECUTE, received=100)
    for at in range(100, 140):
        rig.tick(at)
    assert words(rig) == before and before[-1] == "no_data"
    assert rig.kpis()[-1].production_s == 0


def test_a_queued_message_that_ends_no_silence_books_no_production() -> None:
    rig = running_rig()
    rig.live(1, 30, 1)
    rig.tick(75)
    rig.send(55, "mill/state", EXECUTE, received=100)
    rig.hear(100, "saw")
    rig.tick(101)
    assert rig.state == "no_data"
    rig.live(102, 112, 1, units=["saw"])
    assert rig.kpis()[-1].production_s == 30


def test_a_line_that_was_stopped_when_last_heard_and_comes_back_running_sends_no_stop() -> None:
    rig = running_rig()
    rig.send(10, "mill/state", ABORTED)
    rig.tick(100)
    rig.send(200, "mill/state", EXECUTE)
    rig.tick(201)
    assert words(rig) == ["running", "short_stop", "no_data", "running"]
    assert len(rig.stops()) == len(rig.published("stop-ended")) == 1


def test_a_line_that_comes_back_by_a_heartbeat_waits_for_its_state_before_it_is_stopped() -> None:
    rig = running_rig()
    rig.send(10, "mill/state", ABORTED)
    rig.tick(100)
    rig.hear(200, "mill")
    rig.tick(200.5)
    rig.send(201, "mill/state", EXECUTE, received=201)
    rig.tick(202)
    assert words(rig) == ["running", "short_stop", "no_data", "running"]
    rig.tick(300)
    rig.send(300, "mill/state", ABORTED)
    rig.tick(400)
    rig.hear(500, "mill")
    rig.tick(500.5)
    rig.tick(502.5)
    assert rig.states()[-1] == (500, None, "short_stop")  # it stands still


# --- clocks (19)


def test_a_clock_that_was_ahead_once_hides_nothing_afterwards() -> None:
    rig = running_rig()
    rig.send(3000 + 10, "mill/state", HELD, received=10)
    rig.send(20, "mill/state", EXECUTE)
    assert rig.states()[-1] == (20, None, "running")
    limited = running_rig(limits=LIMITS)
    limited.send(3000 + 10, "mill/temperature", 20.0, received=10)
    for at in range(11, 50):
        limited.send(at, "mill/temperature", 95.0)
        limited.tick(at)
    assert limited.alarms()[0].raised_at == moment(41)


LIMITS = {"high": 80, "delay_s": 30, "action": "Look."}


def test_repeats_teach_no_clock_raise_no_alarm_and_count_no_piece() -> None:
    """Each repeat is as late as its value is old, which looks like a clock that is slow; here they
    have values that would be seen if they counted."""
    rigs = []
    for repeated in (True, False):
        rig = Rig(make_plant(limits=LIMITS), beats=False)
        for at in range(120):
            samples = [rig.sample(at, "wash/good", at // 6), rig.sample(at, "mill/state", EXECUTE)]
            if repeated:
                of = {"received": at + 0.1, "flags": Flag.HEARTBEAT}
                samples.append(rig.sample(at - 10, "mill/temperature", 95.0, **of))
                samples.append(rig.sample(at - 10, "wash/good", at, **of))
                samples.append(rig.sample(at - 10, "mill/state", 9, **of))
            rig.fold(rig.record(samples), at)
            rig.tick(at + 0.5)
        rigs.append(rig)
    assert rigs[0].rows == rigs[1].rows and rigs[0].states() == rigs[1].states()
    assert rigs[0].alarms() == []


def test_a_clock_60_s_slow_is_live_once_it_is_known_and_its_alarms_wait_their_delay() -> None:
    rig = Rig(make_plant(limits=LIMITS), beats=False)
    raised = None
    for at in range(0, 90):
        state = [rig.sample(at - 60, "mill/state", EXECUTE, received=at)] if at % 5 == 0 else []
        hot = 95.0 if at >= 40 else 20.0
        values = [*state, rig.sample(at - 60, "mill/temperature", hot, received=at)]
        rig.fold(rig.record(values), at)
        rig.tick(at + 0.5)
        if raised is None and rig.alarms():
            raised = at
    assert rig.state == "running" and words(rig)[-1] == "running"
    assert raised is not None and 69 <= raised <= 71
    assert abs((rig.alarms()[0].raised_at - moment(70)).total_seconds()) < 2


def test_an_alarm_delay_of_30_s_does_not_fire_early_before_the_slow_clock_is_known() -> None:
    rig = Rig(make_plant(limits=LIMITS), beats=True)
    rig.send(0, "mill/state", EXECUTE)
    for at in range(1, 50):
        sample = rig.sample(at - 60, "mill/temperature", 95.0, received=at)
        rig.hear(at)
        rig.fold(rig.record([sample]), at)
        rig.tick(at + 0.5)
        assert not rig.alarms() or at >= 30


def test_a_restart_keeps_doubts_clocks_and_counters() -> None:
    rig = running_rig()
    rig.refuse(5, "mill/state", "no number")
    rig.tick(6)
    for at in range(7, 25):
        sample = rig.sample(at - 60, "saw/speed", 1.0, received=at)
        rig.fold(rig.record([sample]), at)
    rig.send(25, "wash/good", 120001)
    rig.send(26, "wash/good", 0)
    saved = json.loads(json.dumps(rig.lines.changed()))
    again = Rig(rig.plant, beats=False)
    again.lines.restore(saved)
    again.lines.recall(json.loads(json.dumps(rig.lines.memory())))
    status = again.lines.watched[LINE].status
    assert status.doubts == {rig.signals["mill/state"].id: ("values refused: no number", us(5))}
    (clock,) = status.clocks.values()
    assert clock.behind_us == 60_000_000
    total = status.totals[rig.signals["wash/good"].id]
    assert (total.total, total.held) == (120001, 0)
    again.tick(27)
    assert again.states() == []


# --- true causes (28)


def test_a_worn_machine_that_aborts_is_a_stop_with_its_reason_at_once() -> None:
    rig = hearable_rig()
    rig.fold(
        rig.record([rig.sample(60, "mill/reason", 30), rig.sample(60, "mill/state", ABORTED)]), 60
    )
    (stop,) = rig.stops()
    assert (stop.started_at, stop.reason, stop.ended_at) == (moment(60), "Bearing failure", None)


def test_the_reason_that_comes_after_the_state_is_named_in_the_same_stop() -> None:
    rig = hearable_rig()
    rig.send(60, "mill/state", ABORTED)
    rig.send(60.4, "mill/reason", 30)
    (stop,) = rig.stops()
    assert stop.reason == "Bearing failure"
    assert [e["reason"] for e in rig.published("state-changed")][-1] == "Bearing failure"


def test_a_blocked_line_names_the_machine_that_stands_and_its_reason() -> None:
    rig = hearable_rig()
    rig.send(50, "wash/state", STOPPED)
    rig.send(50, "wash/reason", 30)
    rig.send(60, "mill/state", SUSPENDED)
    rig.send(60, "mill/reason", 20)
    assert rig.state == "blocked"
    assert rig.newest_row().reason == "no room at Wash: Bearing failure"
    assert rig.newest_row().unit == rig.signals["wash/state"].asset


def test_a_reason_that_a_neighbour_gives_later_corrects_the_same_interval() -> None:
    rig = hearable_rig()
    rig.send(50, "wash/state", ABORTED)
    rig.send(60, "mill/state", SUSPENDED)
    assert rig.newest_row().reason == "no room at Wash: machine aborted"
    rig.send(65, "wash/reason", 30)
    assert rig.newest_row().reason == "no room at Wash: Bearing failure"
    assert rig.states() == [(0, 60, "running"), (60, None, "blocked")]
    assert len(rig.stops()) == 1


def test_a_starved_line_names_the_machine_before_it_that_stands() -> None:
    rig = hearable_rig()
    rig.send(50, "saw/state", ABORTED)
    rig.send(50, "saw/reason", 30)
    rig.send(60, "mill/state", SUSPENDED)
    assert rig.state == "starved"
    assert rig.newest_row().reason == "no parts from Saw: Bearing failure"


@pytest.mark.parametrize("code", [float("nan"), float("inf"), 1e300])
def test_a_stop_reason_that_is_no_code_is_none(code: float) -> None:
    rig = hearable_rig()
    rig.send(10, "mill/reason", code)
    rig.send(11, "mill/state", HELD)
    assert rig.newest_row().reason == "machine held"
