"""What a server's events mean: news, repeats, what a refresh does not list; over the ends of
processes."""

from __future__ import annotations

from pathlib import Path

import pytest

from aurelian.model import codec
from opcua_gateway.alarms import conditions, journal
from opcua_gateway.alarms.conditions import NOT_KNOWN, NOT_LISTED, Conditions, News
from opcua_gateway.alarms.journal import Journal


def alarm(
    condition: str, event_id: str, *, retain: bool = True, branch: str = "", severity: int = 500
) -> codec.MachineAlarm:
    return codec.MachineAlarm(
        condition=condition,
        branch=branch,
        event_id=event_id.encode(),
        retain=retain,
        active=retain,
        severity=severity,
        acked=False,
        source_time=1,
    )


class Server:
    """Conditions over one journal; a new one stands for the next process."""

    def __init__(self, folder: Path, min_severity: int = 1, *, everything: bool = False) -> None:
        self._made = (Journal(folder / "c.jsonl"), min_severity)
        self._everything = everything
        self.start()

    def start(self) -> None:
        """The next process."""
        self.conditions = Conditions(*self._made, everything=self._everything)

    def say(self, *alarms: codec.MachineAlarm, is_stored: bool = True) -> list[tuple[str, bool]]:
        """Condition and retain of what is told of events."""
        news = News()
        for each in alarms:
            self.conditions.take(each, news)
        return self._told(news, is_stored=is_stored)

    def list(self, *alarms: codec.MachineAlarm, missed: bool = False) -> list[tuple[str, bool]]:
        """The same of a refresh that lists these."""
        news = News()
        self.conditions.asked()
        self.conditions.refresh_started()
        for each in alarms:
            self.conditions.take(each, news)
        if missed:
            self.conditions.missed()
        self.conditions.refresh_ended(9, news)
        return self._told(news, is_stored=True)

    def _told(self, news: News, *, is_stored: bool) -> list[tuple[str, bool]]:
        self._made[0].write()
        stored = self.conditions.when_stored(news)
        if is_stored and stored is not None:
            stored()
        return [(each.condition + each.branch, each.retain) for each in news.told]


def test_what_is_listed_again_is_not_told_again_also_with_another_id(tmp_path: Path) -> None:
    server = Server(tmp_path)
    assert server.say(alarm("a", "1"), alarm("b", "2")) == [("a", True), ("b", True)]
    assert server.list(alarm("a", "1"), alarm("b", "99")) == []
    server.start()
    assert server.list(alarm("a", "1"), alarm("b", "98")) == []


def test_what_is_not_listed_has_gone_once(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.say(alarm("a", "1"), alarm("a", "2", branch="/old"), alarm("b", "3"))
    server.start()
    news = News()
    server.conditions.asked()
    server.conditions.refresh_started()
    server.conditions.take(alarm("a", "1"), news)
    server.conditions.refresh_ended(7, news)
    gone = {each.condition + each.branch: each for each in news.told}
    assert set(gone) == {"a/old", "b"} and news.cleared == 2
    for each in gone.values():
        assert (each.active, each.retain, each.source_time) == (False, False, 7)
        assert each.reason == NOT_LISTED and not each.HasField("acked")
    # Killed before the outbox had it: it is found out again, as the same event.
    server.start()
    again = News()
    server.conditions.asked()
    server.conditions.refresh_started()
    server.conditions.refresh_ended(7, again)
    ids = {each.condition + each.branch: each.event_id for each in again.told}
    assert ids["b"] == gone["b"].event_id and set(ids) == {"a", "a/old", "b"}


def test_an_event_that_was_not_stored_is_told_again_and_its_end_is_not_missed(
    tmp_path: Path,
) -> None:
    server = Server(tmp_path)
    assert server.say(alarm("a", "1"), is_stored=False) == [("a", True)]
    server.start()
    assert server.say(alarm("a", "1")) == [("a", True)]
    server.say(alarm("a", "2", retain=False), is_stored=False)
    server.start()
    # Its end never reached the outbox, and the server has forgotten the session.
    assert server.list() == [("a", False)]
    server.start()
    assert server.list() == []


def test_a_list_that_is_not_whole_or_not_ours_ends_nothing(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.say(alarm("a", "1"))
    assert server.list(missed=True) == []
    news = News()
    server.conditions.refresh_started()  # asked for by the process before, and sent again
    server.conditions.refresh_ended(1, news)
    assert news.told == []
    server.conditions.asked()
    server.conditions.refresh_started()
    server.conditions.session_began()
    server.conditions.refresh_ended(1, news)
    assert news.told == []
    assert server.list() == [("a", False)]


def test_where_the_server_has_no_list_nothing_counts_as_known_after_a_break(
    tmp_path: Path,
) -> None:
    server = Server(tmp_path)
    server.say(alarm("a", "1"))
    news = News()
    server.conditions.refresh_refused(5, news)
    assert [(each.condition, each.retain, each.reason) for each in news.told] == [
        ("a", False, NOT_KNOWN)
    ]
    # It is told anew when the server says it again.
    assert server.say(alarm("a", "2")) == [("a", True)]


@pytest.mark.parametrize("everything", [True, False])
def test_low_events_and_those_of_no_condition_are_left_out(
    tmp_path: Path, everything: bool
) -> None:
    server = Server(tmp_path, 400, everything=everything)
    assert server.say(alarm("a", "1", severity=399)) == []
    assert server.say(alarm("a", "2", severity=400)) == [("a", True)]
    assert server.say(alarm("a", "3", severity=1)) == [("a", True)]
    assert server.say(alarm("a", "4", severity=1, retain=False)) == [("a", False)]
    assert server.say(alarm("", "5", severity=400, retain=False)) == [("", False)] * everything
    assert server.say(alarm("", "6", severity=399, retain=False)) == []


def test_a_journal_that_was_cut_off_keeps_what_stands_before(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.say(alarm("a", "1"), alarm("b", "2"))
    file = tmp_path / "c.jsonl"
    file.write_bytes(file.read_bytes() + b'{"add": "EgdhbGFy\n{"gone": 5}\n[]\n{"stored"')
    server.start()
    assert server.list(alarm("b", "2")) == [("a", False)]


def test_the_journal_of_a_long_process_stays_short_and_true(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(journal, "_MOST_LINES", 50)
    server = Server(tmp_path)
    server.say(alarm("b", "old"))
    for n in range(300):
        server.say(alarm("a", f"on {n}"))
        server.say(alarm("a", f"off {n}", retain=False))
    server.say(alarm("c", "new"), is_stored=False)
    assert (tmp_path / "c.jsonl").read_bytes().count(b"\n") < 70
    server.start()
    assert [each.condition for each in server.conditions.known] == ["b", "c"]
    # What was not stored is told again, what was is not.
    assert server.list(alarm("b", "old"), alarm("c", "new")) == [("c", True)]


def test_lines_that_come_while_the_journal_is_written_anew_are_not_lost(tmp_path: Path) -> None:
    server = Server(tmp_path)
    server.say(alarm("a", "1"), alarm("b", "2"))
    kept = server._made[0]
    found = kept._read()
    kept.remove(("a", ""))
    kept._rewrite(found)
    kept.remove(("b", ""))
    server.start()
    assert not server.conditions.known


def test_of_a_server_that_ends_no_condition_the_oldest_are_not_known_any_more(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conditions, "MOST_KNOWN", 3)
    server = Server(tmp_path)
    told = server.say(*(alarm(f"c{n}", str(n)) for n in range(3)), alarm("c0", "x", severity=9))
    assert told == [("c0", True), ("c1", True), ("c2", True), ("c0", True)]
    assert server.say(alarm("c3", "3")) == [("c3", True), ("c1", False)]
    assert len(server.conditions.known) == 3
    server.start()
    assert [each.condition for each in server.conditions.known] == ["c2", "c0", "c3"]
