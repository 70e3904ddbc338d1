"""What the maintenance API answers."""

from __future__ import annotations

from datetime import datetime

from pydantic import BaseModel, Field


class Driver(BaseModel):
    """One signal's part in a score."""

    signal: str
    path: str
    share: float = Field(description="of the score's square, 0 to 1")
    value: float = Field(description="smoothed, in the signal's unit")
    baseline: float = Field(description="median of the machine's own early life")


class HealthPoint(BaseModel):
    """The health of a machine at one minute."""

    time: datetime
    index: float = Field(description="1 as new, 0.5 at the alarm threshold, towards 0 beyond it")
    score: float = Field(description="1 is the alarm threshold")
    drivers: list[Driver]


class AssetHealth(HealthPoint):
    """The newest health of one machine."""

    asset: str
    path: str
    owner: str


class Case(BaseModel):
    """Something that somebody should look at; at most one is open per machine."""

    id: str
    asset: str
    path: str
    owner: str
    opened_at: datetime
    closed_at: datetime | None
    severity: str
    score: float
    index: float
    drivers: list[Driver]
    expected_down_s: float
    reason: str = Field(description="why it is open, for people")
