"""What the routes share; made once by `app.py`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

import httpx
from fastapi import Depends, Request
from sqlalchemy.ext.asyncio import AsyncEngine

from aurelian.access.keys import Keys
from partner_events.api.tail import Tail
from partner_events.settings import PartnerEventsApiSettings


@dataclass(slots=True)
class Context:
    """The app's own things.

    Attributes:
        streams: SSE streams that are open.
    """

    engine: AsyncEngine
    tail: Tail
    keys: Keys
    client: httpx.AsyncClient
    settings: PartnerEventsApiSettings
    streams: int = 0


def _get(request: Request) -> Context:
    context: Context = request.app.state.context
    return context


InContext = Annotated[Context, Depends(_get)]
"""Parameter of a route that needs the context."""

PROBLEM: dict[str, object] = {
    "content": {"application/problem+json": {"schema": {"type": "object"}}}
}


def problems(*statuses: int) -> dict[int | str, dict[str, object]]:
    """`responses` of a route: the problems that it answers with."""
    words = {
        401: "no valid key",
        403: "the key lacks the scope",
        404: "not there, or not yours",
        409: "not in this state",
        422: "unusable parameters",
        503: "the database does not answer, or too many streams",
    }
    return {
        status: {"description": words[status], **PROBLEM} for status in (401, 403, 503, *statuses)
    }
