"""The ops endpoints of every process: `/livez`, `/readyz`, `/metrics`, of a gateway `/sources` too.
Called by `service.py`."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Mapping, Sequence

from prometheus_client import CONTENT_TYPE_LATEST, Gauge, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from aurelian import __version__

_BUILD = Gauge(
    "aurelian_build_info",
    "1; the labels say which service and version this is.",
    ["service", "version"],
)


class UnusableError(Exception):
    """What the process needs cannot be used; the message is for people and says what to do."""


class Health:
    """What a process says of itself. Owned by one event loop; not thread safe.

    Attributes:
        service: its name.
        ready: None when it may take work, else a sentence that says what it waits for.
        stall_limit_s: how long the loop may go without `tick` before `/livez` fails; None: never
            checked.
        stopping: set when the process is to end; endless answers (event streams) end then.
        sources: a gateway's sources as `/sources` shows them; None: it is no gateway.
        plant: which plant files a gateway runs by, as `/sources` shows it.
        outbox: what of a gateway's outbox waits for a person, as `/sources` shows it.
        control: where a gateway's control API is, or why it is not, as `/sources` shows it; None:
            it has none.
        error: what ended it, when it was no signal.
    """

    def __init__(self, service: str) -> None:
        self.service = service
        self.ready: str | None = "starting"
        self.stall_limit_s: float | None = None
        self.stopping = asyncio.Event()
        self.sources: Callable[[], Sequence[Mapping[str, object]]] | None = None
        self.plant: Callable[[], Mapping[str, object]] = dict
        self.outbox: Mapping[str, object] = {}
        self.control: Mapping[str, object] | None = None
        self.error: BaseException | None = None
        self._ticked = time.monotonic()
        _BUILD.labels(service, __version__).set(1)

    def tick(self) -> None:
        """Say that the main loop goes round."""
        self._ticked = time.monotonic()

    def crash(self, error: BaseException) -> None:
        """End the process with this error: an essential task of an app's lifespan is lost."""
        self.error = error
        self.stopping.set()

    def stalled_s(self) -> float:
        """Seconds since the last tick."""
        return time.monotonic() - self._ticked


def make_ops_app(health: Health) -> Starlette:
    """An app that serves nothing but the ops endpoints."""

    async def livez(_: Request) -> Response:
        if health.stall_limit_s is not None and health.stalled_s() > health.stall_limit_s:
            return JSONResponse({"live": False, "stalled_s": round(health.stalled_s(), 1)}, 503)
        return JSONResponse({"live": True})

    async def readyz(_: Request) -> Response:
        if health.ready is not None:
            return JSONResponse({"ready": False, "waiting_for": health.ready}, 503)
        return JSONResponse({"ready": True})

    async def sources(_: Request) -> Response:
        if health.sources is None:
            return JSONResponse({"detail": "only a gateway has sources"}, 404)
        shown = {"sources": health.sources(), "plant": health.plant(), "outbox": health.outbox}
        return JSONResponse(
            shown if health.control is None else {**shown, "control": health.control}
        )

    async def metrics(_: Request) -> Response:
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)

    return Starlette(
        routes=[
            Route("/livez", livez),
            Route("/readyz", readyz),
            Route("/sources", sources),
            Route("/metrics", metrics),
        ]
    )
