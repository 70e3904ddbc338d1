"""Settings of the dashboard, read from `AURELIAN_*`; used by app.py and the files that it calls."""

from __future__ import annotations

import ipaddress
from pathlib import Path

from pydantic import Field, field_validator
from pydantic_core.core_schema import ValidationInfo

from aurelian.model.evidence import LIVE_S, STALE_S
from aurelian.runtime.settings import ApiSettings, KafkaSettings

LOOPBACK_NAMES = frozenset({"localhost", "127.0.0.1", "::1"})


class DashboardSettings(KafkaSettings, ApiSettings):
    """What the dashboard needs beside Kafka and the database."""

    history_url: str = Field("http://127.0.0.1:8101", description="base URL of the history API")
    capacity_url: str = Field("http://127.0.0.1:8102", description="base URL of the capacity API")
    maintenance_url: str = Field(
        "http://127.0.0.1:8103", description="base URL of the maintenance API"
    )
    events_url: str = Field(
        "http://127.0.0.1:8104", description="base URL of the partner events API"
    )
    status_file: Path | None = Field(
        None, description="the launcher's status.json; none: no services shown"
    )
    control_urls: str = Field(
        "",
        description="control APIs of the gateways, `opcua=URL,mqtt=URL`; none: no page Connect",
    )
    control_key_file: Path | None = Field(None, description="file with the control APIs' key")
    dashboard_hosts: str = Field(
        "",
        description=(
            "further names, comma separated, by which browsers may ask; loopback names always may"
        ),
    )
    live_s: float = Field(float(LIVE_S), gt=0, description="heard of a source within this: live")
    late_s: float = Field(
        float(STALE_S), gt=0, description="not heard of a source for longer than this: stale"
    )
    offline_s: float = Field(
        11.0, gt=0, description="a page without a word from the server for this: offline"
    )
    beat_s: float = Field(5.0, gt=0, description="time between two heartbeats of the stream")
    tick_s: float = Field(1.0, gt=0, description="time between two frames of values")
    client_queue: int = Field(
        512, gt=0, description="events that may wait for one browser before a reset"
    )
    ring: int = Field(4096, gt=0, description="events kept for browsers that come back")
    dashboard_allow_remote: bool = Field(
        False,
        validate_default=True,
        description="1: listen on other than loopback addresses although there is no sign-in yet",
    )

    @field_validator("dashboard_allow_remote")
    @classmethod
    def _loopback_only(cls, allowed: bool, info: ValidationInfo) -> bool:
        host = str(info.data.get("api_host", "127.0.0.1"))
        if not allowed and not is_loopback(host):
            raise ValueError(
                f"the pages have no sign-in yet, so they listen on loopback only, not on {host!r}; "
                "set it to 1 if something in front of them keeps strangers out"
            )
        return allowed

    @property
    def control_apis(self) -> dict[str, str]:
        """Base URL of each gateway's control API."""
        parted = [each.partition("=") for each in self.control_urls.split(",") if each.strip()]
        return {name.strip(): url.strip().rstrip("/") for name, _, url in parted}

    @property
    def host_names(self) -> frozenset[str]:
        """Names that a request's Host header may carry."""
        return LOOPBACK_NAMES | {
            name.strip().lower() for name in self.dashboard_hosts.split(",") if name.strip()
        }


def is_loopback(host: str) -> bool:
    """True for `localhost` and for addresses that only this machine reaches."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False
