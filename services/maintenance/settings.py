"""Settings of the maintenance worker and its API, read from `AURELIAN_*`."""

from __future__ import annotations

from pydantic import Field

from aurelian.fold.contract import FoldSettings
from aurelian.runtime.settings import ApiSettings


class MaintenanceSettings(FoldSettings):
    """For the worker."""

    commit_interval_s: float = Field(1.0, gt=0, description="what was folded commits this often")
    case_opens_after_s: float = Field(
        15.0, ge=0, description="the score must stay at 1 or more for this long"
    )
    case_closes_after_s: float = Field(
        300.0, ge=0, description="the score must stay below 0.7 for this long"
    )
    medium_down_s: float = Field(
        3600.0, ge=0, description="downtime expected of a medium case; a declared assumption"
    )
    high_down_s: float = Field(
        14_400.0, ge=0, description="the same of a high case (score 2 or more)"
    )


class MaintenanceApiSettings(ApiSettings):
    """For the API."""
