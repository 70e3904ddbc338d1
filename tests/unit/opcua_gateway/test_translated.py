"""Whatever the library raises of a server's bytes ends the session, and nothing else."""

from __future__ import annotations

import asyncio
import struct
from collections.abc import Callable

import pytest
from asyncua import ua
from cryptography.exceptions import InvalidSignature, InvalidTag, UnsupportedAlgorithm

from opcua_gateway.session import SessionLost, TooManyPublishRequests, translated


def raiser(error: BaseException) -> Callable[[], object]:
    def fail() -> object:
        raise error

    return fail


@pytest.mark.parametrize(
    "fail",
    [
        lambda: struct.unpack("<I", b"\x00"),
        lambda: [][0],
        lambda: {}["no such"],
        lambda: len(None),  # type: ignore[arg-type]
        lambda: None.Value,  # type: ignore[attr-defined]
        lambda: 1 // 0,
        lambda: b"\xff".decode(),
        raiser(InvalidSignature()),
        raiser(InvalidTag()),
        raiser(UnsupportedAlgorithm("EC")),
        raiser(RecursionError()),
        raiser(Exception("Unhandled exception while sending request to OPC UA server")),
        raiser(ConnectionError()),
        raiser(AssertionError()),
        raiser(ua.UaError("no")),
        raiser(ua.UaStatusCodeError(ua.StatusCodes.BadInternalError)),
    ],
)
def test_what_the_library_raises_ends_the_session(fail: Callable[[], object]) -> None:
    with pytest.raises(SessionLost, match=r"cannot read: .") as lost, translated("read"):
        fail()
    assert lost.value.__cause__ is not None


@pytest.mark.parametrize(
    "error",
    [
        SessionLost("why"),
        TooManyPublishRequests(),
        asyncio.CancelledError(),
        KeyboardInterrupt(),
        MemoryError(),
    ],
)
def test_what_means_something_else_goes_on_as_it_is(error: BaseException) -> None:
    with pytest.raises(type(error)) as raised, translated("read"):
        raise error
    assert raised.value is error


async def test_a_task_that_is_cancelled_ends() -> None:
    async def wait() -> None:
        with translated("wait"):
            await asyncio.sleep(60)

    task = asyncio.create_task(wait())
    await asyncio.sleep(0)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
