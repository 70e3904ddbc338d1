"""Who shares a commit: whoever comes while one runs, or soon after one began."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Iterable, Mapping, Sequence
from typing import cast

import pytest

from aurelian.edge.outbox.limits import OutboxFull
from aurelian.edge.outbox.outbox import Outbox
from aurelian.edge.outbox.rows import HourCount, OutboxEntry, RecordKind
from aurelian.edge.outbox.thread import OutboxThread

LONG_S = 0.5


class Commits:
    """Takes the place of the outbox and remembers each commit."""

    def __init__(self) -> None:
        self.seen: list[list[str]] = []
        self.bookmarks: dict[str, str] = {}
        self.refused: set[str] = set()

    def append(
        self,
        entries: Sequence[OutboxEntry],
        counts: Iterable[HourCount] = (),
        bookmarks: Mapping[str, str] | None = None,
    ) -> None:
        names = [entry.stream for entry in entries]
        if self.refused & set(names):
            raise OutboxFull("no room")
        self.seen.append(names)
        self.bookmarks |= bookmarks or {}

    def close(self) -> None:
        self.seen.append(["closed"])


def entry(name: str) -> list[OutboxEntry]:
    return [OutboxEntry(RecordKind.SAMPLES, name, name, 1, lambda _: b"")]


async def test_the_first_is_committed_at_once_and_those_soon_after_it_together() -> None:
    commits = Commits()
    async with OutboxThread(cast(Outbox, commits), pause_s=LONG_S) as thread:
        began = asyncio.get_running_loop().time()
        await thread.append(entry("a"))
        assert asyncio.get_running_loop().time() - began < LONG_S
        later = [asyncio.create_task(thread.append(entry(each))) for each in "bcd"]
        await asyncio.sleep(LONG_S / 10)
        assert commits.seen == [["a"]]
        await asyncio.gather(*later)
    assert commits.seen == [["a"], ["b", "c", "d"], ["closed"]]


async def test_an_event_waits_for_nobody_and_takes_those_that_wait_along() -> None:
    commits = Commits()
    async with OutboxThread(cast(Outbox, commits), pause_s=LONG_S) as thread:
        began = asyncio.get_running_loop().time()
        await thread.append(entry("a"))
        waits = asyncio.create_task(thread.append(entry("b")))
        await asyncio.sleep(0)
        await thread.append([OutboxEntry(RecordKind.EVENTS, "alarm", "s", 0, lambda _: b"")])
        assert asyncio.get_running_loop().time() - began < LONG_S
        await waits
    assert commits.seen == [["a"], ["b", "alarm"], ["closed"]]


async def test_who_brings_much_waits_for_nobody() -> None:
    commits = Commits()
    async with OutboxThread(cast(Outbox, commits), pause_s=LONG_S) as thread:
        began = asyncio.get_running_loop().time()
        await thread.append(entry("a"))
        half = [OutboxEntry(RecordKind.SAMPLES, "half", "half", 500, lambda _: b"")]
        await asyncio.gather(thread.append(half), thread.append(half))
        assert asyncio.get_running_loop().time() - began < LONG_S
    assert commits.seen == [["a"], ["half", "half"], ["closed"]]


async def test_who_is_waited_for_and_all_that_wait_before_it_are_committed_at_once() -> None:
    commits = Commits()
    async with OutboxThread(cast(Outbox, commits), pause_s=LONG_S) as thread:
        began = asyncio.get_running_loop().time()
        await thread.append(entry("a"))
        await thread.append(entry("b"), urgent=True)
        waits = asyncio.create_task(thread.append(entry("c")))
        await asyncio.sleep(0)
        thread.hurry()
        await waits
        assert asyncio.get_running_loop().time() - began < LONG_S
        thread.hurry()  # nothing waits
    assert commits.seen == [["a"], ["b"], ["c"], ["closed"]]


async def test_one_that_comes_rarely_never_waits() -> None:
    commits = Commits()
    async with OutboxThread(cast(Outbox, commits), pause_s=0.01) as thread:
        for name in "abc":
            await thread.append(entry(name))
            await asyncio.sleep(0.02)
    assert commits.seen == [["a"], ["b"], ["c"], ["closed"]]


async def test_one_that_is_refused_costs_no_other_of_its_commit() -> None:
    commits = Commits()
    commits.refused = {"b"}
    async with OutboxThread(cast(Outbox, commits), pause_s=LONG_S) as thread:
        await thread.append(entry("a"), bookmarks={"s": "1"})
        later = [
            asyncio.create_task(thread.append(entry(each), bookmarks={each: "2"})) for each in "bc"
        ]
        found = await asyncio.gather(*later, return_exceptions=True)
    assert isinstance(found[0], OutboxFull) and found[1] is None
    assert commits.seen == [["a"], ["c"], ["closed"]]
    assert commits.bookmarks == {"s": "1", "c": "2"}


async def test_whoever_is_cancelled_while_it_waits_leaves_nothing_to_be_done_later() -> None:
    commits = Commits()
    async with OutboxThread(cast(Outbox, commits), pause_s=LONG_S) as thread:
        await thread.append(entry("a"))
        waits = asyncio.create_task(thread.append(entry("b")))
        await asyncio.sleep(0)
        waits.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waits
    await asyncio.sleep(LONG_S * 1.2)
    assert commits.seen == [["a"], ["closed"]]


async def test_nothing_is_begun_once_the_outbox_is_closed() -> None:
    """Whoever waited for the end of a commit was cancelled with the rest of the gateway."""
    commits, begun = Commits(), threading.Event()
    go_on = threading.Event()
    commit = commits.append

    def slowly(*args: object, **named: object) -> None:
        begun.set()
        go_on.wait(10)
        commit(*args, **named)  # type: ignore[arg-type]

    commits.append = slowly  # type: ignore[method-assign, assignment]
    failed: list[object] = []
    asyncio.get_running_loop().set_exception_handler(lambda _, said: failed.append(said))
    async with OutboxThread(cast(Outbox, commits), pause_s=0.05) as thread:
        callers = [asyncio.create_task(thread.append(entry(each))) for each in "ab"]
        await asyncio.to_thread(begun.wait, 10)
        for caller in callers:
            caller.cancel()
        await asyncio.gather(*callers, return_exceptions=True)
        go_on.set()
    await asyncio.sleep(0.2)
    assert commits.seen == [["a"], ["closed"]] and not failed
