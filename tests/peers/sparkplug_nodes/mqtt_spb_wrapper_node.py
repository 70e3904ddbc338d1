"""An edge node and its device with the package mqtt-spb-wrapper, each with a connection of its own.
Commands are lines of JSON on standard input, answers are lines of JSON."""

import json
import sys
import time
from urllib.parse import urlsplit

from mqtt_spb_wrapper import MetricDataType, MqttSpbEntityDevice, MqttSpbEntityEdgeNode
from mqtt_spb_wrapper.spb_protobuf import sparkplug_b


def say(what):
    print(json.dumps(what), flush=True)


def main():
    url, group, name = sys.argv[1:4]
    broker = urlsplit(url)
    # Its own rebirth command ends its network thread (2.1.2: "'bool' object is not callable").
    node = MqttSpbEntityEdgeNode(group, name, include_spb_rebirth=False)
    node.commands.set_value("Node Control/Rebirth", False)
    node.data.set_value("Uptime", 9)
    press = MqttSpbEntityDevice(group, name, "press")
    press.attributes.set_value("maker", "M")
    for metric, kind, value in (
        ("Force", MetricDataType.Double, 1.5),
        ("Small", MetricDataType.Int8, -5),
        ("Large", MetricDataType.UInt32, 4_000_000_000),
        ("Huge", MetricDataType.Int64, -4611686018427388),
        ("On", MetricDataType.Boolean, True),
        ("Text", MetricDataType.String, "läuft"),
    ):
        press.data.set_value(metric, value, spb_data_type=kind)

    def births():
        node.publish_birth()
        time.sleep(0.05)  # two connections: the broker knows no order between them
        press.publish_birth()

    def on_command(payload):
        wanted = (
            each["name"] == "Node Control/Rebirth" and each["value"] for each in payload["metrics"]
        )
        if any(wanted):
            say("asked for a rebirth")
            births()

    node.on_command = on_command
    for each in (node, press):
        assert each.connect(broker.hostname, broker.port)
    births()
    say("born")
    for line in sys.stdin:
        what, value = json.loads(line)
        if what == "data":
            press.data.set_value("Force", value, timestamp=int(time.time() * 1000))
            press.publish_data()
        elif what == "lose a number":
            sparkplug_b.getSeqNum()
        elif what == "device dies":
            press.disconnect()
        elif what == "stop":
            press.disconnect()
            node.disconnect()


main()
