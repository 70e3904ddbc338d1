"""How a source wants to be connected, and opening that connection: version of the protocol, TCP,
TLS, WebSocket, CONNECT, SUBSCRIBE. Used by connection.py, dialling.py and the sources."""

from __future__ import annotations

import asyncio
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import partial

from paho.mqtt.enums import MQTTProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from mqtt_gateway.address import Address
from mqtt_gateway.refusals import Refusal, refusal_of
from mqtt_gateway.wire import Wire

MAX_PACKET_BYTES = 64 * 1024 * 1024
"""What a broker may send at most in one message (MQTT 5); beyond, the broker drops it."""


_OPENING = ThreadPoolExecutor(32, "mqtt connect")
"""Of their own: brokers that do not answer must not hold up what else waits for a thread."""

FIRST_VERSION = MQTTProtocolVersion.MQTTv5
_RETAINED_IF_NEW = 1
_MQTT5_ANSWERS_WITHIN_S = 2.0


class ConnectionLost(ConnectionError):
    """The broker is away or refuses us; the text says what happened.

    Attributes:
        step: what to do about it; empty: nobody knows.
        state: what the source is until then.
    """

    def __init__(self, text: str = "", refusal: Refusal | None = None) -> None:
        super().__init__(text)
        self.step, self.state = refusal or Refusal("")


class Refused(ConnectionLost):
    """A broker is there and refuses to speak with us, maybe for our version of the protocol."""


@dataclass(frozen=True, slots=True)
class Will:
    """What the broker says for us when we are gone without a word; retained, QoS 1."""

    topic: str
    payload: bytes


@dataclass(frozen=True, slots=True)
class Wanted:
    """How to connect.

    Attributes:
        address: of the broker, and who we are there.
        client_id: fixed; the broker keeps our messages under it.
        filters: what to subscribe to, QoS 1.
        dropped: what a session of before is subscribed to and shall be no more.
        clean: forget what the broker kept (Sparkplug hosts), else go on with it.
        watch: a topic of the broker's own, QoS 0, where it may be refused; empty: none.
        window: messages that may wait for their acknowledgement (Receive Maximum).
        expiry_s: how long the broker keeps messages for us.
    """

    address: Address
    client_id: str
    filters: tuple[str, ...]
    clean: bool
    window: int
    expiry_s: int
    keep_alive_s: int
    timeout_s: float
    will: Will | None = None
    watch: str = ""
    dropped: tuple[str, ...] = ()


async def open_wire(client: Wire, wanted: Wanted, version: MQTTProtocolVersion) -> None:
    """Name server, TCP, TLS and WebSocket, in a thread: paho waits for them."""
    loop = asyncio.get_running_loop()
    opening = loop.run_in_executor(_OPENING, _connect, client, wanted, version)
    try:
        await asyncio.shield(opening)
    except asyncio.CancelledError:
        # The thread goes on until its own time is over; then nobody wants what it opened.
        opening.add_done_callback(partial(_forget, client))
        raise


def _forget(client: Wire, opened: asyncio.Future[None]) -> None:
    opened.exception()
    close(client)


def other(version: MQTTProtocolVersion) -> MQTTProtocolVersion:
    """The version to try after a broker that did not take this one: MQTT 5, then 3.1.1, then 5
    again."""
    if version == MQTTProtocolVersion.MQTTv5:
        return MQTTProtocolVersion.MQTTv311
    return MQTTProtocolVersion.MQTTv5


def _connect(client: Wire, wanted: Wanted, version: MQTTProtocolVersion) -> None:
    host, port = wanted.address.host, wanted.address.port
    if version != MQTTProtocolVersion.MQTTv5:
        client.connect(host, port, wanted.keep_alive_s)
        return
    properties = Properties(PacketTypes.CONNECT)  # type: ignore[no-untyped-call]
    properties.SessionExpiryInterval = 0 if wanted.clean else wanted.expiry_s
    properties.ReceiveMaximum = wanted.window
    properties.MaximumPacketSize = MAX_PACKET_BYTES
    client.connect(host, port, wanted.keep_alive_s, clean_start=wanted.clean, properties=properties)


def close(client: Wire) -> None:
    """Close a socket that a connection left."""
    left = client.socket()
    if left is not None:
        client._sock_close()


def subscribe(client: Wire, wanted: Wanted, version: MQTTProtocolVersion) -> None:
    """Ask for what is wanted; the answer comes later. What a session of before had beside it is
    given up."""
    if wanted.dropped:
        client.unsubscribe(list(wanted.dropped))
    if version != MQTTProtocolVersion.MQTTv5:
        client.subscribe([(each, 1) for each in wanted.filters])
        return
    options = SubscribeOptions(qos=1, retainHandling=0 if wanted.clean else _RETAINED_IF_NEW)
    client.subscribe([(each, options) for each in wanted.filters])


async def answer(
    connected: asyncio.Future[ReasonCode], version: MQTTProtocolVersion, address: Address
) -> ReasonCode:
    """Wait for the CONNACK. Brokers that know only MQTT 3.1.1 may leave us without any answer to
    MQTT 5."""
    if version != MQTTProtocolVersion.MQTTv5:
        return await connected
    try:
        async with asyncio.timeout(_MQTT5_ANSWERS_WITHIN_S):
            return await connected
    except TimeoutError as error:
        said = f"the broker at {address.where} does not answer to MQTT 5"
        raise Refused(said, Refusal("look at the broker's own log")) from error


def refused_by(reason: ReasonCode, wanted: Wanted, fault: str) -> Refused:
    """What a CONNACK that says no means."""
    refusal = refusal_of(reason, wanted.address.model, wanted.client_id, fault)
    said = f"the broker at {wanted.address.where} says: {fault or reason}"
    return Refused(said, refusal)
