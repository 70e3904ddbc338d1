"""`STATE/<host_id>` as version 2.2 of the specification has it, for edge nodes that know no other;
kept by source.py.

A connection has one will, and the host's own is that of version 3.0: so this is a second one, which
comes and goes with the first.
"""

from __future__ import annotations

import logging
from dataclasses import replace

from paho.mqtt.enums import MQTTProtocolVersion

from aurelian.edge.names import readable
from aurelian.runtime.retry import Backoff
from mqtt_gateway.connection import ConnectionLost, Wanted, Will, connected

log = logging.getLogger(__name__)

_ONLINE, _OFFLINE = b"ONLINE", b"OFFLINE"
_TAKE_S = 60.0
_GOODBYE_S = 1.0


async def keep_legacy_state(host: Wanted, host_id: str, version: MQTTProtocolVersion) -> None:
    """Say that the host is online until cancelled, then that it is offline.

    Args:
        host: the host's own connection.
        version: of MQTT, as that connection speaks it.
    """
    topic = f"STATE/{host_id}"
    wanted = replace(
        host,
        client_id=f"{host.client_id}-state",
        filters=(topic,),
        will=Will(topic, _OFFLINE),
    )
    backoff = Backoff()
    while True:
        try:
            async with connected(wanted, version) as connection:
                backoff.reset()
                try:
                    connection.publish(topic, _ONLINE, qos=1, retain=True)
                    while True:
                        batch = await connection.take(100, _TAKE_S)
                        said = [each.payload for each in batch.messages if not each.retained]
                        if _OFFLINE in said:
                            connection.publish(topic, _ONLINE, qos=1, retain=True)
                        connection.stored(batch)
                finally:
                    await connection.publish_and_wait(topic, _OFFLINE, _GOODBYE_S)
        except ConnectionLost as error:
            fields = {"topic": topic, "reason": readable(str(error))}
            log.warning("no connection for the state of version 2.2", extra={"fields": fields})
        await backoff.wait()
