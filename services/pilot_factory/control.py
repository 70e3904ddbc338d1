"""The control API of the pilot plant: what its machines do, and faults on demand. Called by
`factory.py` and `fault.py` (over HTTP)."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
from collections.abc import Iterator
from typing import TYPE_CHECKING

import uvicorn
from fastapi import FastAPI, HTTPException
from pydantic import BaseModel, Field

from aurelian import __version__
from aurelian.runtime.problems import add_problem_handlers
from pilot_factory.faults import Fault, FaultKind

if TYPE_CHECKING:
    from pilot_factory.factory import Factory

log = logging.getLogger(__name__)


class FaultRequest(BaseModel):
    """A fault to switch on."""

    unit: str = Field(description="path of the unit, enterprise/site/area/line/unit")
    fault: FaultKind
    seconds: float = Field(60.0, gt=0, le=86_400, description="how long, in real seconds")
    factor: float = Field(1000.0, gt=0, le=1e6, description="wear only: how many times faster")


def make_control_app(factory: Factory) -> FastAPI:
    """The API over a running plant. It has no sign-in: it listens on loopback unless told
    otherwise."""
    app = FastAPI(
        title="Pilot plant",
        version=__version__,
        description="A simulated plant's machines and faults.",
    )
    add_problem_handlers(app)

    @app.get("/healthy")
    async def healthy() -> dict[str, bool]:
        """Whether the plant runs."""
        return {"healthy": True}

    @app.get("/units")
    async def units() -> list[dict[str, object]]:
        """What every machine does now."""
        return [
            {
                "unit": unit.path,
                "source": unit.source,
                "state": machine.state.name.lower(),
                "reason": machine.reason.name.lower(),
                "good": machine.good,
                "scrap": machine.scrap,
                "vibration_mm_s": round(machine.vibration_mm_s, 3),
                "wear": round(machine.wear, 4),
                "faults": [
                    f.kind.value for f in factory.faults.listing() if f.unit.path == unit.path
                ],
            }
            for line in factory.lines
            for unit, machine in zip(line.units, line.machines, strict=True)
        ]

    @app.get("/faults")
    async def faults() -> list[dict[str, object]]:
        """The faults that are on."""
        return [fault.as_dict() for fault in factory.faults.listing()]

    @app.post("/faults", status_code=201)
    async def begin_fault(wanted: FaultRequest) -> dict[str, object]:
        """Switch a fault on; the same kind on the same unit again replaces it."""
        found = factory.find(wanted.unit)
        if found is None:
            raise HTTPException(404, f"no simulated unit {wanted.unit!r}; GET /units lists them")
        _, unit, machine = found
        fault = Fault(unit, wanted.fault, wanted.seconds, wanted.factor)
        factory.begin_fault(fault, machine)
        return fault.as_dict()

    @app.delete("/faults")
    async def end_faults(unit: str | None = None) -> dict[str, int]:
        """Switch off the faults of one unit, or all."""
        return {"ended": factory.faults.end(unit)}

    return app


class _Server(uvicorn.Server):
    """uvicorn without signal handlers of its own: `aurelian.runtime.service` has them."""

    @contextlib.contextmanager
    def capture_signals(self) -> Iterator[None]:
        yield


async def serve_control(factory: Factory) -> None:
    """Serve the control API until cancelled.

    Raises:
        OSError: the port is taken.
    """
    settings = factory.settings
    config = uvicorn.Config(
        make_control_app(factory), log_config=None, access_log=False, timeout_graceful_shutdown=1
    )
    server = _Server(config)
    # Bound here: uvicorn would end the whole process where the port is taken.
    with socket.create_server(
        (settings.pilot_control_host, settings.pilot_control_port)
    ) as listener:
        fields = {"host": settings.pilot_control_host, "port": listener.getsockname()[1]}
        log.info("control api listens", extra={"fields": fields})
        serving = asyncio.ensure_future(server.serve([listener]))
        try:
            await asyncio.shield(serving)
        finally:
            server.should_exit = True
            await asyncio.wait({serving}, timeout=2)
