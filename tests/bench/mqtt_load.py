"""A publisher of ready-made MQTT 3.1.1 packets, in a process of its own: `python -m
tests.bench.mqtt_load host port rate qos` reads messages (topic, tab, payload in hexadecimal digits)
from standard input and sends them in turn, so many a second, until it is killed. With SIGTERM it
waits for the last acknowledgements and prints how many it sent.

In a payload 13 times `@` is the time in milliseconds as text, 6 times `@` as a varint; 10 times `#`
is the number of the message, from `FIRST` on.
"""

from __future__ import annotations

import itertools
import signal
import socket
import sys
import threading
import time

FIRST = 1_000_000_000
"""No number of JSON begins with a zero."""

_TEXT, _VARINT, _NUMBER = b"@" * 13, b"@" * 6, b"#" * 10
_WINDOW = 1_000
"""Messages of QoS 1 that may wait for the broker's acknowledgement."""


def main(host: str, port: int, rate: float, qos: int) -> None:
    """Send until told to end; a slow broker slows it down."""
    ending = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: ending.set())
    packets = [_read(line.rstrip("\n"), qos) for line in sys.stdin]
    with socket.create_connection((host, port)) as connection:
        name = f"load-{time.time_ns()}".encode()
        body = b"\x00\x04MQTT\x04\x02\x00\x00" + len(name).to_bytes(2) + name
        connection.sendall(b"\x10" + _length(len(body)) + body)
        connection.recv(4)
        room = threading.Semaphore(_WINDOW)
        threading.Thread(target=_acknowledged, args=(connection, room), daemon=True).start()
        began, sent = time.monotonic(), 0
        number = itertools.cycle(range(1, 60_000))
        source = itertools.cycle(packets)
        while not ending.is_set():
            due = int((time.monotonic() - began) * rate)
            out = []
            now = time.time_ns() // 1_000_000
            text, varint = str(now).encode(), _length(now)
            while sent < due and len(out) < 200:
                head, tail = next(source)
                tail = tail.replace(_TEXT, text).replace(_VARINT, varint)
                tail = tail.replace(_NUMBER, str(FIRST + sent).encode())
                if qos:
                    room.acquire()
                    head += next(number).to_bytes(2)
                out.append(head + tail)
                sent += 1
            if out:
                connection.sendall(b"".join(out))
            else:
                time.sleep(0.002)
        for _ in range(_WINDOW if qos else 0):
            room.acquire()
        print(sent, flush=True)


def _read(line: str, qos: int) -> tuple[bytes, bytes]:
    topic, data = line.split("\t")
    return _packet(topic.encode(), bytes.fromhex(data), qos)


def _packet(topic: bytes, payload: bytes, qos: int) -> tuple[bytes, bytes]:
    """What comes before and after the packet identifier."""
    length = 2 + len(topic) + (2 if qos else 0) + len(payload)
    head = bytes([0x30 | qos << 1]) + _length(length) + len(topic).to_bytes(2) + topic
    return head, payload


def _length(value: int) -> bytes:
    out = bytearray()
    while True:
        value, byte = value >> 7, value & 0x7F
        out.append(byte | (0x80 if value else 0))
        if not value:
            return bytes(out)


def _acknowledged(connection: socket.socket, room: threading.Semaphore) -> None:
    waiting = 0
    while data := connection.recv(65536):
        waiting += len(data)
        for _ in range(waiting // 4):
            room.release()
        waiting %= 4


if __name__ == "__main__":
    main(sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4]))
