"""An edge node with the package pysparkplug. Commands are lines of JSON on standard input, answers
are lines of JSON."""

import json
import sys
import threading
import time
from urllib.parse import urlsplit

from pysparkplug import DataType, Device, EdgeNode, Metric


def say(what):
    print(json.dumps(what), flush=True)


def metric(name, datatype, value, age_ms=0, **more):
    now = int(time.time() * 1000)
    return Metric(timestamp=now - age_ms, name=name, datatype=datatype, value=value, **more)


def main():
    url, group, name = sys.argv[1:4]
    broker = urlsplit(url)

    def start():
        node.connect(broker.hostname, port=broker.port)

    def begin_anew():
        # It cannot say its births again but by a new connection.
        node.disconnect()
        start()

    def on_command(_, message):
        if any(
            each.name == "Node Control/Rebirth" and each.value for each in message.payload.metrics
        ):
            say("asked for a rebirth")
            threading.Thread(target=begin_anew).start()

    node = EdgeNode(group, name, [metric("Uptime", DataType.UINT64, 9)], cmd_callback=on_command)
    node.register(
        Device(
            "press",
            [
                metric("Force", DataType.DOUBLE, 1.5, alias=2),
                metric("Small", DataType.INT8, -5),
                metric("Large", DataType.UINT32, 4_000_000_000),
                metric("Huge", DataType.INT64, -4611686018427388),
                metric("On", DataType.BOOLEAN, True),
                metric("Text", DataType.STRING, "läuft"),
            ],
        )
    )
    start()
    say("born")
    for line in sys.stdin:
        what, value = json.loads(line)
        if what == "data":
            node.update_device("press", [metric("Force", DataType.DOUBLE, value)])
        elif what == "old data":
            old = metric("Force", DataType.DOUBLE, value, 60_000, is_historical=True)
            node.update_device("press", [old])
        elif what == "lose a number":
            node._seq  # noqa: B018 - taken, and sent to nobody
        elif what == "device dies":
            node.deregister("press")
        elif what == "stop":
            node.disconnect()


main()
