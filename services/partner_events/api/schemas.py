"""Bodies of the API's requests and answers. Requests refuse members that they do not know."""

from __future__ import annotations

from datetime import datetime
from typing import Annotated, Literal

from pydantic import AfterValidator, AwareDatetime, BaseModel, ConfigDict, Field

from aurelian.events.schemas import EVENT_TYPES


def _known(name: str) -> str:
    if name not in EVENT_TYPES:
        raise ValueError(f"no event type {name!r}; known: {', '.join(EVENT_TYPES)}")
    return name


TypeName = Annotated[str, AfterValidator(_known)]
Company = Annotated[str, Field(min_length=1, max_length=64)]


class _Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class CloudEvent(BaseModel):
    """A CloudEvents 1.0 event; see the AsyncAPI document for `data` of each type."""

    model_config = ConfigDict(extra="allow")

    specversion: Literal["1.0"]
    id: str
    source: str
    type: str
    subject: str
    time: datetime
    datacontenttype: str
    owner: str
    data: dict[str, object]


class Reset(BaseModel):
    """The cursor is not in the log; `next` of the page is where to go on."""

    oldest: int
    newest: int
    reason: str
    poll: str


class EventsPage(BaseModel):
    """A page of the log."""

    events: list[CloudEvent] = Field(description="in the order of their numbers; at most `limit`")
    next: int = Field(description="ask again with after=next; the same number: nothing new")
    oldest: int = Field(
        description=(
            "lowest number that is kept; with 0 < after < oldest - 1 the events between are gone"
        )
    )
    reset: Reset | None = Field(
        None, description="only when `after` is not in the log, as the stream's event `reset`"
    )


class EndpointRequest(_Request):
    """A webhook to register."""

    url: str = Field(max_length=2000, description="https, a public address")
    event_types: list[TypeName] = Field(
        [],
        max_length=100,
        description=(
            "empty: all decisions that you may see; readings (kpi-updated, health-updated) come "
            "only when named"
        ),
    )
    subscriber: Company | None = Field(
        None, description="for the platform's own key only: the company it is for"
    )


class EndpointAnswer(BaseModel):
    """A registered webhook."""

    id: str
    subscriber: str
    url: str
    event_types: list[str]
    state: Literal["active", "disabled"]
    disabled_reason: str
    failing_since: datetime | None
    next_number: int = Field(description="first event of the log that is not yet queued")
    pending: int = Field(description="events that wait for an attempt")
    created_at: datetime


class EndpointMade(EndpointAnswer):
    """A new webhook, with the secret of its signatures: shown this once."""

    secret: str


class AttemptAnswer(BaseModel):
    """A delivery record."""

    id: int
    number: int = Field(description="of the event in the log; 0: a test")
    event_id: str | None = Field(
        description="the webhook-id; null: a test, or the event is not kept any more"
    )
    type: str | None
    attempt: int = Field(description="n-th attempt; 0: withheld before the first")
    of: int = Field(description="attempts that the schedule has")
    sent_at: datetime
    duration_ms: float
    status: int | None = Field(description="HTTP status; null: no answer")
    outcome: str
    response: str = Field(description="the first 4 kB of the answer's body")
    next_at: datetime | None
    replay: bool


class TestAnswer(BaseModel):
    """How a test went."""

    webhook_id: str
    status: int | None
    outcome: str
    duration_ms: float
    response: str


class ReplayAnswer(BaseModel):
    """How many events were queued again."""

    queued: int


class GrantRequest(_Request):
    """Events that a company lets another one see."""

    grantee: Company
    purpose: str = Field(min_length=1, max_length=500)
    event_types: list[TypeName] = Field(min_length=1, max_length=100)
    fields: list[Annotated[str, Field(min_length=1, max_length=64)]] | None = Field(
        None, max_length=100, description="top-level names of `data`; null: all"
    )
    horizon_weeks: int | None = Field(
        None,
        ge=1,
        le=520,
        description="weeks that are shown, the current one is the first; null: all",
    )
    expires_at: AwareDatetime | None = None
    owner: Company | None = Field(
        None, description="for the platform's own key only: the company that gives"
    )


class GrantAnswer(BaseModel):
    """A grant that was given."""

    id: str
    owner: str
    grantee: str
    purpose: str
    event_types: list[str]
    fields: list[str] | None
    horizon_weeks: int | None
    expires_at: datetime | None
    revoked_at: datetime | None
    created_at: datetime
