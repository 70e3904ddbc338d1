"""paho's client with a receiver and acknowledgements of its own; with websocket.py the only
importer of paho's inner parts, whose version is pinned. Used by connection.py.

paho reads a packet in three calls of the system and parses MQTT 5's properties in 20 µs; here one
call reads all that is there, and many acknowledgements go out as one. Connecting, signing in,
subscribing, publishing, pings and the end of a connection are paho's.
"""

from __future__ import annotations

import socket
import ssl
import struct
from collections.abc import Sequence
from contextlib import suppress
from time import monotonic

import paho.mqtt.client as paho
from paho.mqtt.enums import CallbackAPIVersion, MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.exception import MalformedPacket

from aurelian.model.time import now_us
from mqtt_gateway.packets import PUBLISH, Arrived, Malformed, length_at, publish_at
from mqtt_gateway.websocket import WebSocket

_READ_BYTES = 256 * 1024
_PUBACK, _DISCONNECT = 0x40, 0xE0
_QUICK_ACK: int | None = getattr(socket, "TCP_QUICKACK", None)
"""Of Linux alone; it holds for what was received, and not for ever."""

_CALLED_EACH_S = 1.0
"""`keep_alive` is."""


class Wire(paho.Client):
    """One connection, used once, from one thread.

    Attributes:
        arrived: what came and was not taken yet, in order.
        fault: why what the broker sent cannot be read; empty: it can.
        server_name: that its certificate must carry; empty: the host's.
        name: our client id.
        heard_at: microseconds since 1970, when the broker had last sent whole packets and all of
            them were read; 0: never.
        ending: reason code of the broker's DISCONNECT (MQTT 5), which paho reads only where
            properties follow; 0: none came.
    """

    def __init__(self, client_id: str, version: MQTTProtocolVersion, *, clean: bool) -> None:
        is_v5 = version == MQTTProtocolVersion.MQTTv5
        super().__init__(
            CallbackAPIVersion.VERSION2,
            client_id=client_id,
            clean_session=None if is_v5 else clean,
            protocol=version,
            manual_ack=True,
            reconnect_on_failure=False,
        )
        self.suppress_exceptions = True
        self.arrived: list[Arrived] = []
        self.fault = self.server_name = ""
        self.name, self.ending = client_id, 0
        self.heard_at = 0
        self._free_at = self._written_at = monotonic()
        self._is_v5 = is_v5
        self._opened: socket.socket | None = None
        self._rest = bytearray()
        self._needed = 0
        self._may_have_more = False

    def use_websocket(self, path: str) -> None:
        """Speak MQTT in frames of a WebSocket."""
        self._transport = "websockets"
        self.ws_set_options(path)

    def acknowledge(self, numbers: Sequence[int]) -> None:
        """Send a PUBACK for each packet identifier, in order."""
        fields = [field for number in numbers for field in (_PUBACK, 2, number)]
        self._packet_queue(_PUBACK, struct.pack(">" + "BBH" * len(numbers), *fields), 0, 0)

    def keep_alive(self, *, reads: bool) -> None:
        """Ping when it is time, and end a connection whose broker is silent or does not read.
        Called every second.

        `reads`: whether what the broker sends is read at all; else its silence says nothing.
        """
        if self._is_stuck():
            # Else acknowledgements would gather here for as long as it sends.
            self.fault = f"the broker has read nothing for {self._keepalive} s"
            self._loop_rc_handle(MQTTErrorCode.MQTT_ERR_KEEPALIVE)
        elif reads:
            self.loop_misc()
        elif self._sock is not None:
            self.heard()
            if monotonic() - self._last_msg_out >= self._keepalive:
                self._send_pingreq()
                self._ping_t = 0.0

    def _is_stuck(self) -> bool:
        """Whether something waits to be written, and nothing was for as long as the keep-alive."""
        now = monotonic()
        if not self.want_write():
            self._free_at = now
        # It may have begun to wait any time since the call before this one.
        return now - max(self._free_at, self._written_at) >= self._keepalive + _CALLED_EACH_S

    def bound_keep_alive(self, seconds: int) -> None:
        """Ping at least so often, whatever the broker has set (MQTT 5: 0 and hours too): a dead
        one is noticed by its silence alone."""
        if not 0 < self._keepalive <= seconds:
            self._keepalive = seconds

    def heard(self) -> None:
        """The broker was heard just now."""
        self._last_bytes_received = monotonic()
        self._ping_t = 0.0

    def more_to_read(self) -> bool:
        """Whether to read again at once: TLS gives one record a read, and Mosquitto makes one of
        each message."""
        return self._may_have_more

    def _create_socket(self) -> paho.SocketLike:
        # paho leaves a socket open whose TLS or WebSocket does not come about.
        try:
            if self._transport != "websockets":
                return super()._create_socket()
            below = self._create_socket_connection()
            if self._ssl:
                below = self._ssl_wrap_socket(below)
            below.settimeout(self._connect_timeout)
            return WebSocket(below, self._host, self._port, self._ssl, self._websocket_path, None)
        except BaseException:
            if self._opened is not None:
                self._opened.close()
            raise

    def _create_socket_connection(self) -> socket.socket:
        self._opened = super()._create_socket_connection()
        return self._opened

    def _ssl_wrap_socket(self, tcp_sock: socket.socket) -> ssl.SSLSocket:
        assert self._ssl_context is not None
        secured = self._ssl_context.wrap_socket(
            tcp_sock,
            server_hostname=self.server_name or self._host,
            do_handshake_on_connect=False,
        )
        self._opened = secured
        secured.settimeout(self._connect_timeout)
        secured.do_handshake()
        return secured

    def _sock_send(self, buf: bytes | bytearray) -> int:
        before = getattr(self._sock, "went_out", 0)
        try:
            sent = super()._sock_send(buf)
        except BlockingIOError:
            if getattr(self._sock, "went_out", 0) == before:
                raise
            self._written_at = monotonic()  # a part of a frame
            raise
        self._written_at = monotonic()
        return sent

    def _packet_read(self) -> MQTTErrorCode:
        """What there is, at most `_READ_BYTES`; in place of paho's, called by its `loop_read`."""
        self._may_have_more = False
        try:
            data = self._sock_recv(_READ_BYTES)
        except BlockingIOError:
            return MQTTErrorCode.MQTT_ERR_AGAIN
        except OSError as error:
            self.fault = str(error)
            return MQTTErrorCode.MQTT_ERR_CONN_LOST
        if not data:
            self.fault = getattr(self._sock, "closed", "")
            return MQTTErrorCode.MQTT_ERR_CONN_LOST
        self._last_bytes_received = monotonic()
        if _QUICK_ACK is not None and self._opened is not None:
            # A broker that sends without TCP_NODELAY (Mosquitto's default) keeps all but the first
            # of some messages until our system acknowledges that one, which may be 40 ms later.
            with suppress(OSError):
                self._opened.setsockopt(socket.IPPROTO_TCP, _QUICK_ACK, 1)
        self._may_have_more = isinstance(self._opened, ssl.SSLSocket)
        try:
            return self._take(data)
        except Malformed as error:
            self.fault = str(error)
            return MQTTErrorCode.MQTT_ERR_PROTOCOL

    def _take(self, data: bytes) -> MQTTErrorCode:
        if self._rest:
            # A large packet comes in many pieces: it is looked at when all of it is there.
            self._rest += data
            if len(self._rest) < self._needed:
                return MQTTErrorCode.MQTT_ERR_SUCCESS
            data, self._rest = bytes(self._rest), bytearray()
        at, end, now = 0, len(data), now_us()
        self._needed = 2
        while at + 2 <= end:
            length = data[at + 1]
            body = at + 2
            if length & 0x80:
                found = length_at(data, at + 1)
                if found is None:
                    break
                length, body = found
            stop = body + length
            if stop > end:
                self._needed = stop - at
                break
            first = data[at]
            at = stop
            if first >> 4 == PUBLISH:
                self.arrived.append(publish_at(data, first, body, stop, now, v5=self._is_v5))
            elif (rc := self._by_paho(first, data[body:stop])) > 0:
                return rc
        self._rest = bytearray(data[at:])
        if not self._rest:
            self.heard_at = now
        return MQTTErrorCode.MQTT_ERR_SUCCESS

    def _by_paho(self, first: int, body: bytes) -> MQTTErrorCode:
        if first == _DISCONNECT and body:
            self.ending = body[0]
        self._in_packet = {
            "command": first,
            "have_remaining": 1,
            "remaining_count": [],
            "remaining_mult": 1,
            "remaining_length": len(body),
            "packet": bytearray(body),
            "to_process": 0,
            "pos": 0,
        }
        try:
            return self._packet_handle()
        except (MalformedPacket, struct.error, IndexError) as error:
            raise Malformed(
                f"a packet of type {first >> 4} that paho cannot read: {error}"
            ) from error
