"""One connection to an MQTT broker, used once, on the event loop. Called by source.py and
sparkplug/source.py.

A message of QoS 1 is acknowledged when its batch is handed to `stored`, never by itself. A new
connection is a new object: packet identifiers of an old one are never acknowledged on another.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import TypeVar

import paho.mqtt.client as paho
from paho.mqtt.enums import MQTTErrorCode, MQTTProtocolVersion
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode

from aurelian.edge.passwords import PasswordError
from aurelian.edge.source_state import SourceState
from aurelian.model.time import now_us
from mqtt_gateway.opening import ConnectionLost as ConnectionLost
from mqtt_gateway.opening import Wanted as Wanted
from mqtt_gateway.opening import Will as Will
from mqtt_gateway.opening import answer, close, open_wire, refused_by, subscribe
from mqtt_gateway.refusals import Refusal, doubt_of, ending_of, of_error
from mqtt_gateway.window import Batch as Batch
from mqtt_gateway.window import InFlight, Window
from mqtt_gateway.wire import Wire

MOST_MESSAGES, MOST_BYTES = 20_000, 32 * 1024 * 1024
"""That may wait for the outbox. Beyond, nothing more is read: the broker keeps QoS 1 for us, also
one that does not keep to Receive Maximum (Mosquitto 2.0.11), and may give up QoS 0."""

TAKEN_BYTES = 128 * 1024
"""Payloads taken at once end here: 500 messages of 2,000 members each would hold the event loop,
and with it every other source and /readyz, for seconds."""

_READS_IN_A_ROW = 64
"""Of records of TLS, before others run."""

REST_S = 0.05
"""After messages came and nobody waits for us, nothing is read for so long: a machine with time to
spare would else take them one by one, at the cost of a batch each. A commit waits longer."""

_REST_BELOW = 1000
"""Messages. Where a read brings more, the next one follows at once."""

_MESSAGE_BYTES = 200
_OF_BROKER = b"$"
_QUIET_S = 0.02
_GOODBYE_S = 1.0
_DOUBT_S = 1.0
"""What is not read for so long may be too much for a broker's memory."""


T = TypeVar("T")


class Connection:
    """A live connection. Its methods belong to the event loop that made it.

    Attributes:
        session_present: the broker kept our subscription and messages from before.
        expiry_s: how long the broker keeps our session, where it says so.
        doubt: what it does not promise that we asked for, as a state with its step; None: nothing.
        watch_answered: the broker has said yes or no to `Wanted.watch`, or nobody asked.
    """

    def __init__(self, client: Wire, window: int) -> None:
        self.session_present, self.watch_answered = False, True
        self.expiry_s: int | None = None
        self.doubt: Refusal | None = None
        self._client = client
        self._loop = asyncio.get_running_loop()
        self._window, self._in_flight = Window(), InFlight(window)
        self._waiting = client.arrived
        self._taken = 0  # of `_waiting`
        self._unstored = self._unstored_bytes = self._unacknowledged = 0
        self._wake = asyncio.Event()
        self._lost: ConnectionLost | None = None
        self._read_at = 0.0
        self._paused_at: int | None = None
        self._has_qos0 = False
        self._doubt: tuple[int, int] | None = None
        self._file = -1  # a number: for a socket object the selector formats an error at each turn
        self._ticks: asyncio.TimerHandle | None = None
        self._rest: asyncio.TimerHandle | None = None
        self._sent: dict[int, asyncio.Future[None]] = {}
        self.connected: asyncio.Future[ReasonCode] = self._loop.create_future()
        self.subscribed: asyncio.Future[list[ReasonCode]] = self._loop.create_future()
        self.ended: asyncio.Future[None] = self._loop.create_future()
        client.on_connect = self._on_connect
        client.on_disconnect = self._on_disconnect
        client.on_subscribe = self._on_subscribe
        client.on_publish = self._on_publish

    def begin(self) -> None:
        """Read and write from now on. Raises ConnectionLost: the broker has hung up already."""
        client = self._client
        opened = client.socket()
        if opened is None:
            raise self._lost or ConnectionLost(*ending_of(0, client.fault, client.name))
        self._file = opened.fileno()
        client.on_socket_close = self._on_socket_close
        client.on_socket_register_write = self._on_wants_to_write
        client.on_socket_unregister_write = self._on_wrote
        self._loop.add_reader(self._file, self._readable)
        if client.want_write():
            self._on_wants_to_write(client, None, opened)
        self._ticks = self._loop.call_later(1.0, self._tick)

    async def take(self, limit: int, timeout_s: float) -> Batch:
        """Up to `limit` messages, fewer where they are large; none after `timeout_s` without any.
        Lets others run first.

        Raises:
            ConnectionLost: the connection ended, and all that it brought was taken.
        """
        if not self._waiting:
            if self._lost is not None:
                raise self._lost
            self._wake.clear()
            # Not wait_for, which can swallow a cancellation (Python 3.11).
            try:
                async with asyncio.timeout(timeout_s):
                    await self._wake.wait()
            except TimeoutError:
                return Batch()
        else:
            await asyncio.sleep(0)
        return self._next(limit)

    def _next(self, limit: int) -> Batch:
        batch, begin = Batch(), self._taken
        end = min(len(self._waiting), begin + limit)
        place = begin
        while place < end and batch.bytes < TAKEN_BYTES:
            batch.bytes += len(self._waiting[place].payload)
            place += 1
        batch.messages = self._waiting[begin:place]
        self._taken = place
        if place == len(self._waiting):
            self._waiting.clear()
            self._taken = 0
        batch.bytes += _MESSAGE_BYTES * len(batch.messages)
        batch.ticket = self._window.add([each.number for each in batch.messages if each.number])
        return batch

    @property
    def waits_for_us(self) -> bool:
        """Whether the broker sends nothing more before we acknowledge, as far as is known."""
        return self._in_flight.is_full(self._unacknowledged)

    @property
    def is_up(self) -> bool:
        """Whether it has not ended."""
        return self._lost is None

    @property
    def whole_to(self) -> int:
        """Microseconds since 1970: what the broker had sent by then was taken."""
        if self._waiting:
            return self._waiting[self._taken].at
        return self._client.heard_at

    def take_doubt(self) -> tuple[int, int] | None:
        """From when to when (microseconds) nothing was read, so that the broker may have given up
        messages of QoS 0; None: nothing since the last call."""
        doubt, self._doubt = self._doubt, None
        return doubt

    def stored(self, batch: Batch) -> None:
        """The messages of a batch are on our disk: acknowledge, in order of receipt."""
        self._unstored -= len(batch.messages)
        self._unstored_bytes -= batch.bytes
        numbers = self._window.stored(batch.ticket)
        if numbers:
            self._unacknowledged -= len(numbers)
            if not self._unacknowledged:
                quiet = time.monotonic() - self._read_at > _QUIET_S
                self._in_flight.acknowledged(len(numbers), quiet=quiet)
            if self._lost is None:
                self._client.acknowledge(numbers)
        if self._paused_at is not None and not self._is_too_much(0.5):
            self._go_on()

    def publish(self, topic: str, payload: bytes, *, qos: int, retain: bool) -> None:
        """Hand over a message without waiting."""
        self._client.publish(topic, payload, qos=qos, retain=retain)

    async def publish_and_wait(self, topic: str, payload: bytes, timeout_s: float) -> None:
        """Publish with QoS 1, retained, and wait until the broker has it, or `timeout_s` are
        over."""
        if self._lost is not None:
            return
        sent = self._client.publish(topic, payload, qos=1, retain=True)
        if sent.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            return
        done = self._sent[sent.mid] = self._loop.create_future()
        await asyncio.wait({done, self.ended}, timeout=timeout_s, return_when="FIRST_COMPLETED")
        self._sent.pop(sent.mid, None)

    async def end(self) -> None:
        """Say goodbye, and close what is left."""
        if self._ticks is not None:
            self._ticks.cancel()
        if self._rest is not None:
            self._rest.cancel()
            self._rested()
        if self._lost is None:
            self._client.disconnect()
            await asyncio.wait({self.ended}, timeout=_GOODBYE_S)
        close(self._client)
        # Else what comes later would read from a file number that is another connection's by then.
        self._lost = self._lost or ConnectionLost("the connection ended")

    def _readable(self) -> None:
        before = len(self._waiting)
        for _ in range(_READS_IN_A_ROW):
            self._client.loop_read()
            if self._lost is not None or not self._client.more_to_read():
                self._note(before)
                if before < len(self._waiting) < before + _REST_BELOW and self._may_rest():
                    self._loop.remove_reader(self._file)
                    self._rest = self._loop.call_later(REST_S, self._rested)
                return
        self._note(before)
        self._loop.call_soon(self._read_on)

    def _read_on(self) -> None:
        if self._lost is None and self._paused_at is None:
            self._readable()

    def _may_rest(self) -> bool:
        """A broker that sends few before it waits (Mosquitto's 20) is never made to wait."""
        return (
            self._lost is None
            and self._paused_at is None
            and not (self._unacknowledged and self._in_flight.is_small)
        )

    def _rested(self) -> None:
        self._rest = None
        if self._lost is None and self._paused_at is None:
            self._loop.add_reader(self._file, self._readable)
            self._readable()

    def _note(self, before: int) -> None:
        """Count what was read since `before`."""
        came = self._waiting[before:] if before else self._waiting
        if not came:
            return
        self._read_at = time.monotonic()
        self._unstored += len(came)
        self._unstored_bytes += _MESSAGE_BYTES * len(came) + sum(len(m.payload) for m in came)
        acknowledged_later = sum(1 for each in came if each.number)
        self._unacknowledged += acknowledged_later
        if acknowledged_later < len(came) and not self._has_qos0:
            self._has_qos0 = any(not m.number and m.topic[:1] != _OF_BROKER for m in came)
        self._wake.set()
        if self._paused_at is None and self._lost is None and self._is_too_much(1.0):
            self._paused_at = now_us()
            self._loop.remove_reader(self._file)

    def _is_too_much(self, share: float) -> bool:
        return self._unstored > share * MOST_MESSAGES or self._unstored_bytes > share * MOST_BYTES

    def _go_on(self) -> None:
        began, self._paused_at = self._paused_at, None
        now = now_us()
        if began is not None and self._has_qos0 and now - began > _DOUBT_S * 1e6:
            self._doubt = (self._doubt or (began, now))[0], now
        if self._lost is None:
            self._client.heard()
            self._loop.add_reader(self._file, self._readable)
            self._loop.call_soon(self._read_on)

    def _tick(self) -> None:
        if self._lost is None:
            self._client.keep_alive(reads=self._paused_at is None)
            if self._lost is None and self._client.socket() is None:
                # paho swallows what a callback raises; without this the source would wait for ever.
                self._lost = ConnectionLost("the connection ended")
                self._wake.set()
                _settle(self.ended, None)
            self._ticks = self._loop.call_later(1.0, self._tick)

    # Callbacks of paho, on the event loop.

    def _on_connect(
        self,
        client: paho.Client,
        data: object,
        flags: paho.ConnectFlags,
        reason: ReasonCode,
        properties: Properties | None,
    ) -> None:
        self.session_present = flags.session_present
        if properties is not None:
            self.expiry_s = getattr(properties, "SessionExpiryInterval", None)
        _settle(self.connected, reason)

    def _on_disconnect(
        self, client: paho.Client, data: object, flags: object, reason: ReasonCode, _: object
    ) -> None:
        wire = self._client
        said, refusal = ending_of(wire.ending, wire.fault or str(reason), wire.name)
        self._lost = ConnectionLost(said, refusal)
        self._wake.set()
        _settle(self.connected, reason)
        _settle(self.subscribed, [])
        _settle(self.ended, None)

    def watch(self, topic: str) -> None:
        """Ask for a topic of the broker's own; some brokers end the connection for that."""
        self.watch_answered = False
        self._client.subscribe(topic, 0)

    def _on_subscribe(
        self, client: paho.Client, data: object, mid: int, reasons: list[ReasonCode], _: object
    ) -> None:
        self.watch_answered |= self.subscribed.done()
        _settle(self.subscribed, reasons)

    def _on_publish(
        self, client: paho.Client, data: object, mid: int, reason: ReasonCode, _: object
    ) -> None:
        if (done := self._sent.get(mid)) is not None:
            _settle(done, None)

    def _on_socket_close(self, client: paho.Client, data: object, sock: object) -> None:
        self._loop.remove_reader(self._file)
        self._loop.remove_writer(self._file)

    def _on_wants_to_write(self, client: paho.Client, data: object, sock: object) -> None:
        self._loop.add_writer(self._file, client.loop_write)

    def _on_wrote(self, client: paho.Client, data: object, sock: object) -> None:
        self._loop.remove_writer(self._file)


@asynccontextmanager
async def connected(wanted: Wanted, version: MQTTProtocolVersion) -> AsyncIterator[Connection]:
    """Connect and subscribe; a clean DISCONNECT at the end (which keeps the session where `clean`
    is False).

    Raises:
        Refused: the broker does not take us; with another version of the protocol it may.
        ConnectionLost: no broker, one that we do not take, or that refuses the subscription.
    """
    address = wanted.address
    client = Wire(wanted.client_id, version, clean=wanted.clean)
    client.connect_timeout = wanted.timeout_s
    if wanted.will is not None:
        client.will_set(wanted.will.topic, wanted.will.payload, qos=1, retain=True)
    connection = Connection(client, wanted.window)
    try:
        try:
            address.prepare(client)
            async with asyncio.timeout(wanted.timeout_s):
                await open_wire(client, wanted, version)
                connection.begin()
                reason = await answer(connection.connected, version, address)
                if reason.is_failure:
                    raise refused_by(reason, wanted, client.fault)
                client.bound_keep_alive(wanted.keep_alive_s)
                subscribe(client, wanted, version)
                granted = await connection.subscribed
                refused = [str(each) for each in granted if each.is_failure]
                if not wanted.clean:
                    lowest = min((each.value for each in granted), default=1)
                    connection.doubt = doubt_of(lowest, connection.expiry_s, wanted.expiry_s)
        except PasswordError as error:
            raise ConnectionLost(
                str(error), Refusal(error.step, SourceState.AUTH_FAILED)
            ) from error
        except (OSError, ValueError) as error:  # TimeoutError and ConnectionLost are OSErrors
            if isinstance(error, ConnectionLost):
                raise
            said, refusal = of_error(error, secure=address.is_secure)
            raise ConnectionLost(f"no MQTT broker at {address.where}: {said}", refusal) from error
        if refused:
            raise ConnectionLost(
                f"the broker at {address.where} refuses {', '.join(wanted.filters)}: {refused[0]}",
                Refusal("let this client subscribe there: look at the broker's access list"),
            )
        if wanted.watch:
            connection.watch(wanted.watch)
        yield connection
    finally:
        await connection.end()


def _settle(future: asyncio.Future[T], result: T) -> None:
    if not future.done():
        future.set_result(result)
