"""Whose pages a browser sees: the key that it brings says which company, until there is a sign-in.
Used by app.py, routes.py and forward.py.

A key comes as a link (`/?key=ak_...`), from the entry page, or as `Authorization: Bearer`; the
first two are kept in a cookie. Everything that follows, forwarded requests included, is asked in
the name of that key: no key of the dashboard's own sees more.
"""

from __future__ import annotations

import time
from collections import OrderedDict
from dataclasses import dataclass
from typing import Annotated
from urllib.parse import parse_qs, urlencode

from fastapi import APIRouter, Depends, HTTPException, Request, Response
from fastapi.responses import RedirectResponse
from sqlalchemy.exc import DBAPIError

from aurelian.access.keys import Keys, Principal
from aurelian.access.policy import Action, decide
from aurelian.model.time import from_ms, now_ms
from dashboard.companies import Companies
from dashboard.hub import Hub

SCOPE = "history:read"
"""What a key must hold to open the pages."""

BELIEVED_S = 3600.0
"""How long a key that was checked is believed while the database does not answer."""

_REMEMBERED = 1000
_LONGEST_BODY = 4096


class LetIn(Exception):
    """A link brought a key: answer with this."""

    def __init__(self, answer: Response) -> None:
        super().__init__()
        self.answer = answer


class NoKey(Exception):
    """No key, or one that opens no page; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Visitor:
    """Who looks: a key, its company, the company's hub, and what the key may."""

    key: str
    owner: str
    hub: Hub
    scopes: frozenset[str] = frozenset()


class Gate:
    """Checks keys and finds the company's hub."""

    def __init__(self, keys: Keys, companies: Companies) -> None:
        self._keys, self._companies = keys, companies
        self._known: OrderedDict[str, tuple[float, Principal]] = OrderedDict()

    async def enter(self, key: str) -> Visitor:
        """Open the pages of the key's company.

        Raises:
            NoKey: there is none, it is wrong or ended, or it opens no pages.
            HTTPException: 503, the database does not answer and the key was not checked lately.
        """
        principal = await self._check(key) if key else None
        if principal is None:
            raise NoKey("This key is missing, wrong, expired or revoked." if key else "")
        if principal.is_platform:
            raise NoKey("This is a key of the platform. Pages show one company: use its own key.")
        if SCOPE not in principal.scopes and "admin" not in principal.scopes:
            raise NoKey(f"This key lacks the scope {SCOPE}.")
        owner = principal.owner
        assert decide(principal, Action.READ, owner, None, (), from_ms(now_ms())).permit
        scopes = frozenset(principal.scopes)
        return Visitor(key, owner, self._companies.hub_of(owner), scopes)

    async def _check(self, key: str) -> Principal | None:
        try:
            principal = await self._keys.check(key)
        except (DBAPIError, OSError):
            checked_at, known = self._known.get(key, (float("-inf"), None))
            if known is None or time.monotonic() - checked_at > BELIEVED_S:
                raise HTTPException(
                    503, "The database does not answer, so your key cannot be checked."
                ) from None
            return known
        self._known.pop(key, None)
        if principal is not None:
            self._known[key] = (time.monotonic(), principal)
            if len(self._known) > _REMEMBERED:
                self._known.popitem(last=False)
        return principal


def cookie_name(request: Request) -> str:
    """Cookies know no ports: each stack of a machine has its own."""
    return f"aurelian_key_{request.url.port or 0}"


async def _visitor(request: Request) -> Visitor:
    gate: Gate = request.app.state.gate
    scheme, _, bearer = request.headers.get("authorization", "").partition(" ")
    key = bearer if scheme.lower() == "bearer" else request.cookies.get(cookie_name(request), "")
    visitor: Visitor = await gate.enter(key)
    request.state.visitor = visitor
    return visitor


CurrentVisitor = Annotated[Visitor, Depends(_visitor)]


def entry_routes() -> APIRouter:
    """The route by which the entry page gives a key."""
    router = APIRouter(include_in_schema=False)

    @router.post("/enter")
    async def enter(request: Request) -> Response:
        body = (await request.body())[:_LONGEST_BODY]
        key = parse_qs(body.decode("utf-8", "replace")).get("key", [""])[0].strip()
        return await _let_in(request, key, "/")

    return router


async def enter_by_link(request: Request) -> None:
    """Let in who comes by a link with a key: the same page without it, and a cookie.

    Raises:
        LetIn: there was a key in the link, and it opens the pages.
        NoKey: it opens no pages.
    """
    key = request.query_params.get("key")
    if key is None:
        return
    rest = [each for each in request.query_params.multi_items() if each[0] != "key"]
    path = request.url.path if not request.url.path.startswith("//") else "/"
    answer = await _let_in(request, key, path + (f"?{urlencode(rest)}" if rest else ""))
    raise LetIn(answer)


async def _let_in(request: Request, key: str, to: str) -> Response:
    # Another site may not choose whose pages this browser shows.
    if request.headers.get("sec-fetch-site", "none") not in ("none", "same-origin"):
        raise NoKey("Another site sent you here with a key. Enter it yourself.")
    gate: Gate = request.app.state.gate
    visitor = await gate.enter(key)
    answer = RedirectResponse(to, 303, headers={"cache-control": "no-store"})
    answer.set_cookie(cookie_name(request), visitor.key, httponly=True, samesite="strict", path="/")
    return answer
