"""MQTT in frames of a WebSocket (RFC 6455): paho's handshake with a reader and a writer of ours.
Used by wire.py.

paho answers pings and closes with frames that have no mask, for which a strict server hangs up
(section 5.1), puts them into the middle of a frame that went out in part, loses the packet of such
a frame, and reads every frame in four calls of the system.
"""

from __future__ import annotations

import os
import ssl
from struct import Struct

from paho.mqtt.client import _WebsocketWrapper

_READ_BYTES = 256 * 1024
_FINAL, _OPCODE, _MASKED, _LENGTH = 0x80, 0x0F, 0x80, 0x7F
_CONTINUATION, _BINARY, _CLOSE, _PING, _PONG = 0x0, 0x2, 0x8, 0x9, 0xA
_MOST_CONTROL_BYTES = 125
_MOST_ANSWER_BYTES = 1024
"""Of pings that wait for it not each one has to be answered."""

_SHORT, _LONG = Struct("!H"), Struct("!Q")
_WANTS = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class WebSocket(_WebsocketWrapper):
    """Stands for the socket below it; used by paho from one thread.

    Attributes:
        closed: why the server ended it, in its words; empty: it did not.
        went_out: bytes of frames that were sent, parts too.
    """

    went_out = 0

    def __init__(self, *given: object, **named: object) -> None:
        self.closed = ""
        self._came = bytearray()
        self._answers = bytearray()
        super().__init__(*given, **named)  # type: ignore[arg-type]

    def recv(self, length: int) -> bytes:
        """What whole frames have, and parts of one that goes on; empty: the connection ended.

        `length` is not kept to: the caller takes what there is.

        Raises:
            BlockingIOError: nothing yet.
        """
        if self.closed:
            return b""
        try:
            data = self._socket.recv(_READ_BYTES)
        except _WANTS:
            raise BlockingIOError from None
        if not data:
            return b""
        self._came += data
        messages = self._take_frames()
        self._flush_answers()
        if not messages and not self.closed:
            raise BlockingIOError
        return messages

    def send(self, data: bytes | bytearray) -> int:
        """Send as one frame.

        Raises:
            BlockingIOError: not all of it went out; the same `data` again goes on. (paho forgets a
                packet of which it is told that nothing was sent.)
        """
        if not self._sendbuffer:
            if not self._flush_answers():
                raise BlockingIOError
            self._sendbuffer += self._create_frame(_BINARY, bytearray(data))
        sent = self._socket.send(self._sendbuffer)
        self.went_out += sent
        del self._sendbuffer[:sent]
        if self._sendbuffer:
            raise BlockingIOError
        return len(data)

    def _create_frame(self, opcode: int, data: bytearray, do_masking: int = 1) -> bytearray:
        """Every frame of a client has a mask."""
        size, key = len(data), os.urandom(4)
        if size < 126:
            head = bytes((_FINAL | opcode, _MASKED | size))
        elif size < 1 << 16:
            head = bytes((_FINAL | opcode, _MASKED | 126)) + _SHORT.pack(size)
        else:
            head = bytes((_FINAL | opcode, _MASKED | 127)) + _LONG.pack(size)
        return bytearray(head + key + _masked(data, key))

    def _take_frames(self) -> bytes:
        came, at, messages = self._came, 0, []
        while (frame := _frame_at(came, at)) is not None:
            opcode, body, at = frame
            if opcode in (_BINARY, _CONTINUATION):
                messages.append(body)
            elif opcode == _PING and len(self._answers) < _MOST_ANSWER_BYTES:
                self._answers += self._create_frame(_PONG, bytearray(body[:_MOST_CONTROL_BYTES]))
            elif opcode == _CLOSE:
                said = body[2:].decode(errors="replace")
                code = _SHORT.unpack(body[:2])[0] if len(body) >= 2 else 1005
                self.closed = f"the server closed the WebSocket ({code}) {said}".rstrip()
                self._answers += self._create_frame(_CLOSE, bytearray(body[:2]))
                break
        del came[:at]
        return b"".join(messages)

    def _flush_answers(self) -> bool:
        """Send what control frames asked for, where no other frame is on its way; whether nothing
        is left."""
        if self._answers and not self._sendbuffer:
            try:
                sent = self._socket.send(self._answers)
            except _WANTS:
                sent = 0
            except OSError:  # the next recv says so too
                sent = len(self._answers)
            del self._answers[:sent]
        return not self._answers


def _frame_at(data: bytearray, at: int) -> tuple[int, bytes, int] | None:
    """Opcode, content and end of a frame; None: there is not all of it."""
    if len(data) < at + 2:
        return None
    opcode, masked, size = data[at] & _OPCODE, data[at + 1] & _MASKED, data[at + 1] & _LENGTH
    at += 2
    if size > 125:
        kind = _SHORT if size == 126 else _LONG
        if len(data) < at + kind.size:
            return None
        (size,) = kind.unpack_from(data, at)
        at += kind.size
    key = bytes(data[at : at + 4]) if masked else b""
    at += len(key)
    if len(data) < at + size or (masked and len(key) < 4):
        return None
    body = bytes(data[at : at + size])
    return opcode, _masked(body, key) if masked else body, at + size


def _masked(data: bytes | bytearray, key: bytes) -> bytes:
    size = len(data)
    mask = (key * (size // 4 + 1))[:size]
    return (int.from_bytes(data) ^ int.from_bytes(mask)).to_bytes(size)
