"""The page Connect: what it asks for is passed on to the gateways' control APIs, for the visitor's
own company only. Added to the app by app.py.

A gateway believes whoever has its control key, so what a browser may say is held here: only the
company's own sources and plant files, and no path of a file of the gateway's machine, which could
be shown to a stranger's server as a password.
"""

from __future__ import annotations

import json
from collections import OrderedDict
from collections.abc import AsyncIterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any

import httpx
from fastapi import APIRouter, Body, Depends, HTTPException, Request, Response
from fastapi.responses import HTMLResponse, JSONResponse, StreamingResponse

from aurelian.edge.proposals.state_words import ANSWERS
from aurelian.model.time import now_ms
from dashboard.gate import CurrentVisitor, Visitor, enter_by_link
from dashboard.renderer import Renderer
from dashboard.settings import DashboardSettings

SCOPE = "plant:write"
"""What a key must hold to connect machines."""

_GATEWAYS = {"opcua": "opcua", "mqtt": "mqtt", "sparkplug": "mqtt"}
"""The gateway of each kind of source."""

_SOURCE = {"id", "kind", "url", "user", "password", "topics", "group", "edge_node"}
_SECURITY = {"policy", "waive"}
_TLS = {"ca_file", "waive", "server_name"}
_CHOICE = {"rows", "states", "site", "time_zone", "area", "line", "before"}
_LOOK = {"choose", "leave_out", "seconds"}
_TRUST = {"sha256", "pem", "id"}
_REMEMBERED = 200
_TIMEOUT = httpx.Timeout(330.0, connect=2.0)

Given = Annotated[dict[str, Any], Body()]


@dataclass(frozen=True, slots=True)
class _Owned:
    """A look: who made it, and at which gateway."""

    owner: str
    gateway: str


class Connect:
    """Passes requests on to the control APIs that the settings name."""

    def __init__(self, settings: DashboardSettings, client: httpx.AsyncClient) -> None:
        self._urls = settings.control_apis
        self._key_file = settings.control_key_file
        self._client = client
        self._looks: OrderedDict[str, _Owned] = OrderedDict()
        self._pinned: OrderedDict[tuple[str, str], None] = OrderedDict()

    @property
    def is_there(self) -> bool:
        """Whether any gateway can be asked."""
        return bool(self._urls) and self._key_file is not None

    async def sources(self, owner: str) -> list[Mapping[str, object]]:
        """The company's sources as the gateways say, those that answer."""
        found: list[Mapping[str, object]] = []
        for gateway in self._urls:
            try:
                answer = await self._client.send(self._request("GET", gateway, "/sources", None))
                rows = answer.json()["sources"] if answer.status_code == 200 else []
            except (httpx.HTTPError, ValueError, KeyError, HTTPException):
                continue
            found += [
                {**each, "gateway": gateway}
                for each in rows
                if str(each["source"]).startswith(f"{owner}/")
            ]
        return found

    async def lines(
        self, visitor: Visitor, gateway: str, path: str, body: Mapping[str, object]
    ) -> Response:
        """Pass a request on whose answer comes line by line."""
        try:
            answer = await self._client.send(
                self._request("POST", gateway, path, body), stream=True
            )
        except httpx.HTTPError:
            return _away(gateway)
        if answer.status_code != 200:
            text = await answer.aread()
            await answer.aclose()
            return _passed(answer.status_code, text)

        async def passed_on() -> AsyncIterator[str]:
            try:
                async for line in answer.aiter_lines():
                    self._note_look(visitor, gateway, line)
                    yield line + "\n"
            except httpx.HTTPError:
                said = {"detail": f"The {gateway} gateway went away.", "fix": "Try again."}
                yield json.dumps({"problem": said}) + "\n"
            finally:
                await answer.aclose()

        return StreamingResponse(passed_on(), media_type="application/x-ndjson")

    async def ask(self, gateway: str, path: str, body: Mapping[str, object]) -> Response:
        """Pass a request on whose answer comes at once."""
        try:
            answer = await self._client.send(self._request("POST", gateway, path, body))
        except httpx.HTTPError:
            return _away(gateway)
        return _passed(answer.status_code, answer.content)

    def gateway_of_look(self, visitor: Visitor, look: str) -> str:
        """The gateway that has a look. Raises HTTPException: the company has no such look."""
        known = self._looks.get(look)
        if known is None or known.owner != visitor.owner:
            raise HTTPException(404, "no such look: look again")
        return known.gateway

    def checked(self, visitor: Visitor, source: object) -> tuple[str, dict[str, Any]]:
        """The gateway of a source that a browser describes, and what of it is passed on.

        Raises:
            HTTPException: 422, it says what no page may.
        """
        if not isinstance(source, dict):
            raise HTTPException(422, "source: an object is wanted")
        fields = {key: each for key, each in source.items() if key in _SOURCE and each != ""}
        kind = fields.get("kind")
        if not isinstance(kind, str) or kind not in _GATEWAYS:
            raise HTTPException(422, f"kind: one of {', '.join(_GATEWAYS)}")
        if "topics" in fields:
            # Only what is listened to: a payload's description may name files.
            topics = fields["topics"] if isinstance(fields["topics"], list) else []
            fields["topics"] = [{"topic": e.get("topic")} for e in topics if isinstance(e, dict)]
        for name, allowed in (("security", _SECURITY), ("tls", _TLS)):
            given = source.get(name)
            if isinstance(given, dict):
                fields[name] = {k: each for k, each in given.items() if k in allowed}
        file = fields.get("tls", {}).get("ca_file")
        is_ours = isinstance(file, str) and (visitor.owner, file) in self._pinned
        if file is not None and not is_ours:
            raise HTTPException(422, "tls.ca_file: trust the certificate on this page first")
        return _GATEWAYS[kind], fields

    def note_pinned(self, visitor: Visitor, answer: Response) -> None:
        """Note the file of a certificate that was trusted, so that it may be named."""
        if answer.status_code == 200 and (file := json.loads(bytes(answer.body)).get("file")):
            self._pinned[visitor.owner, file] = None
            if len(self._pinned) > _REMEMBERED:
                self._pinned.popitem(last=False)

    def _note_look(self, visitor: Visitor, gateway: str, line: str) -> None:
        try:
            look = json.loads(line).get("look")
        except (ValueError, AttributeError):
            return
        if isinstance(look, str):
            self._looks[look] = _Owned(visitor.owner, gateway)
            if len(self._looks) > _REMEMBERED:
                self._looks.popitem(last=False)

    def _request(
        self, method: str, gateway: str, path: str, body: Mapping[str, object] | None
    ) -> httpx.Request:
        if gateway not in self._urls or self._key_file is None:
            raise HTTPException(503, f"The pages know no control API of a {gateway} gateway.")
        try:
            key = self._key_file.read_text().strip()
        except OSError:
            raise HTTPException(503, "The gateways' control key cannot be read.") from None
        return self._client.build_request(
            method,
            f"{self._urls[gateway]}/control/v1{path}",
            json=body,
            headers={"authorization": f"Bearer {key}"},
            timeout=_TIMEOUT,
        )


def connect_routes(connect: Connect, render: Renderer) -> APIRouter:
    """The page and what its script asks for."""
    router = APIRouter(include_in_schema=False, dependencies=[Depends(enter_by_link)])

    @router.get("/connect")
    async def page(request: Request, visitor: CurrentVisitor) -> HTMLResponse:
        why_not = ""
        if not connect.is_there:
            why_not = (
                "These pages know no gateway that they could ask. Set AURELIAN_CONTROL_URLS and "
                "AURELIAN_CONTROL_KEY_FILE, or use aurelian connect at the gateway's machine."
            )
        elif not _may_write(visitor):
            why_not = (
                f"Your key may look and not connect machines: it lacks the scope {SCOPE}. Whoever "
                "runs the gateway makes one that has it, or uses aurelian connect there."
            )
        answers = [{"state": state.value, "text": text} for state, text in ANSWERS]
        assets = visitor.hub.plant.tree.assets.values()
        sites = sorted({each.name for each in assets if each.level == "site"})
        return render.page(
            visitor.hub,
            "connect.html",
            request,
            now=now_ms(),
            why_not=why_not,
            setup={"answers": answers, "sites": sites, "company": visitor.owner},
        )

    @router.get("/connect/sources")
    async def sources(visitor: CurrentVisitor) -> JSONResponse:
        found = await connect.sources(visitor.owner)
        return JSONResponse({"sources": found}, headers={"cache-control": "no-store"})

    @router.post("/connect/ladder")
    async def ladder(request: Request, visitor: CurrentVisitor, body: Given) -> Response:
        _may_ask(request, visitor)
        if "key" in body:
            gateway, key = await _own_key(connect, visitor, body["key"])
            return await connect.lines(visitor, gateway, "/ladder", {"key": key})
        gateway, source = connect.checked(visitor, body.get("source"))
        return await connect.lines(visitor, gateway, "/ladder", {"source": source})

    @router.post("/connect/looks")
    async def look(request: Request, visitor: CurrentVisitor, body: Given) -> Response:
        _may_ask(request, visitor)
        gateway, source = connect.checked(visitor, body.get("source"))
        wanted = {key: each for key, each in body.items() if key in _LOOK}
        # Who else has a source at this server or broker is nobody's business.
        wanted |= {"source": source, "company": visitor.owner}
        return await connect.lines(visitor, gateway, "/looks", wanted)

    @router.post("/connect/looks/{look}/{what}")
    async def change(
        request: Request, look: str, what: str, visitor: CurrentVisitor, body: Given
    ) -> Response:
        _may_ask(request, visitor)
        gateway = connect.gateway_of_look(visitor, look)
        if what not in ("plan", "write", "dry-run"):
            raise HTTPException(404, "no such request")
        choice = {key: each for key, each in body.items() if key in _CHOICE}
        choice["company"] = visitor.owner  # whatever it says: no key writes another's plant
        if what == "dry-run":
            more = {"look": look, "seconds": body.get("seconds", 60), **choice}
            return await connect.lines(visitor, gateway, "/dry-run", more)
        return await connect.ask(gateway, f"/looks/{look}/{what}", choice)

    @router.post("/connect/trust")
    async def trust(request: Request, visitor: CurrentVisitor, body: Given) -> Response:
        _may_ask(request, visitor)
        gateway = _GATEWAYS.get(str(body.get("kind")), "")
        wanted = {key: each for key, each in body.items() if key in _TRUST}
        answer = await connect.ask(gateway, "/trust", wanted)
        connect.note_pinned(visitor, answer)
        return answer

    return router


def _may_write(visitor: Visitor) -> bool:
    return not {SCOPE, "admin"}.isdisjoint(visitor.scopes)


def _may_ask(request: Request, visitor: Visitor) -> None:
    # The cookie is the browser's, so who asks must be one of these pages.
    if request.headers.get("sec-fetch-site", "same-origin") != "same-origin":
        raise HTTPException(403, "Another site asks in your name.")
    if not _may_write(visitor):
        raise HTTPException(403, f"This key lacks the scope {SCOPE}.")


async def _own_key(connect: Connect, visitor: Visitor, key: object) -> tuple[str, str]:
    """The gateway of one of the company's sources."""
    for each in await connect.sources(visitor.owner):
        if each["source"] == key:
            return str(each["gateway"]), str(key)
    raise HTTPException(404, "no such source")


def _away(gateway: str) -> JSONResponse:
    said = f"The {gateway} gateway does not answer."
    return problem(503, said, "Does it run? aurelian doctor says what is wrong.")


def problem(status: int, detail: str, fix: str = "") -> JSONResponse:
    """RFC 9457, with what to do about it."""
    body = {"type": "about:blank", "title": "Not possible", "status": status}
    return JSONResponse({**body, "detail": detail, "fix": fix}, status)


def _passed(status: int, body: bytes) -> Response:
    if status == 401:
        # Not the visitor's key: that of the pages.
        return problem(503, "The gateway does not take the pages' control key.", "Start both anew.")
    kind = "application/json" if status < 400 else "application/problem+json"
    return Response(body, status, media_type=kind, headers={"cache-control": "no-store"})
