"""Listen at a broker and say what there is, as it comes. Called by the commands and by the control
API for the tree of topics and the proposals."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Sequence

from aurelian.model.source_model import SourceModel
from aurelian.model.time import now_us
from mqtt_gateway.connect.attempt import signed_in, wanted_of
from mqtt_gateway.connect.sightings import Sightings
from mqtt_gateway.opening import ConnectionLost
from mqtt_gateway.refusals import Refusal
from mqtt_gateway.settings import MqttGatewaySettings
from mqtt_gateway.sparkplug.messages import PREFIX, rebirth_command

LOOK_S = 10.0
_TAKE_S = 0.25


async def look(
    model: SourceModel,
    settings: MqttGatewaySettings,
    filters: Sequence[str] = ("#",),
    seconds: float = LOOK_S,
    *,
    every_s: float = 1.0,
) -> AsyncIterator[Sightings]:
    """Yield what was heard so far, every second and at the end; one and the same object, that grows
    (`topic_tree.tree_of`, `propose.propose`).

    `model`: how to connect; what it listens to does not count. Edge nodes of Sparkplug whose births
    were before are asked for them only where it is of kind sparkplug and its mode allows it.

    Raises:
        ConnectionLost: no broker, it does not take us, or lets us subscribe to none of `filters`.
        PasswordError, OSError, ValueError: no connection comes about.
    """
    mode = "primary" if model.sparkplug is None else model.sparkplug.mode
    asks = (
        model.kind == "sparkplug" and settings.sparkplug_ask_rebirth and mode != "secondary-passive"
    )
    sightings = Sightings(ask_rebirth=asks)
    async with signed_in(wanted_of(model, settings)) as talk:
        granted = await talk.subscribe(filters)
        if all(each.is_failure for each in granted):
            said = f"the broker does not let us subscribe to {', '.join(filters)}: {granted[0]}"
            step = "name a filter that you may read, or look at the broker's access list"
            raise ConnectionLost(said, Refusal(step))
        began = yielded = time.monotonic()
        while (now := time.monotonic()) - began < seconds:
            batch = await talk.take(min(_TAKE_S, seconds))
            for edge in sightings.take(batch.messages):
                topic = f"{PREFIX}/{edge.group}/NCMD/{edge.node}"
                talk.connection.publish(topic, rebirth_command(now_us()), qos=0, retain=False)
            if now - yielded >= every_s:
                yielded = now
                yield sightings
    yield sightings
