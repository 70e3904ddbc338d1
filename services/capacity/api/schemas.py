"""What the capacity API takes and answers."""

from __future__ import annotations

from datetime import date, datetime

from pydantic import BaseModel, ConfigDict, Field, field_validator


class Reason(BaseModel):
    """A part of the unattainable capacity."""

    reason: str
    quantity: float


class Quantity(BaseModel):
    """One ISA-95 capability type and how much of it."""

    capability_type: str = Field(description="Total, Available, Committed or Unattainable (ISA-95)")
    quantity: float
    p10: float | None = None
    p90: float | None = None
    reasons: list[Reason] = []


class OperationsCapability(BaseModel):
    """The capacity of one line in one ISO week; Total = Available + Committed + Unattainable."""

    line: str
    path: str
    owner: str
    week: str = Field(description="ISO week, 2026-W48")
    week_start: date = Field(description="its Monday in the site's time zone")
    unit: str
    quantities: list[Quantity]
    method: str
    revision: int
    data_time: datetime | None = Field(description="newest measurement used; null: none yet")
    computed_at: datetime


class CommitmentIn(BaseModel):
    """Pieces promised in a week."""

    model_config = ConfigDict(extra="forbid")

    line: str
    week: date = Field(description="the week's Monday")
    quantity: float = Field(gt=0, lt=1e12)
    reference: str = Field(min_length=1, max_length=200, description="order or agreement")

    @field_validator("week")
    @classmethod
    def _monday(cls, week: date) -> date:
        if week.isoweekday() != 1:
            raise ValueError(f"{week} is no Monday")
        return week


class Commitment(CommitmentIn):
    """A recorded commitment."""

    id: str
    owner: str
    recorded_at: datetime
