"""The one `make_app` of every HTTP API: problem bodies, documentation page, tasks beside the
requests.

Called by each service's `app.py`, which adds its keys, state and routes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack, asynccontextmanager

from fastapi import APIRouter, FastAPI

from aurelian import __version__
from aurelian.runtime.docs_page import add_docs_page
from aurelian.runtime.health import Health
from aurelian.runtime.problems import add_problem_handlers

Task = Callable[[], Awaitable[None]]
"""Runs beside the requests until it is cancelled; its end with an error ends the process."""


def make_app(
    title: str,
    health: Health,
    *,
    prefix: str | None,
    routers: Sequence[APIRouter],
    description: str = "",
    resources: Sequence[AbstractAsyncContextManager[object]] = (),
    tasks: Sequence[tuple[str, Task]] = (),
) -> FastAPI:
    """Make an API's app.

    Args:
        title: for people, say `Aurelian history`.
        health: of the process; a task's error goes there.
        prefix: path that all of its routes begin with, say `/history/v1`; None: pages for people,
            without an OpenAPI document and with error pages of their own.
        routers: its routes.
        description: of the OpenAPI document.
        resources: opened in order before the first request, closed in reverse after the last.
        tasks: name and function of each task that runs beside the requests. Without any the app is
            ready at once; else one of them sets `health.ready`.
    """

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        async with AsyncExitStack() as stack:
            for resource in resources:
                await stack.enter_async_context(resource)
            await stack.enter_async_context(_running(tasks, health))
            if not tasks:
                health.ready = None
            yield

    app = FastAPI(
        title=title,
        version=__version__,
        description=description,
        lifespan=lifespan,
        openapi_url=None if prefix is None else f"{prefix}/openapi.json",
        docs_url=None,
        redoc_url=None,
    )
    if prefix is not None:
        add_problem_handlers(app)
        add_docs_page(app, prefix)
    for router in routers:
        app.include_router(router)
    return app


@asynccontextmanager
async def _running(tasks: Sequence[tuple[str, Task]], health: Health) -> AsyncIterator[None]:
    def end_process(task: asyncio.Task[None]) -> None:
        # Not a TaskGroup: it would cancel the lifespan, and the server does not notice that.
        if not task.cancelled() and (error := task.exception()) is not None:
            health.crash(error)

    running = [asyncio.ensure_future(task()) for _, task in tasks]
    for (name, _), task in zip(tasks, running, strict=True):
        task.set_name(name)
        task.add_done_callback(end_process)
    try:
        yield
    finally:
        for task in running:
            task.cancel()
        if running:
            await asyncio.wait(running)
