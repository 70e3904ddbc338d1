"""The control API of a gateway, `/control/v1`, over its `Connector`: see README.md. Served by
`serve.py`."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar

from fastapi import APIRouter, FastAPI, Request
from fastapi.responses import JSONResponse, Response
from starlette.types import ASGIApp, Receive, Scope, Send

from aurelian.edge.control.connector import Connector, FoundSource, Look, NotPossible
from aurelian.edge.control.key import is_key
from aurelian.edge.control.lines import Busy, Emit, Lines, closing, plain
from aurelian.edge.control.looks import KeptLook, Looks, Password, Passwords
from aurelian.edge.control.plans import Plans
from aurelian.edge.control.problems import add_handlers, answer_of, wrong
from aurelian.edge.control.requests import (
    DryRunBody,
    LadderBody,
    LookBody,
    PlanBody,
    TrustBody,
    WriteBody,
    completed,
    model_of,
    password_in,
    read_body,
)
from aurelian.edge.ladder import Step
from aurelian.model.plant import Plant
from aurelian.model.source_model import SourceModel
from aurelian.runtime.health import Health
from aurelian.runtime.safe_file import ChangedMeanwhileError

PREFIX = "/control/v1"
_LADDER_S = 90.0
_BESIDE_S = 120.0
"""For what a look or a dry run does beside listening."""

_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What the API works on.

    Attributes:
        plant: folders of plant files, as the setting says.
        secrets: folder of passwords that plant files name.
        held: folder of passwords that are held for a while.
        plants: those that the gateway runs by.
    """

    health: Health
    plant: Path
    secrets: Path
    held: Path
    plants: Callable[[], Sequence[Plant]]


class Control:
    """The API. Owned by one event loop."""

    def __init__(self, connector: Connector, around: Surroundings, key: str) -> None:
        self._connector, self._around = connector, around
        self._plans = Plans(around.plant, around.secrets, connector)
        self._passwords, self._looks, self._busy = Passwords(around.held), Looks(), Busy()
        self._writing = asyncio.Lock()
        self.app: ASGIApp = _KeyGuard(self._make_app(), key)

    def close(self) -> None:
        """End all requests, and forget what was kept."""
        self._busy.end_all()
        self._looks.clear()
        self._passwords.clear()

    def _make_app(self) -> FastAPI:
        app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
        add_handlers(app)
        router = APIRouter(prefix=PREFIX)
        for path, method, answer in (
            ("/sources", "GET", self._sources),
            ("/ladder", "POST", self._ladder),
            ("/looks", "POST", self._look),
            ("/looks/{look}/plan", "POST", self._plan),
            ("/looks/{look}/write", "POST", self._write),
            ("/dry-run", "POST", self._dry_run),
            ("/certificates", "GET", self._certificates),
            ("/trust", "POST", self._trust),
        ):
            router.add_api_route(path, answer, methods=[method], response_model=None)
        app.include_router(router)
        return app

    async def _sources(self) -> Response:
        health = self._around.health
        sources = health.sources() if health.sources is not None else []
        return JSONResponse(plain({"sources": sources, "plant": health.plant()}))

    async def _ladder(self, request: Request) -> Response:
        body = await read_body(request, LadderBody)
        if body.source is None:
            model, password = self._known(body.key)[1], None
        else:
            model, password = await self._model(body.source)
        return self._lines(partial(self._climb, model), model, password)

    async def _climb(self, model: SourceModel, emit: Emit) -> None:
        last: Step | None = None
        async with asyncio.timeout(_LADDER_S), closing(self._connector.climb(model)) as steps:
            async for last in steps:
                await emit({"step": asdict(last)})
        await emit({"end": "failed" if last is None or last.ends else "climbed"})

    async def _look(self, request: Request) -> Response:
        body = await read_body(request, LookBody)
        model, password = await self._model(body.source, body.company)
        return self._lines(partial(self._listen, body, model, password), model, password)

    async def _listen(
        self, body: LookBody, model: SourceModel, password: Password | None, emit: Emit
    ) -> None:
        known = self._sources_of(body.company)
        look, said = Look(), ""
        looking = self._connector.look(model, known, body.choose, body.leave_out, body.seconds)
        async with asyncio.timeout(body.seconds + _BESIDE_S), closing(looking) as looks:
            async for look in looks:
                if look.progress != said:
                    said = look.progress
                    await emit({"progress": said})
        kept = KeptLook(look, password)
        sources = [_shown(each, kept) for each in look.sources]
        await emit({"look": self._looks.add(kept), "sources": sources})

    async def _plan(self, request: Request, look: str) -> Response:
        kept = self._kept(look)
        body = await read_body(request, PlanBody)

        def planned() -> dict[str, object]:
            return self._plans.plan(kept, body.choice, body.place).shown()

        return JSONResponse(plain(await _possible(asyncio.to_thread(planned))))

    async def _write(self, request: Request, look: str) -> Response:
        kept = self._kept(look)
        body = await read_body(request, WriteBody)

        def written() -> dict[str, object]:
            return self._plans.write(kept, body.choice, body.place, body.before).shown()

        async with self._writing:
            try:
                shown = await _possible(asyncio.to_thread(written))
            except ChangedMeanwhileError as error:
                raise wrong(409, str(error), "plan again, and look at what is new") from error
        return JSONResponse(plain({**shown, "written": True}))

    async def _dry_run(self, request: Request) -> Response:
        body = await read_body(request, DryRunBody)
        if body.key:
            plant, model = self._known(body.key)
            return self._lines(partial(self._try, plant, [model], body.seconds), model, None)
        kept = self._kept(body.look)
        plan = await _possible(
            asyncio.to_thread(
                partial(self._plans.plan, kept, body.choice, body.place, is_real=False)
            )
        )
        plant = plan.change.plant
        models = [each for each in plant.sources if each.key in plan.keys]
        return self._lines(partial(self._try, plant, models, body.seconds), models[0], None)

    async def _try(
        self, plant: Plant, models: Sequence[SourceModel], seconds: float, emit: Emit
    ) -> None:
        for model in models:
            trying = self._connector.dry_run(plant, model, seconds / len(models))
            async with asyncio.timeout(seconds + _BESIDE_S), closing(trying) as runs:
                async for run in runs:
                    await emit({"source": model.key, **run})

    async def _certificates(self) -> Response:
        found = await _possible(asyncio.to_thread(self._connector.certificates))
        return JSONResponse(plain({"certificates": found}))

    async def _trust(self, request: Request) -> Response:
        body = await read_body(request, TrustBody)
        sha256 = body.sha256.lower()
        if body.pem:
            # The library is needed here alone.
            from aurelian.edge.control.pinned import pin

            folder = (self._around.secrets / "certificates").absolute()
            subject, file = await _possible(asyncio.to_thread(pin, folder, sha256, body.pem))
            return JSONResponse({"trusted": subject, "file": str(file)})
        trusted = await _possible(asyncio.to_thread(self._connector.trust, sha256))
        return JSONResponse({"trusted": trusted})

    def _lines(
        self,
        work: Callable[[Emit], Awaitable[None]],
        model: SourceModel,
        password: Password | None,
    ) -> Lines:
        """The answer of work at the address of a source; the password goes with it."""
        try:
            give_back = self._busy.take(model.url)
        except BaseException:
            if password is not None:
                password.forget()
            raise

        def ends() -> None:
            give_back()
            if password is not None:
                password.end_request()

        return Lines(work, self._busy, ends)

    def _sources_of(self, company: str | None) -> list[SourceModel]:
        """The sources that one of a company may hear of; None: of all that the gateway has."""
        plants = self._around.plants()
        return [e for plant in plants if company in (None, plant.owner) for e in plant.sources]

    async def _model(
        self, fields: dict[str, object], company: str | None = None
    ) -> tuple[SourceModel, Password | None]:
        """A source of its fields, and the password that came with them."""
        word = password_in(fields)
        fields = completed(fields, {each.id for each in self._sources_of(company)})
        password = await asyncio.to_thread(self._passwords.hold, word)
        try:
            model = model_of(fields, None if password is None else str(password.file))
            if model.kind not in self._connector.kinds:
                kinds = ", ".join(sorted(self._connector.kinds))
                raise wrong(
                    422,
                    f"source.kind: this gateway connects {kinds}, not {model.kind}",
                    "ask the gateway of that kind",
                )
        except BaseException:
            if password is not None:
                password.forget()
            raise
        return model, password

    def _known(self, key: str) -> tuple[Plant, SourceModel]:
        for plant in self._around.plants():
            for each in plant.sources:
                if each.key == key and each.kind in self._connector.kinds:
                    return plant, each
        raise wrong(404, f"no source of this gateway is {key!r}", "GET /sources lists them")

    def _kept(self, id_: str) -> KeptLook:
        found = self._looks.get(id_)
        if found is None:
            raise wrong(404, "there is no such look, or no longer", "look again: POST /looks")
        return found


class _KeyGuard:
    """Answers nothing without the key."""

    def __init__(self, app: ASGIApp, key: str) -> None:
        self._app, self._key = app, key

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "lifespan" or self._is_allowed(scope):
            await self._app(scope, receive, send)
            return
        if scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
            return
        problem = wrong(
            401,
            "the control API needs its key",
            "send `Authorization: Bearer KEY`; the key is in the file that "
            "AURELIAN_CONTROL_KEY_FILE names",
            WWW_Authenticate="Bearer",
        )
        await answer_of(problem)(scope, receive, send)

    def _is_allowed(self, scope: Scope) -> bool:
        given = [value for name, value in scope["headers"] if name == b"authorization"]
        if len(given) != 1:
            return False
        scheme, _, key = given[0].decode("latin-1").partition(" ")
        return scheme.lower() == "bearer" and is_key(self._key, key.strip())


async def _possible(work: Awaitable[_T]) -> _T:
    """What comes of work, with what is in its way as a problem."""
    try:
        return await work
    except NotPossible as error:
        raise wrong(422, str(error), error.step) from error
    except OSError as error:
        said = f"{error.filename or 'the disk'}: {error.strerror or error}"
        raise wrong(500, said, "let the gateway's user write there") from error


def _shown(source: FoundSource, kept: KeptLook) -> dict[str, object]:
    return {
        "fields": kept.settled(source.fields, None),
        "said": source.said,
        "known_as": source.known_as,
        "rows": [asdict(row) for row in source.rows],
    }
