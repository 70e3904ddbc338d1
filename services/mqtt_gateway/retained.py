"""What a broker keeps (retained messages), read once through a subscription of its own: a shared
one does not get it (MQTT 5, 4.8.2). Used by source.py."""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from dataclasses import replace

from paho.mqtt.enums import MQTTProtocolVersion

from mqtt_gateway.connection import Batch, Connection, Wanted, connected
from mqtt_gateway.packets import Arrived

_BATCH = 500
_TAKE_S = 0.2
_QUIET_S = 1.0
_MOST_S = 120.0


async def read_retained(
    wanted: Wanted, filters: tuple[str, ...], version: MQTTProtocolVersion
) -> AsyncGenerator[tuple[Connection, Batch, list[Arrived]], None]:
    """Yield retained messages of `filters`, each with the batch to hand to `Connection.stored` when
    they are kept; ends when none came for a second. What is published meanwhile comes to the shared
    subscription and is left out here.

    Raises:
        ConnectionLost: no broker, or it refuses.
    """
    once = replace(
        wanted, client_id=f"{wanted.client_id}-retained", filters=filters, clean=True, expiry_s=0
    )
    async with connected(once, version) as connection:
        began = last = time.monotonic()
        while time.monotonic() - last < _QUIET_S and time.monotonic() - began < _MOST_S:
            batch = await connection.take(_BATCH, _TAKE_S)
            kept = [each for each in batch.messages if each.retained]
            if kept:
                last = time.monotonic()
                yield connection, batch, kept
            elif batch.messages:
                connection.stored(batch)
