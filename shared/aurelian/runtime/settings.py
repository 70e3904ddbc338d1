"""Settings that every service shares, read from `AURELIAN_*` environment variables; each service
adds its own."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Literal
from urllib.parse import quote, urlsplit, urlunsplit

from pydantic import (
    BeforeValidator,
    Field,
    SecretStr,
    ValidationError,
    field_validator,
    model_validator,
)
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict


def read_names(given: object) -> object:
    """Names with commas or spaces between, or a JSON list of them, as a list; what is no text as it
    is.

    Raises:
        ValueError: it begins as a JSON list does, and is none.
    """
    if not isinstance(given, str):
        return given
    if given.lstrip().startswith(("[", "{")):
        names = json.loads(given)
        if not isinstance(names, list):
            raise ValueError("names are wanted, with commas between")
        return names
    return given.replace(",", " ").split()


Names = Annotated[tuple[str, ...], NoDecode, BeforeValidator(read_names)]


def problems_of(error: ValidationError) -> list[str]:
    """What is wrong with settings, each as a sentence that names the variable."""
    return [
        f"setting AURELIAN_{'_'.join(map(str, each['loc'])).upper()}: {each['msg']}"
        for each in error.errors()
    ]


class CommonSettings(BaseSettings):
    """What every process needs. `NAME=value` is read from the environment as `AURELIAN_NAME`."""

    model_config = SettingsConfigDict(env_prefix="AURELIAN_", extra="ignore", frozen=True)

    log_format: Literal["json", "text"] = Field(
        "json", description="json for machines, text for people"
    )
    log_level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = "INFO"
    ops_host: str = Field(
        "127.0.0.1", description="address that /livez, /readyz and /metrics listen on"
    )
    ops_port: int = Field(
        0, ge=0, le=65_535, description="of /livez, /readyz and /metrics; 0: any free port"
    )
    api_host: str = Field("127.0.0.1", description="address that an API or the pages listen on")
    api_port: int = Field(
        0, ge=0, le=65_535, description="of an API or the pages; 0: any free port"
    )
    state: Path = Field(Path(), description="folder for what this process keeps on its own disk")
    plant: Path = Field(
        Path("plant"),
        description="folder of plant-model files, one YAML file per site; or several folders, "
        "`:` between",
    )


class KafkaSettings(CommonSettings):
    """For services that speak to Kafka."""

    kafka_bootstrap: str = Field("127.0.0.1:9092", description="host:port, comma separated")
    kafka_timeout_s: float = Field(10.0, description="time-out of one request to Kafka")


class StoreSettings(CommonSettings):
    """For services that speak to the database."""

    database_url: SecretStr = Field(
        SecretStr("postgresql://aurelian@127.0.0.1/aurelian"), description="libpq URL"
    )
    database_password_file: Path | None = Field(
        None, description="file with the password, put into the URL"
    )

    @model_validator(mode="before")
    @classmethod
    def _with_password(cls, values: dict[str, object]) -> dict[str, object]:
        file = values.get("database_password_file")
        url = values.get("database_url")
        if file and isinstance(url, str):
            try:
                values["database_url"] = with_password(url, Path(str(file)))
            except OSError as error:
                raise ValueError(f"AURELIAN_DATABASE_PASSWORD_FILE: {error}") from error
        return values


def with_password(url: str, file: Path) -> str:
    """Put the password that a file holds into a database URL.

    Raises:
        OSError: the file cannot be read.
    """
    parts = urlsplit(url)
    password = quote(file.read_text(encoding="utf-8").strip(), safe="")
    # What stands after "@" is libpq's to read: several hosts, an IPv6 address, nothing at all.
    user, _, hosts = parts.netloc.rpartition("@")
    name = user.partition(":")[0]
    if not name:
        return f"{url}{'&' if parts.query else '?'}password={password}"
    return urlunsplit(parts._replace(netloc=f"{name}:{password}@{hosts}"))


PEPPER_BYTES = 32
"""A pepper file holds at least this many random bytes."""


class ApiSettings(StoreSettings):
    """For services that answer HTTP requests with a key: they refuse to start without the pepper of
    the keys."""

    key_pepper_file: Path | None = Field(
        None,
        validate_default=True,
        description="file of at least 32 random bytes, mode 0600, the same for all APIs: keys are "
        "hashed with it",
    )

    @field_validator("key_pepper_file")
    @classmethod
    def _is_pepper(cls, file: Path | None) -> Path:
        advice = (
            f"make one with `head -c {PEPPER_BYTES} /dev/urandom > pepper && chmod 600 "
            "pepper` and name it here"
        )
        if file is None:
            raise ValueError(f"no file is named, so no API key can be checked; {advice}")
        try:
            size = file.stat().st_size
        except OSError as error:
            raise ValueError(f"{file} cannot be read ({error.strerror}); {advice}") from error
        if size < PEPPER_BYTES:
            raise ValueError(f"{file} has {size} bytes, not {PEPPER_BYTES} or more; {advice}")
        return file

    def pepper(self) -> bytes:
        """Read the pepper, every byte of the file.

        Raises:
            OSError: the file went away after the start.
        """
        assert self.key_pepper_file is not None  # the validator refuses None
        return self.key_pepper_file.read_bytes()
