"""The live picture and what browsers are sent: folding, freshness, conflation, resume, reset. No
I/O."""

import asyncio
import json
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from fastapi.sse import ServerSentEvent
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from aurelian.model import codec
from aurelian.model.asset import Asset
from aurelian.model.sample import Flag, Sample, SampleBatch, Signal, ValueType, make_batch
from dashboard import formats, pages, timeline
from dashboard.encoding import to_json
from dashboard.freshness import Freshness, Limits, freshness_of
from dashboard.guard import host_name
from dashboard.hub import Client, Hub
from dashboard.live import LivePlant
from dashboard.queries import Span
from dashboard.records import Message
from dashboard.settings import DashboardSettings

NOW = 1_800_000_000_000
SIGNAL = Signal("sig", "unit", "acme/site/area/line/unit/temp", ValueType.DOUBLE, "Cel", "source")


def plant() -> LivePlant:
    live = LivePlant(Limits(10_000, 30_000))
    live.put_asset(
        Asset(
            "line",
            "acme",
            "area",
            "line",
            "line",
            "acme/site/area/line",
            {"constraint": "unit", "units": ["unit"]},
        )
    )
    live.put_asset(
        Asset(
            "unit", "acme", "line", "unit", "unit", "acme/site/area/line/unit", {"source": "source"}
        )
    )
    return live


def batch(
    *values: float, at_ms: int = NOW, flags: Flag = Flag.NONE, status: int = 0
) -> SampleBatch:
    samples = [
        Sample(
            SIGNAL,
            value,
            ValueType.DOUBLE,
            (at_ms + place) * 1000,
            at_ms * 1000,
            status=status,
            flags=flags,
        )
        for place, value in enumerate(values)
    ]
    return make_batch(
        samples, owner="acme", gateway="g", boot=1, sequence=1, line="acme/site/area/line"
    )


def events(taken: list[ServerSentEvent]) -> list[tuple[int, str, dict]]:
    return [
        (int(event.id or 0), str(event.event), json.loads(event.raw_data or "")) for event in taken
    ]


def hub(live: LivePlant | None = None, **limits: int) -> Hub:
    return Hub(live or plant(), build="b", first_id=1000, **limits)


def joined(of: Hub, last_id: int | None = None) -> Client:
    client = of.join(last_id)
    if last_id is None:
        of.take(client, NOW)
    return client


# --- folding


def test_the_newest_source_time_wins_whatever_comes_last() -> None:
    live = plant()
    live.apply_batch(batch(1.0, at_ms=NOW), NOW)
    live.apply_batch(batch(2.0, at_ms=NOW - 5000), NOW)
    assert live.signals["sig"].value == 1.0


def test_within_a_batch_the_last_of_equal_times_wins_and_only_it_is_sent() -> None:
    live = plant()
    live.apply_batch(batch(1.0, 2.0, 3.0), NOW)
    assert live.frame(*live.take_changes())["v"] == [3.0]


def test_historical_samples_change_nothing_and_are_no_sign_of_life() -> None:
    live = plant()
    live.apply_batch(batch(1.0, flags=Flag.HISTORICAL), NOW)
    assert "sig" not in live.signals
    assert live.freshness("unit", NOW) is Freshness.STALE


def test_a_retained_value_is_shown_but_is_no_sign_of_life() -> None:
    live = plant()
    live.apply_batch(batch(7.0, flags=Flag.RETAINED), NOW)
    assert live.signals["sig"].value == 7.0
    assert live.freshness("unit", NOW) is Freshness.STALE


def test_a_repeated_value_is_neither_new_nor_a_sign_of_life() -> None:
    live = plant()
    live.apply_batch(batch(7.0, at_ms=NOW - 60_000), NOW)
    live.take_changes()
    repeat = batch(7.0, at_ms=NOW - 60_000, flags=Flag.HEARTBEAT)
    live.apply_batch(replace(repeat, gateway_time=repeat.gateway_time + 60_000_000), NOW)
    assert live.freshness("unit", NOW) is Freshness.STALE
    assert not live.frame(*live.take_changes())["v"]
    # One that we did not have is shown, and speaks for nobody either.
    live.apply_batch(batch(8.0, at_ms=NOW - 50_000, flags=Flag.HEARTBEAT), NOW)
    assert live.signals["sig"].value == 8.0
    assert live.freshness("unit", NOW) is Freshness.STALE


def test_a_signal_that_nobody_declared_is_sent_to_the_pages_once() -> None:
    live = plant()
    first = live.apply_batch(batch(1.0), NOW)
    assert [message.kind for message in first] == ["plant"]
    assert live.apply_batch(batch(2.0, at_ms=NOW + 1), NOW + 1) == []


def test_an_older_line_state_does_not_replace_a_newer_one() -> None:
    live = plant()
    body = {"line": "line", "state": "down", "unit": None, "reason": "", "since": NOW}
    assert len(live.findings.put_state(body)) == 1
    assert live.findings.put_state(body) == []
    assert live.findings.put_state(body | {"state": "running", "since": NOW - 1}) == []


def test_an_alarm_raised_again_after_it_was_cleared_stays_cleared() -> None:
    live = plant()
    alarm = {
        "id": "a",
        "asset": "unit",
        "line": "",
        "signal": None,
        "priority": "high",
        "message": "hot",
        "raised_at": NOW,
    }
    raised = live.findings.raise_alarm(alarm)
    assert raised[0].body["line_id"] == "line"
    assert [message.body["op"] for message in live.findings.clear_alarm("a")] == ["cleared"]
    assert live.findings.raise_alarm(alarm) == []
    assert live.findings.alarms == {}


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (2**53 + 1, "9007199254740993"),
        (float("nan"), None),
        (b"\x00\xff", "AP8="),
        (True, True),
        (2**53, 2**53),
    ],
)
def test_values_reach_json_without_losing_digits(value: object, wanted: object) -> None:
    assert to_json(value) == wanted  # type: ignore[arg-type]


# --- freshness


@pytest.mark.parametrize(
    ("age_ms", "wanted"),
    [(0, "live"), (10_000, "live"), (10_001, "late"), (30_000, "late"), (30_001, "stale")],
)
def test_freshness_follows_the_age_of_the_last_sign_of_life(age_ms: int, wanted: str) -> None:
    assert freshness_of(NOW - age_ms, None, NOW, Limits()) == wanted


def test_a_source_that_was_never_heard_is_stale() -> None:
    assert freshness_of(0, None, NOW, Limits()) is Freshness.STALE


def test_a_dead_source_is_stale_at_once_and_lives_again_when_heard() -> None:
    live = plant()
    live.presence.mark_heard("source", NOW * 1000, NOW)
    sent = live.presence.mark_silent("source", "connection lost", (NOW + 1000) * 1000)
    assert sent[0].body["dead"] == "connection lost"
    assert live.freshness("unit", NOW + 1000) is Freshness.STALE
    sent = live.presence.mark_heard("source", (NOW + 2000) * 1000, NOW + 2000)
    assert sent[0].body["dead"] is None
    assert live.freshness("line", NOW + 2000) is Freshness.LIVE


def test_a_death_that_is_older_than_the_last_sign_of_life_is_not_believed() -> None:
    live = plant()
    live.presence.mark_heard("source", NOW * 1000, NOW)
    assert live.presence.mark_silent("source", "late news", (NOW - 5000) * 1000) == []
    assert live.freshness("unit", NOW) is Freshness.LIVE


def test_a_machine_that_is_declared_silent_stays_so_while_its_source_beats() -> None:
    live = plant()
    death = codec.SourceEvent(source="source", time=NOW * 1000)
    death.death.assets.append("unit")
    death.death.reason = "cable"
    live.apply_source_event(death, NOW)
    beat = codec.SourceEvent(source="source", time=(NOW + 1000) * 1000)
    beat.heartbeat.heard_at = (NOW + 1000) * 1000
    live.apply_source_event(beat, NOW + 1000)
    assert live.freshness("unit", NOW + 1000) is Freshness.STALE
    live.apply_batch(batch(1.0, at_ms=NOW + 1500, status=0x80310000), NOW + 1500)
    assert live.freshness("unit", NOW + 1500) is Freshness.STALE
    live.apply_batch(batch(1.0, at_ms=NOW + 2000), NOW + 2000)
    assert live.freshness("unit", NOW + 2000) is Freshness.LIVE


def test_a_source_that_speaks_for_one_machine_says_nothing_of_its_neighbour() -> None:
    live = plant()
    live.put_asset(
        Asset(
            "other",
            "acme",
            "line",
            "unit",
            "other",
            "acme/site/area/line/other",
            {"source": "source"},
        )
    )
    beat = codec.SourceEvent(source="source", time=NOW * 1000)
    beat.heartbeat.heard_at = NOW * 1000
    beat.heartbeat.assets.append("unit")
    live.apply_source_event(beat, NOW)
    live.apply_batch(batch(1.0), NOW)
    assert live.freshness("unit", NOW) is Freshness.LIVE
    assert live.freshness("other", NOW) is Freshness.STALE
    beat.heartbeat.ClearField("assets")
    live.apply_source_event(beat, NOW)
    assert live.freshness("other", NOW) is Freshness.LIVE


def test_a_gateway_with_a_fast_clock_is_not_heard_in_the_future() -> None:
    live = plant()
    live.presence.mark_heard("source", (NOW + 3_600_000) * 1000, NOW)
    assert live.freshness("unit", NOW + 31_000) is Freshness.STALE


@given(
    st.lists(st.tuples(st.integers(0, 60_000), st.booleans()), max_size=20), st.integers(0, 120_000)
)
def test_a_stale_line_is_never_said_to_run(sent: list[tuple[int, bool]], later_ms: int) -> None:
    live = plant()
    live.findings.put_state(
        {"line": "line", "state": "running", "unit": None, "reason": "", "since": NOW}
    )
    for after, beat in sent:
        if beat:
            live.presence.mark_heard("source", (NOW + after) * 1000, NOW + after)
        else:
            live.presence.mark_silent("source", "gone", (NOW + after) * 1000)
    view = pages.line_view(live, live.tree.assets["line"], NOW + later_ms)
    assert (view.mark.word == "Running") == (view.freshness is not Freshness.STALE)
    assert view.freshness is not Freshness.STALE or view.mark.look.word == "No data"


# --- conflation, resume, reset


def test_values_are_conflated_to_the_newest_for_a_browser_that_is_slow() -> None:
    live = plant()
    on = hub(live)
    slow = joined(on)
    for value in range(50):
        live.apply_batch(batch(float(value), at_ms=NOW + value), NOW)
        on.tick()
    frames = [body for _, kind, body in events(on.take(slow, NOW)) if kind == "v"]
    assert [frame["v"] for frame in frames] == [[49.0]]


def test_states_are_never_conflated() -> None:
    on = hub()
    slow = joined(on)
    on.publish(Message("state", {"n": n}) for n in range(50))
    assert [body["n"] for _, kind, body in events(on.take(slow, NOW)) if kind == "state"] == list(
        range(50)
    )


def test_a_browser_too_slow_for_its_states_gets_a_reset_and_a_snapshot() -> None:
    on = hub(queue=10)
    slow, quick = joined(on), joined(on)
    seen = []
    for n in range(11):
        on.publish([Message("state", {"n": n})])
        seen += events(on.take(quick, NOW))
    sent = events(on.take(slow, NOW))
    assert [kind for _, kind, _ in sent] == ["reset", "snap"]
    assert sent[0][2] == {"cause": "overflow"}
    assert [body["n"] for _, _, body in seen] == list(range(11))


def test_a_browser_that_comes_back_gets_exactly_what_it_missed() -> None:
    on = hub()
    first = joined(on)
    on.publish(Message("state", {"n": n}) for n in range(5))
    seen = events(on.take(first, NOW))
    on.leave(first)
    on.publish(Message("state", {"n": n}) for n in range(5, 9))
    again = joined(on, last_id=seen[-1][0])
    seen += events(on.take(again, NOW))
    assert [body["n"] for _, _, body in seen] == list(range(9))
    assert len({number for number, _, _ in seen}) == 9


def test_a_browser_that_was_away_for_longer_than_the_ring_gets_one_reset() -> None:
    on = hub(ring=3)
    on.publish(Message("state", {"n": n}) for n in range(10))
    client = on.join(last_id=1002)
    assert [kind for _, kind, _ in events(on.take(client, NOW))] == ["reset", "snap"]


def test_a_number_of_an_earlier_or_later_run_gets_a_reset() -> None:
    on = hub()
    on.publish([Message("state", {})])
    for last_id in (5, 999_999):
        client = on.join(last_id=last_id)
        assert events(on.take(client, NOW))[0][1] == "reset"


def test_a_new_log_resets_everybody() -> None:
    on = hub()
    client = joined(on)
    on.publish([Message("state", {})])
    on.replace(plant())
    assert [kind for _, kind, _ in events(on.take(client, NOW))] == ["reset", "snap"]


@given(st.lists(st.sampled_from(["state", "value", "beat", "take"]), max_size=60))
def test_numbers_only_grow_and_no_state_is_lost_whatever_happens_when(steps: list[str]) -> None:
    live = plant()
    on = hub(live)
    client = joined(on)
    seen, states = [], 0
    for number, step in enumerate(steps):
        match step:
            case "state":
                on.publish([Message("state", {"n": states})])
                states += 1
            case "value":
                live.apply_batch(batch(float(number), at_ms=NOW + number), NOW)
                on.tick()
            case "beat":
                on.beat(NOW)
            case "take":
                seen += events(on.take(client, NOW))
    seen += events(on.take(client, NOW))
    numbers = [number for number, _, _ in seen]
    assert numbers == sorted(set(numbers))
    assert [body["n"] for _, kind, body in seen if kind == "state"] == list(range(states))


def test_browsers_that_begin_together_get_one_picture_and_all_that_follows_it() -> None:
    live = plant()
    on = hub(live)
    first, second = on.join(), on.join()
    live.apply_batch(batch(1.0, at_ms=NOW), NOW)
    seen = events(on.take(first, NOW))
    live.apply_batch(batch(2.0, at_ms=NOW + 1), NOW + 1)
    begun = events(on.take(second, NOW + 700))
    assert (seen[0][2]["now"], begun[0][2]["now"]) == (NOW, NOW + 700)
    on.problem = "Kafka does not answer"
    assert events(on.take(on.join(), NOW))[0][2]["problem"] == "Kafka does not answer"
    on.tick()
    for client in (first, second):
        assert [body["v"] for _, _, body in events(on.take(client, NOW + 1000))] == [[2.0]]


async def test_a_waiting_browser_is_woken_by_an_event_and_by_the_end() -> None:
    on = hub()
    client = joined(on)
    waiting = asyncio.ensure_future(client.wake.wait())
    on.publish([Message("state", {})])
    await asyncio.wait_for(waiting, 1)
    on.take(client, NOW)
    waiting = asyncio.ensure_future(client.wake.wait())
    on.close()
    await asyncio.wait_for(waiting, 1)


# --- the timeline, the words, the door


def test_every_moment_of_the_past_hours_has_one_state_in_the_timeline() -> None:
    zone, now = (
        ZoneInfo("Europe/Oslo"),
        datetime(2026, 10, 25, 3, 20, tzinfo=UTC),
    )  # the clocks went back at 01:00 UTC
    spans = [
        Span("running", now - timedelta(hours=6), now - timedelta(hours=2), None, ""),
        Span("down", now - timedelta(hours=1, minutes=30), None, None, "Jam"),
    ]
    rows = timeline.rows(spans, now, zone, 8)
    assert [row.label for row in rows] == ["04", "03", "02", "02", "01", "00", "23", "22"]
    for row in rows:
        filled = sum(bar.width for bar in row.bars)
        assert filled == pytest.approx(
            row.now_x if row.now_x is not None else timeline.WIDTH, abs=1
        )
    assert sum(row.lost_s for row in rows) == pytest.approx(5400)
    assert not any("Running" in bar.title for row in rows for bar in row.bars)


@pytest.mark.parametrize(
    ("seconds", "wanted"),
    [
        (8, "8 s"),
        (245, "4 min 05 s"),
        (720, "12 min"),
        (4320, "1 h 12 min"),
        (280_000, "3 d 5 h"),
        (-5, "0 s"),
    ],
)
def test_durations_have_at_most_two_parts(seconds: float, wanted: str) -> None:
    assert formats.duration(seconds) == wanted


@pytest.mark.parametrize(
    ("value", "wanted"),
    [
        (12345.6, "12,346"),
        (-3.14159, "−3.14"),
        (0.0421, "0.0421"),
        (-0.0000001, "0.0000"),
        (True, "on"),
        (None, "–"),
    ],
)
def test_values_are_said_with_the_digits_that_their_size_deserves(
    value: object, wanted: str
) -> None:
    assert formats.value(value) == wanted  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("header", "wanted"),
    [
        ("localhost:8080", "localhost"),
        ("[::1]:80", "::1"),
        ("EVIL.example", "evil.example"),
        ("", ""),
        ("[", ""),
    ],
)
def test_the_host_of_a_request_is_read_without_its_port(header: str, wanted: str) -> None:
    assert host_name(header) == wanted


def test_the_pages_refuse_to_listen_where_strangers_could_come(tmp_path: Path) -> None:
    pepper = tmp_path / "pepper"
    pepper.write_bytes(bytes(range(32)))
    with pytest.raises(ValidationError, match="no sign-in yet"):
        DashboardSettings(api_host="0.0.0.0", key_pepper_file=pepper)
    assert DashboardSettings(
        api_host="0.0.0.0", dashboard_allow_remote=True, key_pepper_file=pepper
    ).dashboard_allow_remote
    assert DashboardSettings(api_host="127.0.0.1", key_pepper_file=pepper).api_host == "127.0.0.1"
