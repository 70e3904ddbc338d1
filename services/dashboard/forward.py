"""Requests for /history, /capacity, /maintenance and /events, passed on to their APIs with the
visitor's own key.

Reading only. So a browser has one origin. Streams are passed on as they come. Added to
the app by app.py.
"""

from __future__ import annotations

import logging
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass

import httpx
from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse

from dashboard import metrics
from dashboard.gate import CurrentVisitor, Visitor
from dashboard.settings import DashboardSettings

log = logging.getLogger(__name__)

ASKED = ("accept", "accept-language", "if-none-match", "last-event-id")
"""Request headers that are passed on; cookies and the browser's own authorization never are."""

ANSWERED = (
    "content-type",
    "content-disposition",
    "content-length",
    "cache-control",
    "etag",
    "link",
    "x-accel-buffering",
)

TIMEOUT = httpx.Timeout(20.0, connect=2.0)
"""Of one read: an event stream sends a word more often than this."""


@dataclass(frozen=True, slots=True)
class ForwardedApi:
    """An API behind this origin, as the page Help lists it. `prefix`: of all of its paths."""

    name: str
    prefix: str
    gives: str
    has_asyncapi: bool = False

    @property
    def docs(self) -> str:
        """Its documentation page."""
        return f"{self.prefix}/docs"

    @property
    def openapi(self) -> str:
        """Its OpenAPI document."""
        return f"{self.prefix}/openapi.json"

    @property
    def asyncapi(self) -> str:
        """Its AsyncAPI document; empty: it has none."""
        return f"{self.prefix}/asyncapi.yaml" if self.has_asyncapi else ""


FORWARDED_APIS = (
    ForwardedApi(
        "History", "/history/v1", "Samples of a signal, gaps, rejected records, the ledger"
    ),
    ForwardedApi(
        "Maintenance", "/maintenance/v1", "Health of machines and their maintenance cases"
    ),
    ForwardedApi("Capacity", "/capacity/v1", "Capacity of lines by week, ISA-95"),
    ForwardedApi(
        "Events",
        "/events/v1",
        "Business events by polling, stream and webhook, and grants between companies",
        has_asyncapi=True,
    ),
)


def upstreams(settings: DashboardSettings) -> dict[str, str]:
    """Base URL of each API by the first part of its paths."""
    return {
        "history": settings.history_url,
        "capacity": settings.capacity_url,
        "maintenance": settings.maintenance_url,
        "events": settings.events_url,
    }


def make_client() -> httpx.AsyncClient:
    """The client that all forwarded requests share; close it with the app."""
    return httpx.AsyncClient(timeout=TIMEOUT, follow_redirects=False, trust_env=False)


def forward_routes(settings: DashboardSettings, client: httpx.AsyncClient) -> APIRouter:
    """Routes that pass reads on."""
    router = APIRouter()

    async def forward(request: Request, visitor: CurrentVisitor) -> Response:
        api = request.url.path.split("/")[1]
        target = httpx.URL(upstreams(settings)[api]).copy_with(
            raw_path=request.scope["raw_path"]
            + (b"?" + request.scope["query_string"] if request.url.query else b"")
        )
        headers = {name: request.headers[name] for name in ASKED if name in request.headers}
        asked = client.build_request("GET", target, headers=headers | authorization(visitor))
        try:
            answer = await client.send(asked, stream=True)
        except httpx.HTTPError as error:
            metrics.FORWARDED.labels(api, "away").inc()
            log.debug("api away", extra={"fields": {"api": api, "error": repr(error)}})
            return away(api)
        metrics.FORWARDED.labels(api, "answered").inc()
        return StreamingResponse(
            _body(answer), answer.status_code, headers=_answered(answer.headers), media_type=None
        )

    for api in upstreams(settings):
        router.add_api_route(
            f"/{api}/{{rest:path}}", forward, methods=["GET"], include_in_schema=False
        )
    return router


def authorization(visitor: Visitor) -> dict[str, str]:
    """The header with the visitor's own key: an API gives what that key may see."""
    return {"authorization": f"Bearer {visitor.key}"}


def no_key(reason: str) -> JSONResponse:
    """RFC 9457 answer to a request without a key that opens these pages."""
    return JSONResponse(
        {
            "type": "about:blank",
            "title": "A key is needed",
            "status": 401,
            "detail": f"{reason} Send a company's key as `Authorization: Bearer ak_...`.".strip(),
        },
        401,
        headers={"www-authenticate": "Bearer"},
        media_type="application/problem+json",
    )


def away(api: str) -> JSONResponse:
    """RFC 9457 answer for an API that does not answer."""
    return JSONResponse(
        {
            "type": "about:blank",
            "title": f"The {api} service does not answer",
            "status": 502,
            "detail": (
                "Live values on the pages go on without it. It is started again by itself; "
                "try once more in a moment."
            ),
        },
        502,
        media_type="application/problem+json",
    )


def _answered(headers: Mapping[str, str]) -> dict[str, str]:
    kept = {name: headers[name] for name in ANSWERED if name in headers}
    if "content-encoding" in headers:
        kept.pop("content-length", None)  # httpx unpacks the body
    return kept


async def _body(answer: httpx.Response) -> AsyncIterator[bytes]:
    try:
        async for part in answer.aiter_bytes():
            yield part
    except httpx.HTTPError:
        # A stream may end and is asked for again; half a table must not look whole.
        if not answer.headers.get("content-type", "").startswith("text/event-stream"):
            raise
    finally:
        await answer.aclose()
