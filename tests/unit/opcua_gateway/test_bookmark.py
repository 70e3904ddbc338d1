"""How far a session's subscriptions are on the disk, as the outbox keeps it."""

from __future__ import annotations

import pytest

from opcua_gateway.bookmark import Bookmark


def test_what_it_writes_it_reads() -> None:
    written = Bookmark("5e551011")
    written.reached(7, 12, 1_000)
    written.reached(2**32 - 1, 1, 2_000)
    written.reached(7, 13, 3_000)
    read = Bookmark.parse(written.text)
    assert read == written
    assert [read.expected("5e551011", each) for each in (7, 2**32 - 1, 8)] == [13, 1, 1]


def test_the_numbers_of_another_session_mean_nothing() -> None:
    """A server that was restarted gives the numbers of subscriptions again."""
    bookmark = Bookmark("5e551011")
    bookmark.reached(7, 812, 1_000)
    assert bookmark.expected("new", 7) == 1
    assert bookmark.expected("", 7) is None  # of a version that had no names


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{",
        "[]",
        "null",
        '{"session": "a", "at": 1}',
        '{"session": "a", "at": 1, "next": {"x": 1}}',
        "7",
    ],
)
def test_anything_else_is_as_none(text: str) -> None:
    assert Bookmark.parse(text) == Bookmark()
