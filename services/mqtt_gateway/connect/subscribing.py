"""Rung SUBSCRIBE: what a broker lets us read, and what it does not promise. Used by the ladder."""

from __future__ import annotations

import secrets
import time
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import replace

from paho.mqtt.enums import MQTTProtocolVersion

from aurelian.edge.ladder import Rung, Step, Verdict
from aurelian.edge.names import readable
from aurelian.model.source_model import SourceModel
from mqtt_gateway.connect import causes
from mqtt_gateway.connect.attempt import Talk, talking
from mqtt_gateway.connect.causes import passed, step_of
from mqtt_gateway.opening import ConnectionLost
from mqtt_gateway.settings import MqttGatewaySettings

_LIMITS = {
    "MaximumPacketSize": "maximum_packet_bytes",
    "ReceiveMaximum": "receive_maximum",
    "ServerKeepAlive": "keep_alive_s",
    "MaximumQoS": "maximum_qos",
}
"""Limits that a broker names, as facts of the step."""


async def subscribe_step(
    talk: Talk, model: SourceModel, settings: MqttGatewaySettings, filters: Sequence[str]
) -> Step:
    """Subscribe to the filters of a source and say how it went."""
    began = time.monotonic()
    names = ", ".join(readable(each, 200) for each in filters)
    filled = {"filters": names, "who": _who(model, talk)}
    facts = {ours: str(talk.limits[name]) for name, ours in _LIMITS.items() if name in talk.limits}

    def failed(code: str, **more: object) -> Step:
        seconds = time.monotonic() - began
        return step_of(code, seconds=seconds, facts=facts, filled={**filled, **more})

    if talk.limits.get("WildcardSubscriptionAvailable") == 0 and any(
        each in ("+", "#") for name in filters for each in name.split("/")
    ):
        return failed("E1655")
    if model.share is not None and talk.limits.get("SharedSubscriptionAvailable") == 0:
        return failed("E1654")
    try:
        granted = await talk.subscribe(filters)
    except ConnectionLost as error:
        return failed("E1652", what=readable(str(error), 200))
    except TimeoutError:
        return failed("E1653")
    refused = {
        each: str(code) for each, code in zip(filters, granted, strict=False) if code.is_failure
    }
    if refused:
        shown = ", ".join(readable(each, 200) for each in refused)
        return failed("E1651", filters=shown, what=next(iter(refused.values())))
    if model.share is not None and not await _may_share(talk, model, filters):
        return failed("E1654")
    said = f"the broker lets us read {names}"
    step = passed(Rung.SUBSCRIBE, said, time.monotonic() - began, facts)
    for warning in await _warnings(talk, model, settings, min(each.value for each in granted)):
        if step.verdict is Verdict.PASSED:
            step = replace(warning, facts={**facts, **warning.facts}, seconds=step.seconds)
        else:
            step = causes.both(step, warning)
    return step


async def _warnings(
    talk: Talk, model: SourceModel, settings: MqttGatewaySettings, qos: int
) -> list[Step]:
    found = []
    if model.is_plain_mqtt and qos == 0:
        found.append(step_of("E1661", verdict=Verdict.WARNING))
    wanted_s = settings.mqtt_session_expiry_s
    kept_s = await _session_kept_s(talk, wanted_s) if model.is_plain_mqtt else wanted_s
    if kept_s < wanted_s:
        found.append(step_of("E1662", verdict=Verdict.WARNING, kept=kept_s, wanted=wanted_s))
    is_primary = not model.is_plain_mqtt and (
        model.sparkplug is None or model.sparkplug.mode == "primary"
    )
    if is_primary and talk.limits.get("RetainAvailable") == 0:
        found.append(step_of("E1663", verdict=Verdict.WARNING))
    return found


async def _session_kept_s(talk: Talk, wanted_s: int) -> int:
    """How long the broker would keep our session (MQTT 5). Asked by a short connection of its own
    that subscribes to nothing and tells the broker at its end to keep nothing."""
    if talk.version != MQTTProtocolVersion.MQTTv5 or not wanted_s:
        return wanted_s
    asking = replace(
        talk.wanted, client_id=f"{talk.wanted.client_id}-s", clean=False, expiry_s=wanted_s
    )
    with suppress(OSError, ValueError):
        async with talking(asking, talk.version) as short:
            if not short.reason.is_failure:
                await short.leave_no_session()
                kept = short.limits.get("SessionExpiryInterval", wanted_s)
                return kept if isinstance(kept, int) else wanted_s
    return wanted_s


async def _may_share(talk: Talk, model: SourceModel, filters: Sequence[str]) -> bool:
    """Whether the broker takes a shared subscription: of a group of our own, so that no message of
    the source's group comes here."""
    group = f"connect-{secrets.token_hex(4)}"
    shared = [f"$share/{group}/{each}" for each in filters]
    try:
        granted = await talk.subscribe(shared)
    except (ConnectionLost, TimeoutError):
        return False
    talk.unsubscribe(shared)
    return not any(each.is_failure for each in granted)


def _who(model: SourceModel, talk: Talk) -> str:
    if model.user:
        return f"the user {readable(model.user, 100)!r}"
    client = talk.wanted.client_id.rpartition("-connect-")[0]
    return f"clients whose id begins with {client}"
