"""How every process starts and ends: settings, logging, signals, ops endpoints, exit code. Called
by each `__main__.py`."""

from __future__ import annotations

import argparse
import asyncio
import json
import logging
import os
import signal
import sys
import time
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

import uvicorn
from pydantic import SecretStr, ValidationError

from aurelian import __version__
from aurelian.model.plant_file import PlantError, load_plants
from aurelian.runtime.health import Health, UnusableError, make_ops_app
from aurelian.runtime.settings import CommonSettings, problems_of

if TYPE_CHECKING:  # a worker needs no FastAPI
    from fastapi import FastAPI
    from starlette.types import ASGIApp

S = TypeVar("S", bound=CommonSettings)

log = logging.getLogger(__name__)

EXIT_SETTINGS = 2
"""Exit code for unusable settings, plant models or folders; 1 is a bug or a lost essential task, 0
a wanted stop."""


def run_worker(
    name: str, settings_type: type[S], main: Callable[[S, Health], Awaitable[None]]
) -> None:
    """Run `main(settings, health)` until it returns or SIGTERM/SIGINT cancels it; never returns.

    `main` must set `health.ready` when it can take work and call `health.tick()` in its loop. On a
    signal its task
    is cancelled: it finishes or rolls back what is open within 10 s. `--check` prints the settings
        and ends.
    """
    settings = _start(name, settings_type)

    async def serve() -> None:
        health = Health(name)
        ops = make_server(make_ops_app(health), settings.ops_host, settings.ops_port)
        await _supervise(main(settings, health), [ops], health)

    _run(name, serve())


def run_app(name: str, settings_type: type[S], make_app: Callable[[S, Health], FastAPI]) -> None:
    """Serve the FastAPI app of `make_app(settings, health)`; never returns.

    The ops endpoints have a port of their own: who may ask the API must not read the metrics.
    Long work of an app (a hub, a relay) belongs in its lifespan, in a TaskGroup.
    """
    settings = _start(name, settings_type)

    async def serve() -> None:
        health = Health(name)
        app = make_server(make_app(settings, health), settings.api_host, settings.api_port)
        ops = make_server(make_ops_app(health), settings.ops_host, settings.ops_port)
        await _supervise(None, [app, ops], health)

    _run(name, serve())


class JsonFormatter(logging.Formatter):
    """One JSON object a line: time, level, service, logger, message, and the fields given as
    `extra={"fields": {}}` under other names than these."""

    def __init__(self, service: str) -> None:
        super().__init__()
        self.service = service

    def format(self, record: logging.LogRecord) -> str:
        """Render one record."""
        entry: dict[str, object] = {
            "time": time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
            + f".{int(record.msecs):03d}Z",
            "level": record.levelname,
            "service": self.service,
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name, value in getattr(record, "fields", {}).items():
            entry.setdefault(name, value)
        if record.exc_info:
            entry["exception"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


class TextFormatter(logging.Formatter):
    """For people: time, level, service, message, fields."""

    def __init__(self, service: str) -> None:
        super().__init__(f"%(asctime)s %(levelname)-7s {service} %(message)s")

    def format(self, record: logging.LogRecord) -> str:
        """Render one record."""
        fields = getattr(record, "fields", {})
        return super().format(record) + "".join(f" {k}={v}" for k, v in fields.items())


def configure_logging(service: str, settings: CommonSettings) -> None:
    """Send all logs to standard error in the wanted form; libraries speak from WARNING on."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(
        JsonFormatter(service) if settings.log_format == "json" else TextFormatter(service)
    )
    logging.basicConfig(level=logging.WARNING, handlers=[handler], force=True)
    logging.captureWarnings(True)
    for name in (service, service.split(".", maxsplit=1)[0], "aurelian"):
        logging.getLogger(name).setLevel(settings.log_level)


def _start(name: str, settings_type: type[S]) -> S:
    parser = argparse.ArgumentParser(prog=f"python -m {name}")
    parser.add_argument("--check", action="store_true", help="print the settings and end")
    arguments = parser.parse_args()
    try:
        settings = settings_type()
    except ValidationError as error:
        for said in problems_of(error):
            print(f"{name}: {said}", file=sys.stderr)
        sys.exit(EXIT_SETTINGS)
    if arguments.check:
        _print_settings(settings)
        _check_plant(name, settings)
        sys.exit(0)
    configure_logging(name, settings)
    log.info("started", extra={"fields": {"version": __version__}})
    return settings


def _check_plant(name: str, settings: CommonSettings) -> None:
    folder = getattr(settings, "plant", None)
    if folder is not None and folder.exists():
        try:
            load_plants(folder)
        except PlantError as error:
            print(f"{name}: {error}", file=sys.stderr)
            sys.exit(EXIT_SETTINGS)


def _print_settings(settings: CommonSettings) -> None:
    for key, field in type(settings).model_fields.items():
        value = getattr(settings, key)
        shown = "(set, hidden)" if isinstance(value, SecretStr) else value
        print(
            f"AURELIAN_{key.upper()}={shown}"
            + (f"  # {field.description}" if field.description else "")
        )


class _Server(uvicorn.Server):
    """uvicorn without signal handlers of its own: `_supervise` has them."""

    def install_signal_handlers(self) -> None:
        return

    def capture_signals(self):  # type: ignore[no-untyped-def]
        from contextlib import nullcontext

        return nullcontext()


def make_server(app: ASGIApp, host: str, port: int) -> _Server:
    """A server of an app, which ends by its `should_exit`."""
    return _Server(
        uvicorn.Config(
            app,
            host=host,
            port=port,
            log_config=None,
            access_log=False,
            timeout_graceful_shutdown=3,
            lifespan="on",
        )
    )


async def _supervise(
    main: Awaitable[None] | None, servers: Sequence[_Server], health: Health
) -> None:
    """Run the servers and, if given, the worker; the end of one, a signal, or `health.crash` ends
    all."""
    loop = asyncio.get_running_loop()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, health.stopping.set)
    serving = [asyncio.ensure_future(server.serve()) for server in servers]
    working = asyncio.ensure_future(main) if main is not None else None
    stopping = asyncio.ensure_future(health.stopping.wait())
    tasks = {t for t in (*serving, working, stopping) if t is not None}
    await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
    health.stopping.set()
    if working is not None and not working.done():
        working.cancel()
        await asyncio.wait({working}, timeout=10)
    for server in servers:
        server.should_exit = True
    await asyncio.wait(serving, timeout=5)
    stopping.cancel()
    for task in (working, *serving):
        if task is not None and task.done() and not task.cancelled():
            task.result()
    if health.error is not None:
        raise health.error


def _run(name: str, main: Awaitable[None]) -> None:
    started = time.monotonic()
    try:
        asyncio.run(main)  # type: ignore[arg-type]
    except KeyboardInterrupt:
        sys.exit(0)
    except SystemExit as error:
        # uvicorn ends the process this way when it cannot listen; its own log line says why.
        sys.exit(error.code)
    except (PlantError, UnusableError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        sys.exit(EXIT_SETTINGS)
    except Exception:
        log.critical("crashed", exc_info=True)
        sys.exit(1)
    log.info("stopped", extra={"fields": {"after_s": round(time.monotonic() - started, 1)}})
    logging.shutdown()
    # Everything is closed: taking the interpreter apart would only use up the launcher's time.
    os._exit(0)
