"""How payloads are written, guessed from their topic and some of them: each decoder of the gateway
is tried. Pure; used by the ladder, the tree of topics and the proposals."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import NamedTuple

from aurelian.edge.proposals.proposal import Sureness
from aurelian.model.mqtt_payloads import USUAL_TOPICS, PayloadName, TopicModel
from aurelian.model.mqtt_topics import Template, parse_template
from aurelian.model.sample import ValueType
from mqtt_gateway.json_payload import Unreadable, parse_json
from mqtt_gateway.payloads import cbor
from mqtt_gateway.payloads.contract import Context, Decoder, Memory, Message, Part
from mqtt_gateway.payloads.table import DECODERS
from mqtt_gateway.sparkplug.messages import parse_topic
from mqtt_gateway.sparkplug.payload import UnreadablePayload, read_payload
from mqtt_gateway.times import Times

SPARKPLUG = "sparkplug"
_PRODUCTS = {
    "umh": "the United Manufacturing Hub",
    "tasmota": "Tasmota",
    "shelly_gen1": "Shelly, first generation",
    "shelly_gen2": "Shelly, second generation",
    "zigbee2mqtt": "zigbee2mqtt",
    "aws_shadow": "device shadows of AWS IoT",
    "azure": "Azure IoT",
    "thingsboard": "ThingsBoard",
    "cumulocity": "Cumulocity",
    "homie": "Homie",
    "ignition": "MQTT Transmission of Ignition",
}
_MOST_SAMPLES = 10
_WIRE_TYPES = (0, 1, 2, 5)
_TAG_NAMES = ("tagName", "tagPath")


class Guess(NamedTuple):
    """A way in which payloads may be written.

    Attributes:
        payload: as the plant file names it; `sparkplug`: a kind of source of its own.
        why: for people.
        topic: the product's own, with places; empty: it has none.
        wrong: what cannot be read so, one sentence; empty: all can.
    """

    payload: str
    why: str
    sureness: Sureness
    topic: str = ""
    wrong: str = ""


@dataclass(slots=True)
class Mixture:
    """How many payloads of a topic are JSON with members, and how many no JSON at all; `reason`: of
    the first of those."""

    members: int = 0
    unread: int = 0
    reason: str = ""

    def take(self, payload: bytes) -> None:
        """Count one."""
        try:
            content = parse_json(payload)
        except Unreadable as error:
            self.unread += 1
            self.reason = self.reason or str(error)
        else:
            self.members += isinstance(content, dict | list)

    @property
    def is_one(self) -> bool:
        """Whether some can be read and some cannot, as no payload of one kind can."""
        return bool(self.members and self.unread)


def mixture_of(payloads: Iterable[bytes]) -> Mixture:
    """That of some payloads; empty ones do not count."""
    mixture = Mixture()
    for each in payloads:
        if each:
            mixture.take(each)
    return mixture


@dataclass(frozen=True, slots=True)
class _Usual:
    payload: PayloadName
    text: str
    template: Template


def _usual() -> Iterator[_Usual]:
    for payload, topics in USUAL_TOPICS.items():
        for text in topics:
            any_site = text.replace("{enterprise}", "+").replace("{site}", "+")
            yield _Usual(payload, text, parse_template(any_site))  # type: ignore[arg-type]


_USUAL = tuple(_usual())


def guess(topic: str, payloads: Sequence[bytes]) -> list[Guess]:
    """The ways that fit, the likeliest first; none: there is nothing to look at."""
    some = [each for each in payloads if each][-_MOST_SAMPLES:]
    if not some:
        return []
    if (found := parse_topic(topic)) is not None and _all(read_payload, some, UnreadablePayload):
        why = f"its topic is Sparkplug's ({found.kind} of {'/'.join(found.edge)}), and so is it"
        return [Guess(SPARKPLUG, why, Sureness.CERTAIN)]
    return [*_products(topic, some), *(_by_mixture(payloads) or _by_content(topic, some))]


def _products(topic: str, some: Sequence[bytes]) -> Iterator[Guess]:
    """Products that fix their topics."""
    for each in _USUAL:
        places = each.template.match(topic)
        if places is None or not _reads(DECODERS[each.payload], each, topic, some, places):
            continue
        is_wide = not each.text.split("/")[0].strip("{}+") or each.text.startswith("{")
        if is_wide and not _is_shelly(topic, some):
            continue
        why = f"its topic is that of {_PRODUCTS[each.payload]} ({each.text}), and it can be read so"
        yield Guess(each.payload, why, Sureness.LIKELY, each.text)


def _reads(
    decode: Decoder,
    usual: _Usual,
    topic: str,
    some: Sequence[bytes],
    places: Mapping[str, str],
) -> bool:
    unit = usual.template.unit_name(places) or ""
    entry = TopicModel(payload=usual.payload)
    try:
        for payload in some:
            decode(Message(topic, payload, places), make_context(unit, entry))
    except Unreadable:
        return False
    return True


def make_context(
    unit: str, entry: TopicModel, times: Times | None = None, received_at: int | None = None
) -> Context:
    """A context in which nothing is declared."""
    return Context(unit, _nothing, times or Times(), entry, Memory(), received_at)


def _nothing(unit: str) -> dict[str, ValueType]:
    return {}


def _is_shelly(topic: str, some: Sequence[bytes]) -> bool:
    if topic.split("/")[0].casefold().startswith("shelly"):
        return True
    with suppress(Unreadable):
        content = parse_json(some[-1])
        return isinstance(content, dict) and str(content.get("method", "")).startswith("Notify")
    return False


def _by_content(topic: str, some: Sequence[bytes]) -> Iterator[Guess]:
    contents: list[object] = []
    with suppress(Unreadable):
        contents = [parse_json(each) for each in some]
    if contents:
        yield from _of_json(topic, some, contents)
        return
    if _all(bytes.decode, some, UnicodeDecodeError) and not _has_controls(some):
        yield Guess("bare", "it is a plain text", Sureness.LIKELY)
        return
    yield from _of_bytes(topic, some)


def _by_mixture(payloads: Sequence[bytes]) -> list[Guess]:
    """JSON, where some are and some are not: read as text it would all be lost."""
    mixture = mixture_of(payloads)
    if not mixture.is_one:
        return []
    count = mixture.members + mixture.unread
    wrong = f"{mixture.unread} of {count} payloads cannot be read ({mixture.reason})"
    return [Guess("json", "most is JSON, or some", Sureness.GUESS, wrong=wrong)]


def _of_json(topic: str, some: Sequence[bytes], contents: Sequence[object]) -> Iterator[Guess]:
    is_senml = all(isinstance(each, list) and _is_senml(each) for each in contents)
    if is_senml and _decodes("senml", topic, some):
        yield Guess("senml", "it is a list of SenML records (RFC 8428)", Sureness.LIKELY)
    is_tag = all(isinstance(each, dict) and _is_ignition(each) for each in contents)
    if is_tag and _decodes("ignition", topic, some):
        yield Guess("ignition", "it is a tag as Ignition writes it", Sureness.LIKELY)
    if any(isinstance(each, dict | list) for each in contents):
        yield Guess("json", "it is JSON", Sureness.LIKELY)
        return
    yield Guess("bare", "it is one plain value", Sureness.LIKELY)
    yield Guess("json", "one plain value is JSON too", Sureness.GUESS)


def _of_bytes(topic: str, some: Sequence[bytes]) -> Iterator[Guess]:
    if _decodes("senml", topic, some):
        yield Guess("senml", "it is a list of SenML records in CBOR (RFC 8428)", Sureness.LIKELY)
    with suppress(Unreadable):
        if all(isinstance(cbor.to_plain(each), dict | list) for each in some):
            yield Guess("cbor", "it is CBOR with members", Sureness.LIKELY)
    if all(_is_protobuf(each) for each in some):
        why = "its bytes are in order as protobuf; that needs the descriptor of its message"
        yield Guess("protobuf", why, Sureness.GUESS)
    sizes = {len(each) for each in some}
    why = (
        f"it has always {len(some[0])} bytes; that needs a layout"
        if len(sizes) == 1
        else f"it has {min(sizes)} to {max(sizes)} bytes and nothing else fits; it needs a layout"
    )
    yield Guess("raw", why, Sureness.GUESS)


def _decodes(payload: PayloadName, topic: str, some: Sequence[bytes]) -> bool:
    entry = TopicModel(topic="x/{unit}", payload=payload)
    try:
        for each in some:
            parts = DECODERS[payload](Message(topic, each), make_context("x", entry))
            if not _has_members(parts):
                return False
    except Unreadable:
        return False
    return True


def _has_members(parts: Sequence[Part]) -> bool:
    return any(part.members for part in parts)


def _is_senml(content: list[object]) -> bool:
    keys = {"n", "bn"}
    return bool(content) and all(
        isinstance(each, dict) and bool(keys & each.keys() or {"v", "vs", "vb"} & each.keys())
        for each in content
    )


def _is_ignition(content: dict[str, object]) -> bool:
    metrics = content.get("metrics")
    if isinstance(metrics, list):
        return bool(metrics) and all(isinstance(each, dict) and "name" in each for each in metrics)
    return "value" in content and any(each in content for each in _TAG_NAMES)


def _is_protobuf(payload: bytes) -> bool:
    """Whether bytes are whole fields, of ordinary numbers."""
    at = 0
    while at < len(payload):
        tag, at = _varint(payload, at)
        if at < 0 or not 0 < tag >> 3 < 1000 or tag & 7 not in _WIRE_TYPES:
            return False
        match tag & 7:
            case 0:
                _, at = _varint(payload, at)
            case 1:
                at += 8
            case 2:
                size, at = _varint(payload, at)
                at += size if at >= 0 else 0
            case 5:
                at += 4
        if at < 0:
            return False
    return at == len(payload)


def _varint(payload: bytes, at: int) -> tuple[int, int]:
    """A number and where it ends; -1: it does not."""
    value = shift = 0
    for place in range(at, min(at + 10, len(payload))):
        value |= (payload[place] & 0x7F) << shift
        if payload[place] < 0x80:
            return value, place + 1
        shift += 7
    return 0, -1


def _has_controls(some: Sequence[bytes]) -> bool:
    return any(byte < 32 and byte not in (9, 10, 13) for each in some for byte in each[:1000])


def _all(read: object, some: Sequence[bytes], fault: type[Exception]) -> bool:
    assert callable(read)
    try:
        for each in some:
            read(each)
    except fault:
        return False
    return True
