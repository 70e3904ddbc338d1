"""One connection to an MQTT broker, used once: the only importer of paho in the pilot plant.

Called by `sparkplug_edge.py`, `json_machine.py` and `replay.py`, which make a new link after each
loss.
"""

from __future__ import annotations

import asyncio
import socket
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from urllib.parse import urlsplit

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

CONNECT_TIMEOUT_S = 3.0
NO_SUBSCRIBER = 0x10
"""Reason code of an MQTT 5 acknowledgement: nobody has subscribed to the topic."""


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker says for us when we are gone without a word."""

    topic: str
    payload: bytes


class MqttLink:
    """A live connection; its methods belong to one event loop.

    Attributes:
        messages: what arrives on the subscribed topics, as (topic, payload).
        lost: set when the connection has ended, whoever ended it.
    """

    def __init__(self, client: paho.Client, acked: Callable[[int, int], None] | None) -> None:
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._acked = acked
        self._opened: asyncio.Future[ReasonCode] = self._loop.create_future()
        self.messages: asyncio.Queue[tuple[str, bytes]] = asyncio.Queue()
        self.lost = asyncio.Event()
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_message = self._on_message
        client.on_publish = self._on_publish

    def publish(self, topic: str, payload: bytes, *, qos: int = 0, retain: bool = False) -> int:
        """Hand over a message without waiting; returns the number that `acked` will name (QoS
        1)."""
        return self._client.publish(topic, payload, qos=qos, retain=retain).mid

    def cut(self) -> None:
        """Pull the cable: the socket dies without a DISCONNECT, so that the broker publishes the
        will."""
        found = self._client.socket()
        if isinstance(found, socket.socket):
            try:
                found.shutdown(socket.SHUT_RDWR)
            except OSError:
                return  # it was gone already

    async def _open(self, host: str, port: int, subscriptions: Sequence[tuple[str, int]]) -> None:
        try:
            async with asyncio.timeout(CONNECT_TIMEOUT_S):
                await asyncio.to_thread(self._client.connect, host, port, 10)
                self._client.loop_start()
                reason = await self._opened
        except (
            OSError,
            ValueError,
            paho.WebsocketConnectionError,
        ) as error:  # TimeoutError is an OSError
            raise ConnectionError(f"no MQTT broker at {host}:{port}: {error!r}") from error
        if reason.is_failure:
            raise ConnectionRefusedError(f"the MQTT broker at {host}:{port} says: {reason}")
        if subscriptions:
            self._client.subscribe(list(subscriptions))

    async def _close(self) -> None:
        self._client.disconnect()
        await asyncio.to_thread(self._client.loop_stop)

    # The callbacks run in paho's thread.

    def _on_connect(
        self,
        client: paho.Client,
        data: object,
        flags: object,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        self._tell(self._settle, reason)

    def _on_disconnect(
        self,
        client: paho.Client,
        data: object,
        flags: object,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        self._tell(self.lost.set)
        self._tell(self._settle, reason)

    def _on_message(self, client: paho.Client, data: object, message: paho.MQTTMessage) -> None:
        self._tell(self.messages.put_nowait, (message.topic, bytes(message.payload)))

    def _on_publish(
        self,
        client: paho.Client,
        data: object,
        mid: int,
        reason: ReasonCode,
        properties: Properties,
    ) -> None:
        if self._acked is not None:
            self._tell(self._acked, mid, reason.value)

    def _settle(self, reason: ReasonCode) -> None:
        if not self._opened.done():
            self._opened.set_result(reason)

    def _tell(self, function: Callable[..., None], *arguments: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *arguments)


@asynccontextmanager
async def connect(
    url: str,
    client_id: str,
    *,
    will: Will | None = None,
    subscriptions: Sequence[tuple[str, int]] = (),
    acked: Callable[[int, int], None] | None = None,
    version: MQTTProtocolVersion = MQTTProtocolVersion.MQTTv311,
) -> AsyncIterator[MqttLink]:
    """Connect to `mqtt://host:port` with a clean session; a clean DISCONNECT at the end.

    Args:
        url: of the broker.
        client_id: unique at the broker.
        will: published by the broker (QoS 1, not retained) when the connection dies.
        subscriptions: (filter, QoS).
        acked: called on the event loop with (number, reason code) of each acknowledged QoS 1
            message.
        version: 3.1.1, which every broker speaks, or 5.

    Raises:
        ConnectionError: no broker there, or it refuses.
    """
    parts = urlsplit(url)
    client = paho.Client(
        CallbackAPIVersion.VERSION2,
        client_id=client_id,
        protocol=version,
        reconnect_on_failure=False,
    )
    client.connect_timeout = CONNECT_TIMEOUT_S
    client.max_inflight_messages_set(200)
    client.max_queued_messages_set(0)
    if parts.username is not None:
        client.username_pw_set(parts.username, parts.password)
    if will is not None:
        client.will_set(will.topic, will.payload, qos=1, retain=False)
    link = MqttLink(client, acked)
    try:
        await link._open(parts.hostname or "127.0.0.1", parts.port or 1883, subscriptions)
        yield link
    finally:
        await link._close()
