"""Settings that every service shares, read from `AURELIAN_*` environment variables; each service adds its own."""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from pydantic import Field, SecretStr
from pydantic_settings import BaseSettings, SettingsConfigDict


class CommonSettings(BaseSettings):
    """What every process needs. `NAME=value` is read from the environment as `AURELIAN_NAME`."""

    model_config = SettingsConfigDict(env_prefix="AURELIAN_", extra="ignore", frozen=True)

    log_format: Literal["json", "text"] = Field("json", description="json for machines, text for people")
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    ops_host: str = Field(
        "127.0.0.1", description="address that /livez, /readyz, /metrics and the API listen on"
    )
    ops_port: int = Field(0, description="0: any free port, printed in the log")
    state: Path = Field(Path(), description="folder for what this process keeps on its own disk")
    plant: Path = Field(Path("plant"), description="folder of plant-model files, one YAML file per site")


class KafkaSettings(CommonSettings):
    """For services that speak to Kafka."""

    kafka_bootstrap: str = Field("127.0.0.1:9092", description="host:port, comma separated")
    kafka_idempotent: bool = Field(True, description="off for the embedded broker, which refuses it")
    kafka_timeout_s: float = Field(10.0, description="time-out of one request to Kafka")


class StoreSettings(CommonSettings):
    """For services that speak to the database."""

    database_url: SecretStr = Field(
        SecretStr("postgresql://aurelian@127.0.0.1/aurelian"), description="libpq URL"
    )
