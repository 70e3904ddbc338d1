"""How a connection to an MQTT broker is secured, and what a Sparkplug host application is there:
parts of a source in the plant file."""

from __future__ import annotations

from typing import Literal, get_args

from pydantic import Field, field_validator, model_validator

from aurelian.model.plant_parts import PlantPart
from aurelian.model.written import suggest

MqttWaiver = Literal["host_name", "validity"]
"""A check of the broker's certificate that a source does without, since its broker cannot pass
it."""


class MqttTls(PlantPart):
    """TLS to a broker (`mqtts://`, `wss://`).

    Attributes:
        ca_file: PEM file of the authorities that may have signed the broker's certificate, or that
            certificate itself. Empty: those that this machine trusts.
        certificate, key: PEM files that we show the broker who we are with; both or none.
        server_name: that the broker's certificate must carry where it is not the url's host (say,
            a number).
        alpn: protocols to ask for, say `mqtt` or `x-amzn-mqtt-ca` on port 443.
        waive: checks that are left out; one may stand as a plain word.
    """

    ca_file: str = ""
    certificate: str = ""
    key: str = ""
    server_name: str = ""
    alpn: tuple[str, ...] = ()
    waive: tuple[MqttWaiver, ...] = ()

    @field_validator("alpn", mode="before")
    @classmethod
    def _one_or_several(cls, given: object) -> object:
        return (given,) if isinstance(given, str) else given

    @field_validator("waive", mode="before")
    @classmethod
    def _known_checks(cls, given: object) -> object:
        known = get_args(MqttWaiver)
        given = (given,) if isinstance(given, str) else given
        for each in given if isinstance(given, list | tuple) else ():
            if each not in known:
                meant = suggest(str(each), known) or f"; there are {', '.join(known)}"
                raise ValueError(f"{each!r} is no check{meant}")
        return given

    @field_validator("alpn")
    @classmethod
    def _short(cls, names: tuple[str, ...]) -> tuple[str, ...]:
        for each in names:
            if not 0 < len(each.encode()) < 256:
                raise ValueError(f"{each[:60]!r} is no protocol's name: 1 to 255 bytes")
        return names

    @model_validator(mode="after")
    def _both_or_none(self) -> MqttTls:
        if bool(self.certificate) != bool(self.key):
            raise ValueError("`certificate` and `key` belong together; give both")
        return self


SparkplugMode = Literal["primary", "secondary-active", "secondary-passive"]
"""What a Sparkplug host application does besides listening: `primary` says by STATE that it is
online and asks for rebirths, `secondary-active` asks for rebirths alone, `secondary-passive` sends
nothing."""


class SparkplugModel(PlantPart):
    """A Sparkplug B host application (specification 3.0).

    Attributes:
        mode: `primary`, `secondary-active` or `secondary-passive`.
        strict: takes edge nodes at the specification's word; else what is known to be broken in
            the field is understood, and told of each node.
        host_id: our name at this broker, in place of the gateway's.
        reorder_s: how long a missing sequence number is waited for, in place of the gateway's; 0:
            not at all.
        legacy_state: `STATE/<host_id>` of version 2.2 is kept too, by a connection of its own.
        certificates: the births that a Sparkplug aware broker keeps are read at each connection.
    """

    mode: SparkplugMode = "primary"
    strict: bool = False
    host_id: str = Field("", pattern=r"^[^/+#]*$")
    reorder_s: float | None = Field(None, ge=0, le=3600)
    legacy_state: bool = False
    certificates: bool = False

    @field_validator("mode", mode="before")
    @classmethod
    def _known_mode(cls, given: object) -> object:
        known = get_args(SparkplugMode)
        if given not in known:
            meant = suggest(str(given), known) or f"; there are {', '.join(known)}"
            raise ValueError(f"{given!r} is no mode of a host application{meant}")
        return given

    @model_validator(mode="after")
    def _only_a_primary_has_a_state(self) -> SparkplugModel:
        if self.mode == "primary":
            return self
        for name in ("legacy_state", "host_id"):
            if getattr(self, name):
                raise ValueError(
                    f"`{name}` is of STATE, which a `{self.mode}` host does not publish: take it "
                    "out, or say `mode: primary`"
                )
        if self.strict and self.mode == "secondary-passive":
            raise ValueError(
                "`strict` asks for a rebirth after a missing number, as the specification demands, "
                "and `mode: secondary-passive` never does: take one of them out"
            )
        return self
