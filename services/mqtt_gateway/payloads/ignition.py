"""Payload `ignition`: what MQTT Transmission of Ignition sends as JSON.

The UNS transmitter sends one tag a message, `{"tagName": …, "dataType": …, "value": …,
"timestamp": ms, "quality": …}`, its topic is the tag's path. Transmitters of Sparkplug that are set
to JSON send `{"timestamp": …, "metrics": [{"name": …, "value": …, "properties": …}], "seq": …}`.
Topics that end in `.props` describe a tag.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace

from aurelian.model.evidence import UNCERTAIN_LAST_USABLE
from aurelian.model.sample import BAD, Flag, ValueType
from mqtt_gateway import quality
from mqtt_gateway.json_payload import Broken, Field, Unreadable, flat_members, parse_json
from mqtt_gateway.payloads.contract import ASIDE, Context, Message, Part

_NAMES = ("tagName", "name", "tag", "tagPath", "path")
_QUALITIES = ("quality", "qualityCode", "Quality")
_STALE = 500


def decode(message: Message, context: Context) -> Sequence[Part]:
    """One tag, several of them, or a payload of Sparkplug as JSON."""
    if message.topic.endswith(".props"):
        return ASIDE
    content = parse_json(message.payload)
    reader = _Tags(context, message.topic, context.declared(context.unit))
    path = message.places.get("signal", "").strip("/")
    if isinstance(content, dict) and isinstance(content.get("metrics"), list):
        return (Part(list(reader.all(content["metrics"], content.get("timestamp"))), None),)
    if isinstance(content, list):
        return (Part(list(reader.all(content, None))),)
    if not isinstance(content, dict) or "value" not in content:
        raise Unreadable("neither a tag with its `value` nor `metrics`")
    return (Part(list(reader.tag(path or _name(content), content, None))),)


class _Tags:
    """Reads tags of one message."""

    def __init__(self, context: Context, topic: str, declared: Mapping[str, ValueType]) -> None:
        self._context, self._topic, self._declared = context, topic, declared

    def all(self, tags: Sequence[object], time: object) -> Iterator[Field | Broken]:
        """Tags that say their names; `time`: of those that have none."""
        for tag in tags:
            if not isinstance(tag, dict) or not _name(tag):
                raise Unreadable("a tag without a name")
            yield from self.tag(_name(tag), tag, time)

    def tag(
        self, name: str, tag: Mapping[str, object], otherwise: object
    ) -> Iterator[Field | Broken]:
        """The values of one tag; several where it is a structure."""
        time, flags = self._context.time(tag.get("timestamp", otherwise), self._topic)
        if tag.get("isHistorical") is True:
            flags |= Flag.HISTORICAL
        if tag.get("isTransient") is True:
            flags |= Flag.TRANSIENT
        value = None if tag.get("isNull") is True else tag.get("value")
        status = _status(_quality(tag))
        for member in flat_members(name, value, time, flags, declared=self._declared):
            yield replace(member, status=status) if isinstance(member, Field) else member


def _name(tag: Mapping[str, object]) -> str:
    return next((str(tag[key]) for key in _NAMES if isinstance(tag.get(key), str)), "")


def _quality(tag: Mapping[str, object]) -> object:
    for about in (tag, tag.get("properties")):
        if not isinstance(about, dict):
            continue
        for key in _QUALITIES:
            found = about.get(key)
            found = found.get("value") if isinstance(found, dict) else found
            if found is not None:
                return found
    return None


def _status(said: object) -> int:
    """The status of a quality: its name (`Bad_Stale`), or its code, with or without Ignition's
    severity in the two upper bits."""
    if said is None:
        return 0
    if isinstance(said, int) and not isinstance(said, bool) and 256 <= said < 1024:
        if said == _STALE:
            return UNCERTAIN_LAST_USABLE
        return BAD if said >= 512 else quality.UNCERTAIN
    if isinstance(said, str) and said.casefold().startswith("error"):
        return BAD
    status = quality.of_json(said)
    return quality.UNCERTAIN if status is None else status
