"""The table of Aurelian's processes: what the launcher starts, in which order it stops them, what
each is told.

Read by `stack.py`. A service learns everything from its environment.
"""

import enum
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from aurelian.local.pilot_trust import password_file
from aurelian.local.processes import Program


class Rank(enum.IntEnum):
    """When a process is stopped: lower ranks first, so that a source is silent before its reader
    goes."""

    PLANT = 0
    GATEWAY = 1
    WORKER = 2
    API = 3
    PAGE = 4


@dataclass(frozen=True, slots=True)
class Service:
    """One process of the table."""

    name: str
    module: str
    rank: Rank
    url_setting: str | None = None
    """The setting by which others learn this one's address."""

    @property
    def answers(self) -> bool:
        """It listens for requests, on a port apart from health and metrics."""
        return self.rank in (Rank.API, Rank.PAGE) or self.is_gateway

    @property
    def is_gateway(self) -> bool:
        """It has a control API, without which it runs as well."""
        return self.rank is Rank.GATEWAY

    @property
    def role(self) -> str:
        """Database role: worker and API of a service share one."""
        return "aurelian_" + self.module.partition(".")[0]


SERVICES = (
    Service("pilot_factory", "pilot_factory", Rank.PLANT),
    Service("opcua_gateway", "opcua_gateway", Rank.GATEWAY),
    Service("mqtt_gateway", "mqtt_gateway", Rank.GATEWAY),
    Service("historian", "historian", Rank.WORKER),
    Service("line_health", "line_health", Rank.WORKER),
    Service("maintenance", "maintenance", Rank.WORKER),
    Service("capacity", "capacity", Rank.WORKER),
    Service("history", "history", Rank.API, "AURELIAN_HISTORY_URL"),
    Service("maintenance.api", "maintenance.api", Rank.API, "AURELIAN_MAINTENANCE_URL"),
    Service("capacity.api", "capacity.api", Rank.API, "AURELIAN_CAPACITY_URL"),
    Service("partner_events", "partner_events", Rank.WORKER),
    Service("partner_events.api", "partner_events.api", Rank.API, "AURELIAN_EVENTS_URL"),
    Service("dashboard", "dashboard", Rank.PAGE),
)


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the running stack offers to its services."""

    home: Path
    plant: Path
    """Folders of plant-model files, as the setting names them."""
    pilot_plant: Path
    """Of what the pilot plant simulates."""
    kafka_bootstrap: str
    mqtt_url: str
    database_url: Mapping[str, str]
    """By role."""
    owner_url: str
    """The database as its owner, for steps that are no service."""
    ops_port: Mapping[str, int]
    """Of health and metrics, by service."""
    api_port: Mapping[str, int]
    """Of what answers requests (APIs and pages), by service."""
    pilot_opcua_port: int
    pilot_control_port: int


def pepper_file(home: Path) -> Path:
    """Return the file with the secret that goes into the hash of every key."""
    return home / "state" / "key-pepper"


def control_key_file(home: Path) -> Path:
    """Return the file with the key of the gateways' control APIs; the first gateway makes it."""
    return home / "state" / "control.key"


def secrets_folder(home: Path) -> Path:
    """Return the folder of the passwords that plant files name."""
    return home / "secrets"


def page_keys(home: Path) -> Path:
    """Return the folder with one key per company, by which the pages of that company open."""
    return home / "state" / "page-keys"


def page_links(home: Path, url: str) -> list[tuple[str, str]]:
    """Return each company with the link that opens its pages at `url`."""
    files = sorted(page_keys(home).glob("*")) if page_keys(home).is_dir() else []
    return [(each.name, f"{url}/?key={each.read_text().strip()}") for each in files]


def to_program(service: Service, services: tuple[Service, ...], around: Surroundings) -> Program:
    """Describe the process of `service`, one of the table `services` or a step beside it. Pure."""
    urls = {
        each.url_setting: f"http://127.0.0.1:{around.api_port[each.name]}"
        for each in services
        if each.url_setting
    }
    control = {}
    if service.is_gateway or service.rank is Rank.PAGE:
        control["AURELIAN_CONTROL_KEY_FILE"] = str(control_key_file(around.home))
    if service.is_gateway:
        control["AURELIAN_SECRETS"] = str(secrets_folder(around.home))
    if service.rank is Rank.PAGE:
        control["AURELIAN_CONTROL_URLS"] = ",".join(
            f"{each.name.removesuffix('_gateway')}=http://127.0.0.1:{around.api_port[each.name]}"
            for each in services
            if each.is_gateway and each.name in around.api_port
        )
    return Program(
        name=service.name,
        argv=(sys.executable, "-m", service.module),
        log=around.home / "log" / f"{service.name}.log",
        cwd=around.home,
        env={
            "AURELIAN_HOME": str(around.home),
            "AURELIAN_KAFKA_BOOTSTRAP": around.kafka_bootstrap,
            # One process of each: nobody to share partitions with, so no group to wait for.
            "AURELIAN_PARTITIONS": "all",
            "AURELIAN_FOLD_EXCLUSIVE": "1",
            "AURELIAN_DATABASE_URL": around.database_url.get(service.role, around.owner_url),
            "AURELIAN_MQTT_URL": around.mqtt_url,
            "AURELIAN_PLANT": str(
                around.pilot_plant if service.rank is Rank.PLANT else around.plant
            ),
            "AURELIAN_STATE": str(around.home / "state" / service.name),
            "AURELIAN_OPS_PORT": str(around.ops_port.get(service.name, 0)),
            "AURELIAN_API_PORT": str(around.api_port.get(service.name, 0)),
            "AURELIAN_LOG_FORMAT": "json",
            "AURELIAN_KEY_PEPPER_FILE": str(pepper_file(around.home)),
            # receivers that are being developed listen here, over http
            "AURELIAN_WEBHOOK_ALLOW": "127.0.0.0/8",
            "AURELIAN_STATUS_FILE": str(around.home / "run" / "status.json"),
            "AURELIAN_PILOT_OPCUA_URL": f"opc.tcp://127.0.0.1:{around.pilot_opcua_port}",
            "AURELIAN_PILOT_OPCUA_PORT": str(around.pilot_opcua_port),
            "AURELIAN_PILOT_CONTROL_PORT": str(around.pilot_control_port),
            "AURELIAN_PILOT_PASSWORD_FILE": str(password_file(around.home)),
            "PYTHONUNBUFFERED": "1",
            **urls,
            **control,
        },
    )
