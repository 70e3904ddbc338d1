"""Settings of the OPC UA gateway."""

from __future__ import annotations

from pydantic import Field

from aurelian.edge.gateway import GatewaySettings
from aurelian.runtime.settings import Names


class OpcuaGatewaySettings(GatewaySettings):
    """What `python -m opcua_gateway` reads from the environment."""

    gateway: str = Field(
        "opcua-1",
        pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$",
        description="this gateway's own name, never shared with another",
    )
    opcua_timeout_s: float = Field(5.0, gt=0, description="time-out of one request to a server")
    opcua_keep_alive_s: float = Field(
        2.0, gt=0, le=3, description="a server with nothing to say says so after this time"
    )
    opcua_session_timeout_s: float = Field(
        300.0,
        ge=10,
        description="how long a server keeps session, subscription and queues for us after a break",
    )
    opcua_queue_s: float = Field(
        60.0,
        gt=0,
        description="longest outage that the queues of the servers shall bridge",
    )
    opcua_event_queue: int = Field(
        10_000, ge=2, description="queue size asked for the events of a server"
    )
    opcua_publish_requests: int = Field(
        2, ge=1, le=10, description="Publish requests that wait at a server"
    )
    opcua_unacknowledged: int = Field(
        64, ge=2, description="messages that may wait for the outbox before no more are asked for"
    )
    opcua_retry_s: float = Field(
        30.0, gt=0, description="a node that a server refused is tried again after this time"
    )
    opcua_read_back: bool = Field(
        True, description="after a gap, read what was missed from the server's history"
    )
    opcua_read_back_s: float = Field(
        86_400.0, gt=0, description="at most so much of a gap, its end, is read back"
    )
    opcua_read_back_values: int = Field(
        100_000, ge=1, description="at most so many values a node and gap are read back"
    )
    opcua_insecure_hosts: Names = Field(
        (),
        description="hosts beyond loopback that may be spoken to without security, "
        "say plc,10.0.0.5; "
        "for closed test networks",
    )
