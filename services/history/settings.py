"""Settings of the history API."""

from __future__ import annotations

from pydantic import Field

from aurelian.runtime.settings import ApiSettings


class HistorySettings(ApiSettings):
    """What can be set of the history API."""

    database_pool_size: int = Field(
        5, gt=0, description="connections, and so requests answered at one time"
    )
