"""Settings of the MQTT gateway."""

from __future__ import annotations

from pydantic import Field

from aurelian.edge.gateway import GatewaySettings
from aurelian.runtime.settings import Names


class MqttGatewaySettings(GatewaySettings):
    """What `python -m mqtt_gateway` reads from the environment."""

    gateway: str = Field(
        "mqtt-1",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        description="this gateway's own name, never shared with another; also in its MQTT client "
        "ids",
    )
    mqtt_timeout_s: float = Field(5.0, gt=0, description="time-out of connecting and subscribing")
    mqtt_keep_alive_s: int = Field(
        10, ge=1, description="a broker that is silent for longer counts as lost"
    )
    mqtt_window: int = Field(
        1000,
        ge=1,
        le=65535,
        description="messages that a broker sends before their acknowledgement (Receive Maximum)",
    )
    mqtt_session_expiry_s: int = Field(
        7 * 24 * 3600, ge=0, description="how long a broker keeps our messages while we are away"
    )
    mqtt_insecure_hosts: Names = Field(
        (),
        description="hosts beyond loopback that passwords may be sent to in the "
        "clear, say broker,10.0.0.5; for closed test networks",
    )
    mqtt_max_payload_bytes: int = Field(
        1_000_000,
        gt=0,
        description="larger payloads are rejected (kept with their first 512 kB and their SHA-256)",
    )
    mqtt_max_discovered: int = Field(
        10_000, ge=0, description="signals of a source beyond its plant model; more are rejected"
    )
    sparkplug_host_id: str = Field(
        "aurelian",
        pattern=r"^[^/+#]+$",
        description="our name as Sparkplug host application, unique at the broker",
    )
    sparkplug_reorder_s: float = Field(
        3.0,
        ge=0,
        description="wait so long for a missing sequence number before asking for a rebirth; 0: "
        "not at all",
    )
    sparkplug_ask_rebirth: bool = Field(
        True,
        description="false: never ask an edge node for a rebirth (beside another host that does)",
    )
    sparkplug_offline_after_s: float = Field(
        5.0,
        gt=0,
        description="when the outbox takes nothing for so long, edge nodes are told that the host "
        "is offline",
    )
