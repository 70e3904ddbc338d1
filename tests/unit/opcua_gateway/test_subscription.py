"""Where lost messages stand among those that the server could send again."""

from __future__ import annotations

import asyncio
from collections.abc import Container
from typing import cast

import pytest

from opcua_gateway.decode.notifications import Published
from opcua_gateway.happenings import Happening, Message
from opcua_gateway.message_numbers import Acknowledgements, Window
from opcua_gateway.session import Session, SessionLost, Terms
from opcua_gateway.subscription import Standing, Subscription


class Server:
    """Sends again what it has kept."""

    def __init__(self, kept: Container[int]) -> None:
        self._kept = kept

    async def republish(self, subscription: int, number: int) -> Published | None:
        return Published(subscription, number, (), False) if number in self._kept else None


async def told(kept: Container[int], expected: int | None, message: Published) -> list[list[int]]:
    """Number of each message that goes on, and how many were lost before it."""
    out: asyncio.Queue[Happening] = asyncio.Queue()
    standing = Standing(Terms(1, 0.1, 1.0), Acknowledgements(Window(64)), expected)
    subscription = Subscription(cast(Session, Server(kept)), standing, out)
    await subscription.accept(message)
    found = [out.get_nowait() for _ in range(out.qsize())]
    return [[each.published.sequence, each.lost] for each in found if isinstance(each, Message)]


@pytest.mark.parametrize(
    ("kept", "expected"),
    [
        ((5, 6), [[5, 0], [6, 0], [7, 0]]),
        ((6,), [[6, 1], [7, 0]]),
        ((5,), [[5, 0], [7, 1]]),
        ((), [[7, 2]]),
    ],
)
async def test_a_loss_is_told_before_what_came_after_it(
    kept: tuple[int, ...], expected: list[list[int]]
) -> None:
    assert await told(kept, 5, Published(1, 7, (), False)) == expected


async def test_what_a_server_lists_and_cannot_send_again_is_lost() -> None:
    message = Published(1, 9, (7, 8, 9), False)
    assert await told((), None, message) == [[9, 2]]
    assert await told((8,), None, message) == [[8, 1], [9, 0]]


class HangsUp(Server):
    """The connection ends when it is asked for one number."""

    def __init__(self, kept: Container[int], at: int) -> None:
        super().__init__(kept)
        self._at = at

    async def republish(self, subscription: int, number: int) -> Published | None:
        if number == self._at:
            raise SessionLost("the connection ended")
        return await super().republish(subscription, number)


@pytest.mark.parametrize(
    ("kept", "message", "expected"),
    [
        # A keep-alive says the number of the next message.
        ((12,), Published(1, 13, (), True), [[12, 0], [13, 0]]),
        ((12, 13), Published(1, 13, (), False), [[12, 0], [13, 0], [14, 0]]),
        # 11 was told, or was gone, before the connection ended.
        ((11, 12, 13), Published(1, 13, (), False), [[11, 0], [12, 0], [13, 0], [14, 0]]),
        ((), Published(1, 13, (), False), [[14, 3]]),
    ],
)
async def test_a_break_while_missing_messages_are_asked_for_loses_none_untold(
    kept: tuple[int, ...], message: Published, expected: list[list[int]]
) -> None:
    """They counted as seen, as did the message behind them."""
    out: asyncio.Queue[Happening] = asyncio.Queue()
    first = 11 if 11 in kept or not kept else 12
    standing = Standing(Terms(1, 0.1, 1.0), Acknowledgements(Window(64)), first)
    broken = Subscription(cast(Session, HangsUp(kept, 12)), standing, out)
    with pytest.raises(SessionLost):
        await broken.accept(message)
    resumed = Subscription(cast(Session, Server(kept)), broken.standing, out)
    await resumed.replay()
    last = 13 if message.keep_alive else 14
    await resumed.accept(Published(1, last, (), False))
    found = [out.get_nowait() for _ in range(out.qsize())]
    assert [
        [each.published.sequence, each.lost] for each in found if isinstance(each, Message)
    ] == expected


class Hangs(Server):
    """No answer comes to what is asked for again."""

    async def republish(self, subscription: int, number: int) -> Published | None:
        await asyncio.Event().wait()
        raise AssertionError("never")


@pytest.mark.parametrize("is_full", [False, True])
async def test_a_session_that_ends_while_a_message_waits_loses_none_untold(is_full: bool) -> None:
    """Another task of the session finds that it has ended, and the one that asks for the messages
    before, or has no room to tell, is cancelled."""
    out: asyncio.Queue[Happening] = asyncio.Queue(maxsize=1)
    window = Window(3)
    standing = Standing(Terms(1, 0.1, 1.0), Acknowledgements(window), 12)
    kept = (12, 13)
    server = Server(kept) if is_full else Hangs(kept)
    broken = Subscription(cast(Session, server), standing, out)
    accepting = asyncio.create_task(broken.accept(Published(1, 13, (), False)))
    await asyncio.sleep(0.01)
    accepting.cancel()
    with pytest.raises(asyncio.CancelledError):
        await accepting
    told = [out.get_nowait() for _ in range(out.qsize())]
    resumed = Subscription(cast(Session, Server(kept)), broken.standing, out)
    replaying = asyncio.create_task(resumed.replay())
    while len(told) < 2:
        told.append(await asyncio.wait_for(out.get(), 5))
    await replaying
    messages = [each for each in told if isinstance(each, Message)]
    assert [[each.published.sequence, each.lost] for each in messages] == [[12, 0], [13, 0]]
    # What was withdrawn takes no place among those that wait for the outbox.
    for each in messages:
        assert each.acknowledgements is not None
        each.acknowledgements.stored(each.published.sequence)
    window.add(2, 0)
    assert window.room.is_set()


async def test_a_replay_that_ends_while_it_has_no_room_to_tell_begins_there_again() -> None:
    out: asyncio.Queue[Happening] = asyncio.Queue(maxsize=1)
    standing = Standing(Terms(1, 0.1, 1.0), Acknowledgements(Window(64)), 12)
    broken = Subscription(cast(Session, Server((12, 13, 14))), standing, out)
    replaying = asyncio.create_task(broken.replay())
    await asyncio.sleep(0.01)
    replaying.cancel()
    with pytest.raises(asyncio.CancelledError):
        await replaying
    assert out.qsize() == 1 and broken.standing.expected == 13
