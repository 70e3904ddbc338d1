"""Settings of the capacity worker and its API, read from `AURELIAN_*`."""

from __future__ import annotations

from pydantic import Field

from aurelian.fold.contract import FoldSettings
from aurelian.runtime.settings import ApiSettings


class CapacitySettings(FoldSettings):
    """For the worker."""

    weeks: int = Field(8, ge=1, le=104, description="weeks from the current one that are estimated")
    estimate_every_s: float = Field(10.0, gt=0, description="time between two estimates of a line")


class CapacityApiSettings(ApiSettings):
    """For the API."""

    weeks: int = Field(
        8, ge=1, le=104, description="weeks from the current one that can be committed"
    )
