"""A connection to machines as the plant file writes it, with how it is secured. Values only."""

from __future__ import annotations

from collections.abc import Collection
from datetime import date, timedelta
from ipaddress import ip_address
from typing import Literal, get_args
from urllib.parse import urlsplit

from pydantic import Field, PrivateAttr, ValidationInfo, field_validator, model_validator

from aurelian.model.addresses import check_url
from aurelian.model.alarms_model import AlarmsModel, as_mapping
from aurelian.model.monitoring import Monitoring
from aurelian.model.mqtt_model import MqttTls, SparkplugModel
from aurelian.model.mqtt_payloads import OF_PLAIN_MQTT, PlainMqtt
from aurelian.model.opcua_model import EventTime, OpcuaSecurity, Redundancy, SecurityPolicy
from aurelian.model.plant_parts import Name, check_zone
from aurelian.model.status_codes import StatusCode
from aurelian.model.written import CalendarDate


class SourceModel(PlainMqtt):
    """A connection that a gateway keeps; what plain MQTT takes is said in `PlainMqtt`.

    Attributes:
        kind: which gateway; `mqtt_json` is the older name of `mqtt`.
        url: `opc.tcp://…`, or `mqtt://…`, `mqtts://…` (TLS), `ws://…`, `wss://…`;
            `${NAME:-default}` is filled from the environment.
        group, edge_node: sparkplug: which edge nodes; `+` for all.
        publishing_interval_ms: opcua; a day at most.
        monitoring: opcua: how values are asked for; a signal may say otherwise.
        good_status: opcua: odd status codes, by name or number, whose values count as good.
        event_time: opcua: which time a value counts at. Where it is not there or cannot be: the
            server's after the source's, the source's after the server's, the gateway's after both.
        closed: reject unknown signals instead of registering them as discovered.
        time_zone: of times without a zone.
        user: signs in by this name, with the password that is in the file `password_file` or in
            the environment variable `password_env`. Empty: nobody is named.
        user_certificate, user_key: opcua: signs in by a certificate; paths of its file and its
            key's (DER or PEM).
        security: opcua. None: a server on this machine is spoken to in the clear, any other as
            the defaults of `OpcuaSecurity` say.
        tls: mqtt: how TLS is spoken, for `mqtts://` and `wss://`. None: as the defaults of
            `MqttTls` say.
        sparkplug: what our host application does there. None: as the defaults of
            `SparkplugModel` say.
        redundant: opcua: addresses of further servers with the same nodes, one of which takes over
            where the first is lost or worse (part 4, 6.6.2).
        redundancy: opcua: how they are kept ready; `none`: the server's own list of others is not
            looked at. None: as the server says, else cold.
        alarms: opcua: its events and alarms are taken. None: they are not.
        oldest: no live value of it is older than this day; an older time is a wrong clock's. None:
            400 days before the gateway's first start.
    """

    id: Name
    kind: Literal["opcua", "mqtt", "mqtt_json", "sparkplug"]
    url: str
    group: str = "+"
    edge_node: str = "+"
    publishing_interval_ms: int = Field(250, gt=0, le=86_400_000)
    monitoring: Monitoring | None = None
    good_status: tuple[StatusCode, ...] = ()
    event_time: EventTime = "source"
    closed: bool = False
    time_zone: str = "UTC"
    oldest: CalendarDate | None = None
    user: str = ""
    password_file: str = ""
    password_env: str = ""
    user_certificate: str = ""
    user_key: str = ""
    redundant: tuple[str, ...] = ()
    redundancy: Redundancy | None = None
    security: OpcuaSecurity | None = None
    tls: MqttTls | None = None
    sparkplug: SparkplugModel | None = None
    alarms: AlarmsModel | None = None
    _site: str = PrivateAttr("")

    @field_validator("time_zone")
    @classmethod
    def _known_zone(cls, zone: str) -> str:
        return check_zone(zone)

    @field_validator("url")
    @classmethod
    def _usable_url(cls, url: str, info: ValidationInfo) -> str:
        if "kind" in info.data:
            check_url(url, info.data["kind"])
        return url

    @field_validator("redundant")
    @classmethod
    def _usable_urls(cls, urls: tuple[str, ...], info: ValidationInfo) -> tuple[str, ...]:
        for n, url in enumerate(urls):
            check_url(url, "opcua")
            if url in (info.data.get("url"), *urls[:n]):
                raise ValueError(f"{url} stands there twice; name each server once")
        return urls

    @field_validator("oldest")
    @classmethod
    def _is_past(cls, oldest: date | None) -> date | None:
        # A day ahead is still past somewhere; a year that was mistyped would refuse every time.
        if oldest is not None and oldest > date.today() + timedelta(days=1):
            raise ValueError(f"{oldest} is in the future: the time of every value would be refused")
        return oldest

    @field_validator("good_status", mode="before")
    @classmethod
    def _one_or_several(cls, given: object) -> object:
        return (given,) if isinstance(given, str | int) else given

    @field_validator("alarms", mode="before")
    @classmethod
    def _on_or_off(cls, given: object) -> object:
        return as_mapping(given)

    @field_validator("security", mode="before")
    @classmethod
    def _is_mapping(cls, given: object) -> object:
        if isinstance(given, str | bool | int | float | list | tuple):
            in_clear = str(given).lower() in ("none", "no", "off", "false")
            policy = "None" if in_clear else given if given in get_args(SecurityPolicy) else "best"
            raise ValueError(
                f"{given!r} is no mapping; say `security: {{policy: {policy}}}`"
                + (", which speaks in the clear" if in_clear else "")
            )
        return given

    def _fault(self) -> str:
        if self.is_plain_mqtt:
            return super()._fault()
        given = [
            each for each in OF_PLAIN_MQTT if each in self.model_fields_set and getattr(self, each)
        ]
        return f"`{given[0]}` is there for kind mqtt only; take it out" if given else ""

    @model_validator(mode="after")
    def _signs_in_one_way(self) -> SourceModel:
        for name in _OF_MQTT if self.kind == "opcua" else _OF_OPCUA:
            if name in self.model_fields_set and getattr(self, name):
                kinds = "the kinds of MQTT" if self.kind == "opcua" else "kind opcua"
                raise ValueError(f"`{name}` is there for {kinds} only; take it out")
        if self.sparkplug is not None and self.kind != "sparkplug":
            raise ValueError("`sparkplug` is there for kind sparkplug only; take it out")
        if self.tls is not None and not is_secure(self.url):
            raise ValueError(
                "`tls` is there for mqtts:// and wss:// only: change the url, or take it out"
            )
        if self.password_file and self.password_env:
            raise ValueError("say `password_file` or `password_env`, not both")
        if (self.password_file or self.password_env) and not self.user:
            raise ValueError("a password needs the name of its `user`")
        if bool(self.user_certificate) != bool(self.user_key):
            raise ValueError("`user_certificate` and `user_key` belong together; give both")
        if self.user and self.user_certificate:
            raise ValueError("sign in by `user` or by `user_certificate`, not both")
        if self.user and not (self.password_file or self.password_env):
            raise ValueError(
                f"the password of `user: {self.user}` is nowhere: say `password_file` or "
                "`password_env` (an empty file, or a variable that is set to nothing, where it has "
                "none)"
            )
        return self

    @model_validator(mode="after")
    def _asks_for_what_is_looked_at(self) -> SourceModel:
        if self.security is None or self.security.policy != "None":
            return self
        if self.user or self.user_certificate:
            return self  # the password is encrypted for the server's certificate
        given = [each for each in _OF_CERTIFICATE if each in self.security.model_fields_set]
        if given:
            raise ValueError(
                f"with `policy: None` and no `user` nobody looks at the server's certificate: "
                f"`{given[0]}` of `security` counts for nothing; take it out, or take `policy` out "
                "for a secured connection"
            )
        return self

    @model_validator(mode="after")
    def _knows_its_servers(self) -> SourceModel:
        if not self.redundant:
            return self
        if self.redundancy == "none":
            raise ValueError(
                "`redundant` names servers that `redundancy: none` does without; take one of them "
                "out"
            )
        of_one = [each for each in _OF_ONE_SERVER if self.security and getattr(self.security, each)]
        if of_one:
            raise ValueError(
                f"`{of_one[0]}` of `security` fits one server, and `redundant` names further ones: "
                "take it out, and trust each certificate (`aurelian trust add`)"
            )
        return self

    def at(self, url: str, server_uri: str = "") -> SourceModel:
        """The same source at another of its servers alone; `server_uri`: the ApplicationUri that
        its certificate must carry, empty: as `security` says."""
        update: dict[str, object] = {"url": url, "redundant": ()}
        if server_uri:
            security = self.security or OpcuaSecurity()
            update["security"] = security.model_copy(update={"server_uri": server_uri})
        return self.model_copy(update=update)

    @model_validator(mode="after")
    def _repeats_keep_their_time(self) -> SourceModel:
        if self.event_time == "gateway" and self.monitoring and self.monitoring.heartbeat_s:
            raise ValueError(
                "`heartbeat_s` repeats a value with its time, and with `event_time: gateway` each "
                "would be a new one; take one of them out"
            )
        return self

    def security_in(self, clear_hosts: Collection[str]) -> OpcuaSecurity:
        """`security`, or what holds where it says nothing; `clear_hosts`: may be spoken to in the
        clear, as this machine may."""
        if self.security is not None:
            return self.security
        return OpcuaSecurity(policy="None" if self._may_be_clear(clear_hosts) else "best")

    def refused_in_clear(self, clear_hosts: Collection[str]) -> str:
        """Why a gateway does not speak to the server or broker, and what to do: it would be in the
        clear, beyond this machine and `clear_hosts`; of a broker's that counts for passwords.
        Empty: it does."""
        for url in self.redundant:
            if reason := self.at(url).refused_in_clear(clear_hosts):
                return reason
        if self._may_be_clear(clear_hosts):
            return ""
        host = urlsplit(self.url).hostname or ""
        if self.kind != "opcua":
            if is_secure(self.url) or not self.user:
                return ""
            return (
                f"{host} is not this machine, and {urlsplit(self.url).scheme}:// would send the "
                f"password of {self.user!r} in the clear: say mqtts:// (or wss://), or, if the "
                f"network between is closed, set AURELIAN_MQTT_INSECURE_HOSTS={host}"
            )
        if self.security_in(clear_hosts).policy != "None":
            return ""
        return (
            f"{host} is not this machine, and `policy: None` would speak to it in the clear: take "
            "it out, or, if the network between is closed, set "
            f"AURELIAN_OPCUA_INSECURE_HOSTS={host}"
        )

    def _may_be_clear(self, clear_hosts: Collection[str]) -> bool:
        host = urlsplit(self.url).hostname or ""
        return is_loopback(host) or host in {each.lower() for each in clear_hosts}

    @property
    def is_plain_mqtt(self) -> bool:
        """Whether it takes topics of MQTT, each with a payload of its own."""
        return self.kind in ("mqtt", "mqtt_json")

    @property
    def key(self) -> str:
        """`owner/site/id`: the source's name wherever sources of several sites meet (records,
        ledger, presence, metrics, logs); its bare id before a plant has taken it in."""
        return f"{self._site}/{self.id}" if self._site else self.id

    @property
    def slug(self) -> str:
        """`key` for file names and client ids: `~`, which no name has, for `/`."""
        return self.key.replace("/", "~")

    def place(self, site: str) -> None:
        """Say which site the source belongs to; called by the `Plant` that takes it in.

        Args:
            site: the site's path, `owner/site`.
        """
        self._site = site


_OF_ONE_SERVER = ("server_uri", "server_sha256")

_OF_CERTIFICATE = ("server_uri", "server_sha256", "trust", "waive")

_OF_VALUES = ("monitoring", "good_status", "event_time")

_OF_OPCUA = (
    "redundant",
    "redundancy",
    "security",
    "alarms",
    "user_certificate",
    "user_key",
    *_OF_VALUES,
)

_OF_MQTT = ("tls",)


def is_secure(url: str) -> bool:
    """Whether the address of a broker is spoken to over TLS."""
    return urlsplit(url).scheme in ("mqtts", "wss")


def is_loopback(host: str) -> bool:
    """Whether a host is this machine, by its name or number alone."""
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
