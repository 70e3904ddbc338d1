"""What the capacity API takes and answers."""

from __future__ import annotations

from datetime import date, datetime
from typing import Annotated

from pydantic import AfterValidator, BaseModel, ConfigDict, Field


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
    inputs: dict[str, object] = Field(
        description="what it follows from: measured ratios, since when (measured_since), from how "
        "much (measured_h), how sure (confidence, 0 to 1: the rest is an assumption); of the "
        "running week also the pieces made already (used) and Total of the whole week"
    )
    data_time: datetime | None = Field(description="newest measurement used; null: none yet")
    computed_at: datetime


def _check_monday(week: date) -> date:
    if week.isoweekday() != 1:
        raise ValueError(f"{week} is no Monday")
    return week


Week = Annotated[date, AfterValidator(_check_monday), Field(description="the week's Monday")]
Pieces = Annotated[float, Field(gt=0, lt=1e12, allow_inf_nan=False)]


class CommitmentIn(BaseModel):
    """Pieces promised in a week."""

    model_config = ConfigDict(extra="forbid")

    line: str = Field(max_length=2000, description="id or path")
    week: Week
    quantity: Pieces
    reference: str = Field(
        min_length=1,
        max_length=200,
        pattern=r"^[^\x00-\x1f\x7f]+$",
        description="order or agreement, one commitment each",
    )


class CommitmentChange(BaseModel):
    """What to change of a commitment; what is left out stays."""

    model_config = ConfigDict(extra="forbid")

    week: Week | None = None
    quantity: Pieces | None = None


class Commitment(CommitmentIn):
    """A recorded commitment; one that was withdrawn counts no more."""

    id: str
    owner: str
    recorded_at: datetime
    changed_at: datetime | None = None
    withdrawn_at: datetime | None = None
