"""How far a server's clock is from ours; run by source.py beside a session.

It is told, never corrected: values keep the time that their server gave them (D8). Beyond five
minutes certificates and sessions fail too.
"""

from __future__ import annotations

import asyncio
import logging
from datetime import UTC, datetime

from asyncua import ua

from aurelian.model.time import SECOND_US, now_us, to_us
from opcua_gateway import metrics
from opcua_gateway.session import Session, SessionLost, translated

log = logging.getLogger(__name__)

ASK_EVERY_S = 60.0

TOLD_FROM_US = SECOND_US
"""An offset that a person is told of; smaller ones are the metric's alone."""


async def watch_clock(session: Session, source: str) -> None:
    """Ask for the server's time, at once and every minute, until cancelled or the session is lost;
    say so once in a session where it is off."""
    told = False
    while True:
        try:
            offset = await read_offset(session)
        except SessionLost:
            return  # others see to it
        if offset is not None:
            metrics.CLOCK_OFFSET.labels(source).set(offset / SECOND_US)
            if abs(offset) > TOLD_FROM_US and not told:
                told = True
                log.warning(
                    "the server's clock is off",
                    extra={"fields": {"source": source, "ahead_s": round(offset / SECOND_US, 1)}},
                )
        await asyncio.sleep(ASK_EVERY_S)


async def read_offset(session: Session) -> int | None:
    """Microseconds by which the server's clock is ahead of ours, negative: behind; half the way of
    the question is the error. None: the server does not say.

    Raises:
        SessionLost: it does not answer.
    """
    node = ua.ReadValueId(
        NodeId=ua.NodeId(ua.ObjectIds.Server_ServerStatus_CurrentTime),
        AttributeId=ua.AttributeIds.Value,
    )
    asked = now_us()
    with translated("read the server's time"):
        (answer,) = await session.services.read(ua.ReadParameters(NodesToRead=[node]))
    answered = now_us()
    said = answer.Value.Value if answer.Value is not None else None
    if not isinstance(said, datetime):
        return None
    return to_us(said.replace(tzinfo=UTC)) - (asked + answered) // 2
