"""What tile, machine and stream say of a machine that lies, repeats or falls silent: tables written
by hand from decision 9. A machine runs (state 6, temperature each second), then something happens;
looked at after 0, 15 and 40 s."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime

import pytest

from aurelian.model import codec
from aurelian.model.asset import Asset
from aurelian.model.sample import Flag, Sample, Signal, Value, ValueType, make_batch
from dashboard import formats, pages
from dashboard.freshness import Limits
from dashboard.live import LivePlant
from dashboard.marks import Mark
from dashboard.records import Message

S = 1_000_000
START = int(datetime(2026, 11, 26, 9, 41, tzinfo=UTC).timestamp()) * S
STATE = Signal("state", "unit", "acme/site/area/line/unit/state", ValueType.INT64, "", "src")
TEMP = Signal("temp", "unit", "acme/site/area/line/unit/temp", ValueType.DOUBLE, "Cel", "src")
OTHER = Signal(
    "other", "unit", "acme/site/area/line/unit/status", ValueType.TEXT, "", "src", discovered=True
)
CLOCK_2000 = int(datetime(2000, 1, 1, tzinfo=UTC).timestamp()) * S
REPLACED = Flag.TIME_REPLACED
RUNNING = ("Running", "")


class Bench:
    """A line with one machine, and what is said of it."""

    def __init__(self, state_signal: bool = True) -> None:
        self.live = LivePlant(Limits())
        signals = [{"id": "temp", "name": "temp", "type": 1, "unit": "Cel", "role": "temperature"}]
        if state_signal:
            signals.insert(0, {"id": "state", "name": "state", "type": 2, "role": "state"})
        line = {"constraint": "unit", "units": ["unit"], "time_zone": "UTC"}
        self.live.put_asset(
            Asset("line", "acme", "area", "line", "line", "acme/site/area/line", line)
        )
        unit = {"source": "src", "signals": signals}
        self.live.put_asset(
            Asset("unit", "acme", "line", "unit", "unit", "acme/site/area/line/unit", unit)
        )
        self.sent: list[Message] = []

    def value(
        self,
        signal: Signal,
        value: Value,
        at: int,
        *,
        source: int | None = None,
        status: int = 0,
        flags: Flag = Flag.NONE,
    ) -> None:
        kind = ValueType.NULL if value is None else signal.type
        sample = Sample(signal, value, kind, at if source is None else source, at, 0, status, flags)
        batch = make_batch([sample], owner="acme", gateway="g", boot=1, sequence=1, line="line")
        self.sent += self.live.apply_batch(batch, at // 1000)

    def refuse(self, signal: Signal, reason: str, at: int) -> None:
        event = codec.SourceEvent(owner="acme", source="src", time=at)
        event.refused.asset, event.refused.signal = signal.asset, signal.id
        event.refused.reason = reason
        self.sent += self.live.apply_source_event(event, at // 1000)

    def beat(self, at: int, heard_at: int | None = None) -> None:
        event = codec.SourceEvent(owner="acme", source="src", time=at)
        event.heartbeat.heard_at = at if heard_at is None else heard_at
        event.heartbeat.assets.append("unit")
        self.sent += self.live.apply_source_event(event, at // 1000)

    def run(self, offset_us: int = 0) -> None:
        """Twenty seconds of a healthy machine; the line is said to run."""
        for second in range(21):
            at = START + second * S
            self.value(STATE, 6, at, source=at + offset_us)
            self.value(TEMP, 20.0 + second, at, source=at + offset_us)
        body = {"line": "line", "state": "running", "unit": "unit", "reason": ""}
        self.live.findings.put_state(body | {"since": START // 1000})

    def seen(self, at: int) -> tuple[str, Mark, Mark]:
        """Freshness, the line's mark, the machine's mark."""
        view = pages.line_view(self.live, self.live.tree.assets["line"], at // 1000)
        return str(view.freshness), view.mark, view.machines[0].mark


def text_refused(bench: Bench, at: int) -> None:
    bench.refuse(STATE, "'9' came as TEXT, declared is INT64", at)


def word_offline(bench: Bench, at: int) -> None:
    bench.refuse(STATE, "'Offline' came as TEXT, declared is INT64", at)


def undeclared_only(bench: Bench, at: int) -> None:
    bench.value(OTHER, "offline", at)


def clock_of_2000(bench: Bench, at: int) -> None:
    bench.value(STATE, 9, at, source=CLOCK_2000, flags=REPLACED)


def no_communication(bench: Bench, at: int) -> None:
    bench.value(STATE, 6, at, source=START + 20 * S, status=0x408F0000)
    bench.value(TEMP, 40.0, at, source=START + 20 * S, status=0x408F0000)


def queued(bench: Bench, at: int) -> None:
    if at < START + 22 * S:
        bench.value(STATE, 6, at, source=at - 100 * S)
        bench.value(TEMP, 21.0, at, source=at - 100 * S)


def bad_state(bench: Bench, at: int) -> None:
    bench.value(STATE, 6, at, status=0x80310000)
    bench.value(TEMP, 21.0, at)


def empty_state(bench: Bench, at: int) -> None:
    bench.value(STATE, None, at)
    bench.value(TEMP, 21.0, at)


def other_refused(bench: Bench, at: int) -> None:
    bench.refuse(TEMP, "'warm' came as TEXT, declared is DOUBLE", at)


def history_only(bench: Bench, at: int) -> None:
    bench.value(TEMP, 21.0, at, source=at - 86_400 * S, flags=Flag.HISTORICAL)


def retained_only(bench: Bench, at: int) -> None:
    bench.value(STATE, 6, at, flags=Flag.RETAINED)


def silent(bench: Bench, at: int) -> None:
    pass


def temperature_only(bench: Bench, at: int) -> None:
    bench.value(TEMP, 21.0, at)


def beats_only(bench: Bench, at: int) -> None:
    bench.beat(at)


def refused_once_then_temperature(bench: Bench, at: int) -> None:
    if at < START + 22 * S:
        text_refused(bench, at)
    bench.value(TEMP, 21.0, at)
    bench.beat(at)


ENDED = ("No data",) * 3
SILENT = ("Running", "Running", "No data")
STAYS = ("Running",) * 3


@pytest.mark.parametrize(
    ("happens", "words", "fresh", "says"),
    [
        # (a) its values are all refused
        (text_refused, ENDED, "stale", "last Running 09:41:20: values refused: '9' came as TEXT"),
        (word_offline, ENDED, "stale", "values refused: 'Offline' came as TEXT"),
        (refused_once_then_temperature, ENDED, "live", "last Running 09:41:21: values refused"),
        (other_refused, SILENT, "stale", "last Running 09:41:20: values refused: 'warm'"),
        # (b) only members that nobody declared
        (undeclared_only, SILENT, "stale", "only values come that the plant model does not have"),
        # (c) it restarts with a clock of 2000
        (clock_of_2000, ENDED, "stale", "clock of the machine is 26 years behind"),
        # (d) last usable value, no communication
        (no_communication, ENDED, "stale", "no communication with the machine"),
        # (e) one queued message of a machine that has died since
        (queued, SILENT, "stale", "last Running 09:41:20"),
        # relatives
        (bad_state, ENDED, "live", "bad quality: no communication"),
        (empty_state, ENDED, "live", "its state has no value"),
        (history_only, SILENT, "stale", "last Running 09:41:20"),
        (retained_only, SILENT, "stale", "last Running 09:41:20"),
        (silent, SILENT, "stale", "last Running 09:41:20"),
        # the opposite
        (temperature_only, STAYS, "live", "for 1 min"),
        (beats_only, STAYS, "live", "for 1 min"),
    ],
)
def test_what_is_known_is_said_with_its_reason(
    happens: Callable[[Bench, int], None], words: tuple[str, ...], fresh: str, says: str
) -> None:
    bench = Bench()
    bench.run()
    assert bench.seen(START + 20 * S)[1].word == "Running"
    seen = []
    for second in range(21, 61):
        at = START + second * S
        happens(bench, at)
        if second in (21, 35, 60):
            freshness, line, unit = bench.seen(at)
            assert line.word == unit.word, (second, line, unit)
            assert freshness != "stale" or (line.word, unit.word) == ("No data",) * 2
            seen.append((freshness, line, unit))
    assert tuple(line.word for _, line, _ in seen) == words, seen
    freshness, line, unit = seen[-1]
    assert freshness == fresh
    assert says in line.text
    if line.word == "No data":
        assert says in unit.text


def test_an_accepted_state_ends_what_was_wrong_and_a_heartbeat_does_not() -> None:
    bench = Bench()
    bench.run()
    text_refused(bench, START + 21 * S)
    bench.beat(START + 22 * S)
    bench.value(TEMP, 21.0, START + 22 * S)
    assert bench.seen(START + 22 * S)[1].word == "No data"
    bench.value(STATE, 6, START + 23 * S, flags=Flag.RETAINED)
    assert bench.seen(START + 23 * S)[1].word == "No data", "a retained value does not vouch"
    bench.value(STATE, 6, START + 24 * S)
    assert bench.seen(START + 24 * S)[1].word == "Running"
    told = [message.body["ended"] for message in bench.sent if message.kind == "evidence"]
    assert list(dict.fromkeys(told)) == ["values refused: '9' came as TEXT, declared is INT64", ""]


def test_a_refusal_that_is_older_than_the_last_accepted_state_is_not_believed() -> None:
    bench = Bench()
    bench.run()
    text_refused(bench, START + 19 * S)
    assert bench.seen(START + 20 * S)[1].word == "Running"


def test_a_value_whose_successors_are_refused_is_not_shown_as_good() -> None:
    bench = Bench()
    bench.run()
    temp = bench.live.signals["temp"]
    bench.refuse(TEMP, "'warm' came as TEXT, declared is DOUBLE", START + 21 * S)
    view = pages.value_view(bench.live, temp, START // 1000 + 22_000, UTC)
    assert (view.quality, view.status) == ("Bad", "newer values are refused")
    bench.live.take_changes()
    bench.value(TEMP, 42.0, START + 23 * S)
    view = pages.value_view(bench.live, temp, START // 1000 + 23_000, UTC)
    assert (view.quality, view.text) == ("Good", "42.00")


def test_a_healthy_machine_with_undeclared_members_sends_no_evidence() -> None:
    bench = Bench()
    for second in range(60):
        at = START + second * S
        bench.value(STATE, 6, at)
        bench.value(OTHER, "ok", at)
    assert [message for message in bench.sent if message.kind == "evidence"] == []


def test_a_slow_clock_is_learned_and_a_fast_one_makes_nothing_new() -> None:
    slow = Bench()
    slow.run(offset_us=-60 * S)
    assert slow.seen(START + 20 * S)[:1] == ("live",)
    fast = Bench()
    fast.run()
    fast.value(TEMP, 20.0, START + 21 * S, source=START + 50 * 60 * S)
    fast.value(TEMP, 95.0, START + 22 * S)
    assert fast.live.signals["temp"].value == 95.0


def test_of_two_values_with_one_time_the_later_ordinal_is_shown() -> None:
    bench = Bench()
    bench.value(STATE, 6, START)
    for value, sub in ((9, 1), (4, 2), (9, 3)):
        sample = Sample(STATE, value, ValueType.INT64, START, START + sub, sub=sub)
        batch = make_batch([sample], owner="acme", gateway="g", boot=1, sequence=1, line="line")
        bench.live.apply_batch(batch, START // 1000)
    assert bench.live.signals["state"].value == 9


def test_a_line_without_a_state_signal_says_so() -> None:
    bench = Bench(state_signal=False)
    bench.value(TEMP, 21.0, START)
    body = {"line": "line", "state": "no_data", "unit": "unit", "reason": ""}
    bench.live.findings.put_state(body | {"since": START // 1000})
    freshness, line, unit = bench.seen(START + S)
    assert (freshness, line.word, line.text) == ("live", "Reporting", "no state signal")
    assert unit.word == "Reporting"
    freshness, line, _ = bench.seen(START + 60 * S)
    assert (freshness, line.word, line.text) == ("stale", "No data", "since 09:41:00")


def test_a_stopped_line_is_shown_with_its_reason() -> None:
    bench = Bench()
    bench.run()
    body = {"line": "line", "state": "down", "unit": "unit", "reason": "Bearing failure"}
    bench.live.findings.put_state(body | {"since": (START + 20 * S) // 1000})
    bench.value(STATE, 9, START + 20 * S)
    _, line, unit = bench.seen(START + 22 * S)
    assert (line.word, line.text) == ("Down", "for 2 s: Bearing failure")
    assert unit.word == "Aborted"


def test_the_snapshot_says_the_same_as_the_stream() -> None:
    bench = Bench()
    bench.run()
    clock_of_2000(bench, START + 21 * S)
    (told,) = [m.body for m in bench.sent if m.kind == "evidence"]
    assert bench.live.snapshot()["evidence"] == [told]
    assert told["ended_at"] == (START + 21 * S) // 1000
    assert told["last"] == 6
    assert bench.live.snapshot()["stateless"] == []


def test_an_open_case_is_on_the_tile_of_its_line_and_a_closed_one_is_not() -> None:
    bench = Bench()
    bench.run()
    assert pages.line_view(bench.live, bench.live.tree.assets["line"], 0).cases.text == ""
    case = {"id": "1", "severity": "high", "opened_at": 1, "drivers": []}
    bench.live.findings.put_case("unit", case, 1)
    sites = pages.sites(bench.live, START // 1000)
    cases = sites[0].lines[0].cases
    assert (cases.text, cases.tone) == ("Case open: unit", "down")
    shown = pages.shown_on_plant(bench.live, sites)
    assert [each["case"] for each in bench.live.snapshot(shown)["health"]] == [case]
    bench.live.findings.put_case("unit", None, 2)
    assert pages.line_view(bench.live, bench.live.tree.assets["line"], 0).cases.text == ""


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0"),
        (1234, "1,234"),
        (-17, "0 (the gateway's count is 17 behind)"),
        (-5200, "0 (the gateway's count is 5,200 behind)"),
    ],
)
def test_in_flight_is_never_negative_without_its_reason(count: int, text: str) -> None:
    assert formats.in_flight(count) == text
