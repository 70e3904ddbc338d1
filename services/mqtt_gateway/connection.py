"""One connection to an MQTT broker, used once; the only importer of paho. Called by source.py and
sparkplug_source.py.

paho's thread puts messages on a deque; the event loop takes them in batches. A message of QoS 1 is
acknowledged when
its ticket is handed to `stored`, never by itself. A new connection is a new object: packet numbers
of an old one are never acknowledged on another.
"""

from __future__ import annotations

import asyncio
import socket
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from aurelian.model.time import now_us
from mqtt_gateway.window import Window

MAX_PACKET_BYTES = 64 * 1024 * 1024
"""What a broker may send at most in one message (MQTT 5); beyond, the broker drops it."""

MAX_WAITING = 20_000
"""Messages of QoS 0 that may wait for the event loop; more are dropped and counted."""

TAKEN_BYTES = 128 * 1024
"""Payloads taken at once end here: 500 messages of 2,000 members each would hold the event loop,
and with it every other source and /readyz, for seconds."""

_ADMIT = "look at the broker's own log; it has to take clients without a name or password"
_RETAINED_IF_NEW = 1
_MQTT5_ANSWERS_WITHIN_S = 2.0


Version = MQTTProtocolVersion
FIRST_VERSION = MQTTProtocolVersion.MQTTv5


class ConnectionLost(ConnectionError):
    """The broker is away or refuses us; the text says what happened.

    Attributes:
        step: what to do about it; empty: nobody knows.
    """

    def __init__(self, text: str = "", step: str = "") -> None:
        super().__init__(text)
        self.step = step


class Refused(ConnectionLost):
    """A broker is there and refuses to speak with us, maybe for our version of the protocol."""


@dataclass(frozen=True, slots=True)
class Arrived:
    """A received message.

    Attributes:
        topic: as bytes, as they came: they may be no UTF-8.
        retained: the broker's last known value, not a new message.
        ticket: for `Connection.stored`; None for QoS 0.
        again: the broker says that it may have sent it before (DUP).
        at: microseconds since 1970.
    """

    topic: bytes
    payload: bytes
    retained: bool
    ticket: int | None
    at: int
    again: bool = False


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker says for us when we are gone without a word; retained, QoS 1."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Wanted:
    """How to connect.

    Attributes:
        url: `mqtt://host:port`.
        client_id: fixed; the broker keeps our messages under it.
        filters: what to subscribe to, QoS 1.
        clean: forget what the broker kept (Sparkplug hosts), else go on with it.
        window: messages that may wait for their acknowledgement.
        expiry_s: how long the broker keeps messages for us.
    """

    url: str
    client_id: str
    filters: tuple[str, ...]
    clean: bool
    window: int
    expiry_s: int
    keep_alive_s: int
    timeout_s: float
    will: Will | None = None


class Connection:
    """A live connection. Its public methods belong to the event loop that made it.

    Attributes:
        session_present: the broker kept our subscription and messages from before.
        dropped: messages of QoS 0 that were given up since the last `take`, for want of room.
    """

    def __init__(self, client: paho.Client) -> None:
        self.session_present = False
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._window = Window()
        self._lock = threading.Lock()
        self._waiting: deque[Arrived] = deque()
        self._dropped = 0
        self._woken = False
        self._wake = asyncio.Event()
        self._lost: str | None = None
        self._connected: asyncio.Future[ReasonCode] = self._loop.create_future()
        self._subscribed: asyncio.Future[list[ReasonCode]] = self._loop.create_future()
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_message = self._on_message

    async def take(self, limit: int, timeout_s: float) -> list[Arrived]:
        """Up to `limit` messages in order of receipt, fewer where they are large; an empty list
        after `timeout_s` without any. Lets others run first.

        Raises:
            ConnectionLost: the connection ended, and all that it brought was taken.
        """
        if not self._waiting:
            if self._lost is not None:
                raise ConnectionLost(self._lost)
            self._wake.clear()
            self._woken = False
            if not self._waiting and self._lost is None:
                # Not wait_for, which can swallow a cancellation (Python 3.11).
                try:
                    async with asyncio.timeout(timeout_s):
                        await self._wake.wait()
                except TimeoutError:
                    return []
        else:
            await asyncio.sleep(0)
        found: list[Arrived] = []
        size = 0
        while self._waiting and len(found) < limit and size < TAKEN_BYTES:
            found.append(self._waiting.popleft())
            size += len(found[-1].payload)
        return found

    def take_dropped(self) -> int:
        """How many messages were given up since the last call."""
        with self._lock:
            dropped, self._dropped = self._dropped, 0
        return dropped

    def stored(self, tickets: Sequence[int]) -> None:
        """The messages of these tickets are on our disk: acknowledge, in order of receipt."""
        with self._lock:
            ready = [number for ticket in tickets for number in self._window.stored(ticket)]
        if self._lost is None:
            for number in ready:
                self._client.ack(number, 1)

    def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> None:
        """Hand over a message without waiting."""
        self._client.publish(topic, payload, qos=qos, retain=retain)

    async def publish_and_wait(self, topic: str, payload: bytes, timeout_s: float) -> None:
        """Publish with QoS 1, retained, and wait until the broker has it, or `timeout_s` are
        over."""
        if self._lost is None:
            info = self._client.publish(topic, payload, qos=1, retain=True)
            with suppress(RuntimeError, ValueError):  # the connection ended meanwhile
                await asyncio.to_thread(info.wait_for_publish, timeout_s)

    # The callbacks run in paho's thread and never raise: an exception would end it.

    def _on_connect(
        self,
        client: paho.Client,
        data: object,
        flags: paho.ConnectFlags,
        reason: ReasonCode,
        _: object,
    ) -> None:
        self.session_present = flags.session_present
        self._tell(_settle, self._connected, reason)

    def _on_disconnect(
        self, client: paho.Client, data: object, flags: object, reason: ReasonCode, _: object
    ) -> None:
        self._lost = f"the connection ended: {reason}"
        self._tell(self._wake.set)
        self._tell(_settle, self._connected, reason)
        self._tell(_settle, self._subscribed, [])

    def _on_subscribe(
        self, client: paho.Client, data: object, mid: int, reasons: list[ReasonCode], _: object
    ) -> None:
        self._tell(_settle, self._subscribed, reasons)

    def _on_message(self, client: paho.Client, data: object, message: paho.MQTTMessage) -> None:
        with self._lock:
            ticket = None if message.qos == 0 else self._window.add(message.mid)
            if ticket is None and len(self._waiting) >= MAX_WAITING:
                self._dropped += 1
                return
        at = now_us()
        self._waiting.append(
            Arrived(
                _topic(message), bytes(message.payload), message.retain, ticket, at, message.dup
            )
        )
        if not self._woken:
            self._woken = True
            self._tell(self._wake.set)

    def _tell(self, function: Callable[..., None], *arguments: object) -> None:
        if not self._loop.is_closed():
            self._loop.call_soon_threadsafe(function, *arguments)


@asynccontextmanager
async def connected(wanted: Wanted, version: MQTTProtocolVersion) -> AsyncIterator[Connection]:
    """Connect and subscribe; a clean DISCONNECT at the end (which keeps the session where `clean`
    is False).

    Raises:
        Refused: the broker does not take us; with another version of the protocol it may.
        ConnectionLost: no broker, or it refuses the subscription.
    """
    parts = urlsplit(wanted.url)
    client = paho.Client(
        CallbackAPIVersion.VERSION2,
        client_id=wanted.client_id,
        clean_session=wanted.clean if version != MQTTProtocolVersion.MQTTv5 else None,
        protocol=version,
        manual_ack=True,
        reconnect_on_failure=False,
    )
    client.connect_timeout = wanted.timeout_s
    client.suppress_exceptions = True
    if wanted.will is not None:
        client.will_set(wanted.will.topic, wanted.will.payload, qos=1, retain=True)
    connection = Connection(client)
    host, port = parts.hostname or "", parts.port or 1883
    try:
        try:
            async with asyncio.timeout(wanted.timeout_s):
                await asyncio.to_thread(_connect, client, host, port, wanted, version)
                client.loop_start()
                reason = await _answer(connection._connected, version, host, port)
                if reason.is_failure:
                    raise Refused(f"the broker at {host}:{port} says: {reason}", _ADMIT)
                _subscribe(client, wanted, version)
                refused = [str(each) for each in await connection._subscribed if each.is_failure]
        except (OSError, ValueError) as error:  # TimeoutError and ConnectionLost are OSErrors
            if isinstance(error, ConnectionLost):
                raise
            raise ConnectionLost(
                f"no MQTT broker at {host}:{port}: {error or 'it does not answer'}", _step(error)
            ) from error
        if refused:
            raise ConnectionLost(
                f"the broker at {host}:{port} refuses {', '.join(wanted.filters)}: {refused[0]}",
                "let this client subscribe there: look at the broker's access list",
            )
        yield connection
    finally:
        client.disconnect()
        await asyncio.to_thread(_end, client)


async def _answer(
    connected: asyncio.Future[ReasonCode], version: MQTTProtocolVersion, host: str, port: int
) -> ReasonCode:
    """Wait for the CONNACK. Brokers that know only MQTT 3.1.1 may leave us without any answer to
    MQTT 5."""
    if version != MQTTProtocolVersion.MQTTv5:
        return await connected
    try:
        async with asyncio.timeout(_MQTT5_ANSWERS_WITHIN_S):
            return await connected
    except TimeoutError as error:
        said = f"the broker at {host}:{port} does not answer to MQTT 5"
        raise Refused(said, "look at the broker's own log") from error


def _step(error: Exception) -> str:
    """What to do where no connection comes about."""
    match error:
        case socket.gaierror():
            return "is the host's name spelled right, and does the name server answer?"
        case ConnectionRefusedError():
            return "the machine is there and nothing listens: does the broker run, on that port?"
        case _:
            return "is it switched on, is its cable in, does a firewall stand between?"


def other(version: MQTTProtocolVersion) -> MQTTProtocolVersion:
    """The version to try after a broker that did not take this one: MQTT 5, then 3.1.1, then 5
    again."""
    if version == MQTTProtocolVersion.MQTTv5:
        return MQTTProtocolVersion.MQTTv311
    return MQTTProtocolVersion.MQTTv5


def _connect(
    client: paho.Client, host: str, port: int, wanted: Wanted, version: MQTTProtocolVersion
) -> None:
    if version != MQTTProtocolVersion.MQTTv5:
        client.connect(host, port, wanted.keep_alive_s)
        return
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = 0 if wanted.clean else wanted.expiry_s
    properties.ReceiveMaximum = wanted.window
    properties.MaximumPacketSize = MAX_PACKET_BYTES
    client.connect(host, port, wanted.keep_alive_s, clean_start=wanted.clean, properties=properties)


def _end(client: paho.Client) -> None:
    """Wait for paho's thread, and close a socket that it left open, or never took over: where the
    time limit cut off a connect."""
    client.loop_stop()
    left = client.socket()
    if left is not None:
        left.close()


def _subscribe(client: paho.Client, wanted: Wanted, version: MQTTProtocolVersion) -> None:
    if version != MQTTProtocolVersion.MQTTv5:
        client.subscribe([(each, 1) for each in wanted.filters])
        return
    options = SubscribeOptions(qos=1, retainHandling=0 if wanted.clean else _RETAINED_IF_NEW)
    client.subscribe([(each, options) for each in wanted.filters])


def _topic(message: paho.MQTTMessage) -> bytes:
    try:
        return message.topic.encode()
    except UnicodeDecodeError as error:
        return bytes(error.object)


def _settle(future: asyncio.Future[object], result: object) -> None:
    if not future.done():
        future.set_result(result)
