"""Settings of the pilot plant, from `AURELIAN_*`."""

from __future__ import annotations

from pydantic import Field
from pydantic_settings import SettingsConfigDict

from aurelian.runtime.settings import CommonSettings


class PilotSettings(CommonSettings):
    """What the pilot plant needs beside the plant model."""

    model_config = SettingsConfigDict(populate_by_name=True)

    pilot_opcua_host: str = Field(
        "127.0.0.1", description="address that the OPC UA servers listen on"
    )
    pilot_opcua_port: int | None = Field(
        None,
        description="port of the first OPC UA server; unset: the port of its `url` in the plant "
        "model",
    )
    pilot_control_host: str = Field(
        "127.0.0.1", description="address that the control API listens on"
    )
    pilot_control_port: int = Field(4980, description="port of the control API; 0: any free port")
    pilot_speed: float = Field(1.0, gt=0, description="how many times faster than real machines")
    pilot_step_s: float = Field(1.0, gt=0, description="seconds between two values of a signal")
    pilot_seed: str = Field("pilot", description="the same text gives the same course of events")
    pilot_send_log: bool = Field(False, description="log every value sent under <state>/sendlog")
    pilot_host: str = Field(
        "+",
        description="Sparkplug host that edge nodes wait for; +: any; empty: none, they speak at "
        "once",
    )
    pilot_retry_s: float = Field(
        10.0, description="longest wait before the next try to reach a broker"
    )
