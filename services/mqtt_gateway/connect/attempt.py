"""One connection to a broker for a look at it, in steps: by the gateway's own code, with a client
id of its own and a clean session, so that a gateway that runs is not disturbed and nothing stays at
the broker. Used by the ladder, by the tree of topics and by the trial of a plant file."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import replace
from typing import cast

import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from aurelian.model.source_model import SourceModel
from mqtt_gateway.address import Address
from mqtt_gateway.connection import Batch, Connection, ConnectionLost, Wanted
from mqtt_gateway.opening import (
    FIRST_VERSION,
    answer,
    close,
    open_wire,
    other,
    refused_by,
    subscribe,
)
from mqtt_gateway.settings import MqttGatewaySettings
from mqtt_gateway.wire import Wire

UNSUPPORTED_VERSION = 132
_GOODBYE_S = 1.0


def wanted_of(model: SourceModel, settings: MqttGatewaySettings) -> Wanted:
    """As the source is connected, but for its client id, its session and its filters."""
    gateway_id = f"aurelian-{settings.gateway}-{model.slug}"
    return Wanted(
        address=Address(model, settings.mqtt_insecure_hosts),
        client_id=f"{gateway_id}-connect-{secrets.token_hex(4)}",
        filters=(),
        clean=True,
        window=settings.mqtt_window,
        expiry_s=settings.mqtt_session_expiry_s,
        keep_alive_s=settings.mqtt_keep_alive_s,
        timeout_s=settings.mqtt_timeout_s,
    )


class Talk:
    """A connection on which the broker has answered the CONNECT.

    Attributes:
        connection: as the gateway has it.
        version: of MQTT that was spoken.
        reason: of the CONNACK.
        limits: that the broker named in it (MQTT 5), by their names in the specification.
    """

    def __init__(self, client: Wire, wanted: Wanted, version: MQTTProtocolVersion) -> None:
        self.client, self.wanted, self.version = client, wanted, version
        self.limits: dict[str, object] = {}
        self.reason = ReasonCode(PacketTypes.CONNACK)
        self.connection = Connection(client, wanted.window)
        self._granted: asyncio.Future[list[ReasonCode]] | None = None
        told = cast(Callable[..., None], client.on_connect)  # the connection's own

        def connected(*given: object) -> None:
            if isinstance(given[-1], Properties):
                self.limits = given[-1].json()  # type: ignore[no-untyped-call]
            told(*given)

        client.on_connect = connected
        client.on_subscribe = self._on_subscribe

    def _on_subscribe(
        self, client: paho.Client, data: object, mid: int, reasons: list[ReasonCode], _: object
    ) -> None:
        if self._granted is not None and not self._granted.done():
            self._granted.set_result(reasons)

    async def subscribe(self, filters: Sequence[str]) -> list[ReasonCode]:
        """What the broker says to each.

        Raises:
            ConnectionLost: it ended the connection instead.
            TimeoutError: it says nothing.
        """
        granted: asyncio.Future[list[ReasonCode]] = asyncio.get_running_loop().create_future()
        self._granted = granted
        subscribe(self.client, replace(self.wanted, filters=tuple(filters)), self.version)
        ended: asyncio.Future[None] = self.connection.ended
        async with asyncio.timeout(self.wanted.timeout_s):
            await asyncio.wait((granted, ended), return_when=asyncio.FIRST_COMPLETED)
        if not granted.done():
            await self.connection.take(1, 0.0)  # raises why it ended
            raise ConnectionLost("the broker ended the connection")
        return granted.result()

    def unsubscribe(self, filters: Sequence[str]) -> None:
        """Hear no more of them; the answer is not waited for."""
        self.client.unsubscribe(list(filters))

    async def take(self, timeout_s: float) -> Batch:
        """The next messages; they are acknowledged, as nobody else waits for them.

        Raises:
            ConnectionLost: as `Connection.take`.
        """
        batch = await self.connection.take(500, timeout_s)
        if batch.messages:
            self.connection.stored(batch)
        return batch

    async def leave_no_session(self) -> None:
        """End a connection that asked for a session: the broker forgets it at once."""
        forget = Properties(PacketTypes.DISCONNECT)  # type: ignore[no-untyped-call]
        forget.SessionExpiryInterval = 0
        self.client.disconnect(properties=forget)
        await asyncio.wait({self.connection.ended}, timeout=_GOODBYE_S)


@asynccontextmanager
async def talking(wanted: Wanted, version: MQTTProtocolVersion) -> AsyncIterator[Talk]:
    """Connect and wait for the CONNACK, whatever it says.

    Raises:
        PasswordError, OSError, ValueError, TimeoutError: no connection comes about.
        ConnectionLost: it ended before the broker said anything.
    """
    client = Wire(wanted.client_id, version, clean=wanted.clean)
    client.connect_timeout = wanted.timeout_s
    talk = Talk(client, wanted, version)
    connection, is_open = talk.connection, False
    try:
        wanted.address.prepare(client)
        async with asyncio.timeout(wanted.timeout_s):
            await open_wire(client, wanted, version)
            is_open = True
            connection.begin()
            talk.reason = await answer(connection.connected, version, wanted.address)
        # A broker that says no hangs up at once, which is no other fault.
        if talk.reason.packetType != PacketTypes.CONNACK:
            raise refused_by(talk.reason, wanted, client.fault or "it ended the connection")
        yield talk
    finally:
        if is_open:
            await connection.end()
        else:
            close(client)  # nobody is there to say goodbye to


async def connect(stack: AsyncExitStack, wanted: Wanted) -> Talk:
    """Connect with MQTT 5, with 3.1.1 where that may be what is not understood; the CONNACK may say
    no. `stack`: ends the connection.

    Raises:
        PasswordError, OSError, ValueError: no connection comes about.
    """
    try:
        talk = await stack.enter_async_context(talking(wanted, FIRST_VERSION))
        if talk.reason.value != UNSUPPORTED_VERSION:
            return talk
    except ConnectionLost as error:
        if is_of_certificate(str(error)):
            raise
    return await stack.enter_async_context(talking(wanted, other(FIRST_VERSION)))


def is_of_certificate(said: str) -> bool:
    """Whether a broker has hung up for our certificate's sake, or since there is none."""
    return "certificate" in said.lower() or "alert" in said.lower()


@asynccontextmanager
async def signed_in(wanted: Wanted) -> AsyncIterator[Talk]:
    """A connection that the broker takes.

    Raises:
        ConnectionLost: it takes none; the text says why.
        PasswordError, OSError, ValueError: no connection comes about.
    """
    async with AsyncExitStack() as stack:
        talk = await connect(stack, wanted)
        if talk.reason.is_failure:
            raise refused_by(talk.reason, wanted, "")
        yield talk
