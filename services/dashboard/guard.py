"""Who may ask, and what a page may do: Host check against DNS rebinding, security headers. Added to
the app by app.py."""

from __future__ import annotations

import base64
import hashlib
import json
from urllib.parse import urlsplit

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import PlainTextResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

IMPORT_MAP = json.dumps(
    {
        "imports": {
            "lit": "/static/vendor/lit.js",
            "@preact/signals-core": "/static/vendor/signals-core.js",
            "uplot": "/static/vendor/uplot.js",
        }
    },
    separators=(",", ":"),
)
"""The one inline script of a page; the policy below lets exactly these bytes through."""

_MAP_HASH = base64.b64encode(hashlib.sha256(IMPORT_MAP.encode()).digest()).decode()

HEADERS = {
    "content-security-policy": (
        f"default-src 'none'; script-src 'self' 'sha256-{_MAP_HASH}'; style-src 'self'; "
        "img-src 'self'; connect-src 'self'; manifest-src 'self'; base-uri 'none'; "
        "form-action 'self'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "cross-origin-opener-policy": "same-origin",
}


class Guard:
    """ASGI middleware. `names`: what a Host header may say, lower case, without port."""

    def __init__(self, app: ASGIApp, names: frozenset[str]) -> None:
        self._app, self._names = app, names

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Refuse a request for another name with 421; give every answer the security headers."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return

        async def send_guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                MutableHeaders(scope=message).update(HEADERS)
            await send(message)

        if host_name(Headers(scope=scope).get("host", "")) not in self._names:
            refused = PlainTextResponse(
                "This server answers under its own names only; add yours to "
                "AURELIAN_DASHBOARD_HOSTS.\n",
                421,
            )
            await refused(scope, receive, send_guarded)
            return
        await self._app(scope, receive, send_guarded)


def host_name(header: str) -> str:
    """The name in a Host header, lower case, without port and brackets; empty where it is no
    host."""
    try:
        return urlsplit(f"//{header}").hostname or ""
    except ValueError:
        return ""
