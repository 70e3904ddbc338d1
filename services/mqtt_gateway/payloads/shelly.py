"""Payloads `shelly_gen1` and `shelly_gen2`: devices of Shelly.

Gen 1: `shellies/<device>/relay/0/power`, mostly bare values; the address is what follows the
device. Gen 2 and later: `<device>/events/rpc` with changes (`NotifyStatus`, `NotifyFullStatus`,
`NotifyEvent`), `<device>/status/<component>` and `<device>/online`; the address is
`<component>.<member>`, say `switch:0.apower`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from aurelian.model.sample import Flag, ValueType
from mqtt_gateway.json_payload import Broken, Field, Unreadable, flat_members, make_field
from mqtt_gateway.payloads.bare import (
    field_of_text,
    json_or_text,
    object_of,
    text_of,
    with_words,
)
from mqtt_gateway.payloads.contract import (
    ASIDE,
    Context,
    DeviceState,
    Message,
    Part,
    Presence,
)

_TO_DEVICES = ("command", "set", "rpc")
_NO_VALUES = ("component", "id", "event", "ts")


def decode_gen1(message: Message, context: Context) -> Sequence[Part]:
    """Bare values; `info`, `status` and events are objects."""
    name = message.places.get("signal", "").strip("/")
    if context.unit == "command" or name.rpartition("/")[2] in _TO_DEVICES:
        return ASIDE
    if name == "online":
        return (_online(message.payload),)
    declared = context.declared(context.unit)
    content = json_or_text(message.payload)
    if isinstance(content, str):
        return (Part([field_of_text(name, content, declared.get(name))]),)
    time, flags = None, Flag.NONE
    unit = None
    if isinstance(content, dict):
        if not name and isinstance(content.get("id"), str):  # shellies/announce
            unit, name = str(content["id"]), "announce"
        if content.get("unixtime"):  # 0 where it is not set yet
            time, flags = context.time(content["unixtime"], message.topic)
    members = flat_members(name, content, time, flags, declared=declared)
    return (Part(list(with_words(members, declared)), unit),)


def decode_gen2(message: Message, context: Context) -> Sequence[Part]:
    """Notifications and states of components."""
    levels = message.topic.split("/")
    if levels[-1] == "online":
        return (_online(message.payload),)
    declared = context.declared(context.unit)
    if levels[-2:] == ["events", "rpc"]:
        members = list(_notified(message, context, declared))
        return (Part(members),) if members else ASIDE
    if "status" not in levels[1:]:
        return ASIDE
    place = len(levels) - 1 - levels[::-1].index("status")
    component = "/".join(levels[place + 1 :])
    state = object_of(message.payload)
    time, flags = None, Flag.NONE
    if component == "sys" and state.get("unixtime"):
        time, flags = context.time(state["unixtime"], message.topic)
    return (Part(list(_component(component, state, time, flags, declared))),)


def _notified(
    message: Message, context: Context, declared: Mapping[str, ValueType]
) -> Iterator[Field | Broken]:
    frame = object_of(message.payload)
    params = frame.get("params")
    if not isinstance(params, dict):
        raise Unreadable("a notification without `params`")
    time, flags = context.time(params.get("ts"), message.topic)
    match frame.get("method"):
        case "NotifyStatus" | "NotifyFullStatus":
            for name, state in params.items():
                if name != "ts":
                    yield from _component(name, state, time, flags, declared)
        case "NotifyEvent":
            events = params.get("events")
            for event in events if isinstance(events, list) else []:
                if isinstance(event, dict) and isinstance(event.get("component"), str):
                    yield from _event(event, message, context, (time, flags))
        case other:
            raise Unreadable(f"method {other!r:.60} is no notification")


def _event(
    event: dict[str, object], message: Message, context: Context, at: tuple[int | None, Flag]
) -> Iterator[Field | Broken]:
    time, flags = context.time(event["ts"], message.topic) if "ts" in event else at
    name = str(event["component"])
    yield make_field(f"{name}.event", event.get("event"), time, 0, flags)
    for key, value in event.items():
        if key not in _NO_VALUES:
            yield from flat_members(f"{name}.{key}", value, time, flags)


def _component(
    name: str,
    state: object,
    time: int | None,
    flags: Flag,
    declared: Mapping[str, ValueType],
) -> Iterator[Field | Broken]:
    if isinstance(state, dict):
        state = {key: value for key, value in state.items() if key != "id"}
    yield from with_words(flat_members(name, state, time, flags, declared=declared), declared)


def _online(payload: bytes) -> Part:
    word = text_of(payload).strip()
    presence = Presence.ONLINE if word.casefold() == "true" else Presence.LOST
    return Part(state=DeviceState(presence, f"online is {word}"))
