"""The documentation page of an HTTP API: its OpenAPI document, drawn by Swagger UI without asking
another host. Called by `api.py` for each API.

All addresses are below the API's prefix, so the page is the same behind a proxy that passes the
prefix on, such as the dashboard. `/docs` leads there.
"""

from __future__ import annotations

from html import escape
from pathlib import Path

from fastapi import FastAPI
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse

FILES_FOLDER = Path(__file__).parent / "swagger_ui"

MEDIA_TYPES = {
    "swagger-ui-bundle.js": "text/javascript",
    "swagger-ui.css": "text/css",
    "docs.js": "text/javascript",
    "docs.css": "text/css",
    "icon.svg": "image/svg+xml",
}
"""Files that the page loads; no other file of the folder is served."""

HEADERS = {
    "content-security-policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; "
        "connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cache-control": "no-cache",
}

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title>
<link rel="icon" href="{prefix}/docs/icon.svg" type="image/svg+xml">
<link rel="stylesheet" href="{prefix}/docs/swagger-ui.css">
<link rel="stylesheet" href="{prefix}/docs/docs.css">
<script src="{prefix}/docs/swagger-ui-bundle.js" defer></script>
<script src="{prefix}/docs/docs.js" defer></script>
</head>
<body>
<nav class="origin"><b>{title}</b> <a href="{prefix}/openapi.json">openapi.json</a></nav>
<main id="docs" data-openapi="{prefix}/openapi.json">
<noscript><p>This page needs JavaScript; the document itself is
<a href="{prefix}/openapi.json">openapi.json</a>.</p></noscript>
</main>
</body>
</html>
"""


def add_docs_page(app: FastAPI, prefix: str) -> None:
    """Serve `<prefix>/docs` and what it loads; the OpenAPI document is `<prefix>/openapi.json`.

    Open to everybody, as that document is.
    """
    page = _PAGE.format(title=escape(app.title), prefix=escape(prefix))

    @app.get(f"{prefix}/docs", include_in_schema=False)
    async def docs_page() -> HTMLResponse:
        return HTMLResponse(page, headers=HEADERS)

    @app.get("/docs", include_in_schema=False)
    async def docs() -> RedirectResponse:
        return RedirectResponse(f"{prefix}/docs")

    for name, media_type in MEDIA_TYPES.items():
        _add_file(app, f"{prefix}/docs/{name}", FILES_FOLDER / name, media_type)


def _add_file(app: FastAPI, path: str, file: Path, media_type: str) -> None:
    @app.get(path, include_in_schema=False)
    async def docs_file() -> FileResponse:
        return FileResponse(file, media_type=media_type, headers=HEADERS)
