"""What a plain MQTT source takes: topics, how their payloads are written, and how their times are
read. Part of a source in the plant file; values only."""

from __future__ import annotations

from functools import cached_property
from typing import Literal, Self, get_args

from pydantic import Field, field_validator, model_validator

from aurelian.model.addresses import AddressError
from aurelian.model.mqtt_topics import Template, check_same_names, parse_template
from aurelian.model.plant_base import PlantPart
from aurelian.model.written import suggest

PayloadName = Literal[
    "json",
    "bare",
    "umh",
    "tasmota",
    "shelly_gen1",
    "shelly_gen2",
    "zigbee2mqtt",
    "aws_shadow",
    "azure",
    "thingsboard",
    "cumulocity",
    "senml",
    "homie",
    "ignition",
    "cbor",
    "protobuf",
    "raw",
]
"""How a payload is written; each has a decoder in `mqtt_gateway.payloads`."""

USUAL_TOPICS: dict[str, tuple[str, ...]] = {
    "umh": ("umh/v1/{location}/{contract}/#",),
    "tasmota": ("tele/{unit}/#", "stat/{unit}/#"),
    "shelly_gen1": ("shellies/{unit}/#",),
    "shelly_gen2": ("{unit}/events/rpc", "{unit}/status/#", "{unit}/online"),
    "zigbee2mqtt": ("zigbee2mqtt/{unit}/#",),
    "aws_shadow": (
        "$aws/things/{unit}/shadow/update/accepted",
        "$aws/things/{unit}/shadow/name/+/update/accepted",
    ),
    "azure": ("devices/{unit}/messages/events/#",),
    "thingsboard": ("v1/devices/me/+", "v1/gateway/+"),
    "cumulocity": (
        "s/us",
        "s/us/{unit}",
        "measurement/measurements/+",
        "event/events/+",
        "alarm/alarms/+",
    ),
    "homie": ("homie/{unit}/#",),
    "ignition": ("unsAv1.0/{enterprise}/{site}/{area}/{line}/{unit}/#",),
}
"""Topics of products that fix them, taken where an entry names none."""

TimeUnit = Literal["auto", "s", "ms", "us", "ns"]
"""What numbers that are times count; `auto`: told by their size."""

RawType = Literal[
    "int8",
    "uint8",
    "int16",
    "uint16",
    "int32",
    "uint32",
    "int64",
    "uint64",
    "float32",
    "float64",
    "bool",
]


class RawField(PlantPart):
    """A number at a fixed place of a payload.

    Attributes:
        name: the address that a signal names it by.
        offset: of its first byte.
        order: of its bytes.
        bit: bool: which bit of the byte, 0 the lowest.
        scale, add: value = number * scale + add.
    """

    name: str = Field(min_length=1, max_length=200)
    type: RawType
    offset: int = Field(ge=0, le=1_000_000)
    order: Literal["big", "little"] = "big"
    bit: int = Field(0, ge=0, le=7)
    scale: float = 1.0
    add: float = 0.0

    @model_validator(mode="after")
    def _fits(self) -> RawField:
        if self.bit and self.type != "bool":
            raise ValueError("`bit` is there for type bool only")
        if self.scale == 0:
            raise ValueError("a scale of 0 makes every value the same")
        if self.type == "bool" and (self.scale, self.add) != (1.0, 0.0):
            raise ValueError("a bool has no `scale` and no `add`")
        return self


class ProtobufModel(PlantPart):
    """How protobuf payloads are read.

    Attributes:
        descriptor_file: a FileDescriptorSet, as `protoc --include_imports -o FILE` writes it.
        message: full name of the type that every payload is, say `plant.v1.Reading`.
    """

    descriptor_file: str = Field(min_length=1)
    message: str = Field(min_length=1)


class TopicModel(PlantPart):
    """Topics whose payloads are written alike.

    Attributes:
        topic: filter with places; empty: those that the product fixes.
        payload: how its payloads are written.
        time_member: json and cbor: the member that says a payload's time, `a.b` where it stands
            deeper, beside those whose names say so.
        layout: raw: the numbers of a payload.
        protobuf: protobuf: what a payload is.
    """

    topic: str = ""
    payload: PayloadName = "json"
    time_member: str = ""
    layout: tuple[RawField, ...] = ()
    protobuf: ProtobufModel | None = None

    @field_validator("topic")
    @classmethod
    def _usable_topic(cls, topic: str) -> str:
        if topic:
            parse_template(topic)
        return topic

    @field_validator("payload", mode="before")
    @classmethod
    def _known_payload(cls, given: object) -> object:
        known = get_args(PayloadName)
        if isinstance(given, str) and given not in known:
            meant = suggest(given, known) or f"; there are {', '.join(known)}"
            raise ValueError(f"{given!r} is no way to write payloads{meant}")
        return given

    @model_validator(mode="after")
    def _is_complete(self) -> Self:
        if fault := self._fault():
            raise ValueError(fault)
        return self

    def _fault(self) -> str:
        """What is missing or too much; empty: nothing."""
        if not self.topic and self.payload not in USUAL_TOPICS:
            return f"payload {self.payload} needs a `topic`; say plant/{{unit}}/state"
        if self.time_member and self.payload not in ("json", "cbor"):
            return f"`time_member` is there for json and cbor only, not for {self.payload}"
        if bool(self.layout) != (self.payload == "raw"):
            return (
                "payload raw needs a `layout`: [{name: force, type: float32, offset: 0}]"
                if self.payload == "raw"
                else "`layout` is there for payload raw only; take it out"
            )
        if (self.protobuf is not None) != (self.payload == "protobuf"):
            return (
                "payload protobuf needs `protobuf: {descriptor_file: plant.desc, message: a.B}`"
                if self.payload == "protobuf"
                else "`protobuf` is there for payload protobuf only; take it out"
            )
        names = [each.name for each in self.layout]
        double = [each for n, each in enumerate(names) if each in names[:n]]
        return f"layout: {double[0]!r} stands twice" if double else ""

    def templates(self, site: str = "enterprise/site") -> tuple[Template, ...]:
        """Its topics; `site`: `owner/site` of the plant."""
        topics = (self.topic,) if self.topic else USUAL_TOPICS[self.payload]
        return tuple(parse_template(each, site) for each in topics)


class ShareModel(PlantPart):
    """A subscription that several gateways share, so that each message goes to one of them.

    Attributes:
        group: its name at the broker.
        read_retained: also take what the broker keeps, which it does not give to a group; for one
            gateway of the group.
    """

    group: str = Field(min_length=1, pattern=r"^[^/+#\x00]+$")
    read_retained: bool = False


class PlainMqtt(TopicModel):
    """What a source of kind mqtt takes: one kind of payload, or `topics`.

    Attributes:
        topics: several topics, each with its payload.
        share: with other gateways; order holds no more. A plain word is its group.
        time_unit: of times that are numbers.
    """

    topics: tuple[TopicModel, ...] = ()
    share: ShareModel | None = None
    time_unit: TimeUnit = "auto"

    @field_validator("share", mode="before")
    @classmethod
    def _group_alone(cls, given: object) -> object:
        return {"group": str(given)} if isinstance(given, str) else given

    @model_validator(mode="after")
    def _says_topics_once(self) -> Self:
        if self.topics and self.model_fields_set & _OF_ONE:
            raise ValueError("say `topic` and `payload`, or `topics` with both in each, not both")
        templates = [each for entry in self.subscriptions for each in entry.templates()]
        filters = [each.filter for each in templates]
        for n, each in enumerate(filters):
            if each in filters[:n]:
                raise AddressError(f"the topic filter {each!r} stands twice; name each once")
        check_same_names(templates)
        return self

    def _fault(self) -> str:
        has_none = not self.model_fields_set & _OF_ONE
        return "" if has_none else super()._fault()

    @cached_property
    def subscriptions(self) -> tuple[TopicModel, ...]:
        """All topics with their payloads."""
        if self.topics or not self.model_fields_set & _OF_ONE:
            return self.topics
        one = {each: getattr(self, each) for each in _OF_ONE & self.model_fields_set}
        return (TopicModel(**one),)

    @cached_property
    def unit_levels(self) -> tuple[str, ...]:
        """`area` and `line`, as far as topics name machines by them."""
        templates = (each for entry in self.subscriptions for each in entry.templates())
        return next((each.levels for each in templates if each.levels), ())

    def unit_key(self, path: str, address: str) -> str:
        """What the source calls a unit of the plant model.

        Args:
            path: of the unit, `owner/site/area/line/name`.
            address: that the plant file gives it; empty: none.
        """
        *_, area, line, name = path.split("/")
        if "/" in address or not self.unit_levels:
            return address or name
        levels = {"area": area, "line": line}
        return "/".join((*(levels[each] for each in self.unit_levels), address or name))


_OF_ONE = {"topic", "payload", "time_member", "layout", "protobuf"}

OF_PLAIN_MQTT = (
    "payload",
    "time_member",
    "layout",
    "protobuf",
    "topics",
    "share",
    "time_unit",
)
"""Fields that other kinds of sources do not have."""
