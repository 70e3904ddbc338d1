"""Fills the templates of pages and parts. Used by routes.py and app.py."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Container
from pathlib import Path
from typing import Any

from fastapi import Request
from fastapi.responses import HTMLResponse
from jinja2 import Environment, FileSystemLoader, StrictUndefined
from markupsafe import Markup

from aurelian.model.time import from_ms, now_ms
from dashboard import formats, guard, marks, pages
from dashboard.hub import Hub
from dashboard.records import Body, Shown
from dashboard.settings import DashboardSettings

HERE = Path(__file__).parent
STATIC = HERE / "static"
TEMPLATES = HERE / "templates"

THEMES = ("light", "dark")

_SCRIPT_ESCAPES = (("<", "\\u003c"), (">", "\\u003e"), ("&", "\\u0026"))


class Renderer:
    """Fills templates; every page gets the moment, the build and the limits by which its script
    judges ages."""

    def __init__(self, settings: DashboardSettings) -> None:
        self._settings = settings
        self._templates = Environment(
            loader=FileSystemLoader(TEMPLATES),
            autoescape=True,
            undefined=StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            auto_reload=False,
        )
        self._templates.globals.update(
            formats=formats,
            time_of_day=marks.time_of_day,
            from_ms=from_ms,
            import_map=guard.IMPORT_MAP,
            tile=self._tile,
            flow=self._flow,
        )
        self._tiles: dict[str, tuple[pages.LineView, Markup]] = {}
        self._flows: dict[str, tuple[tuple[pages.MachineMark, ...], Markup]] = {}

    def part(self, template: str, **content: Any) -> str:
        """A piece of a page."""
        return self._templates.get_template(template).render(**content)

    def forget_tiles_but(self, lines: Container[str]) -> None:
        """Keep drawn tiles of these lines only."""
        self._tiles = {line: drawn for line, drawn in self._tiles.items() if line in lines}
        self._flows = {line: drawn for line, drawn in self._flows.items() if line in lines}

    # A tile that shows nothing new since the page before is not drawn again. Its machines are kept
    # apart from the rest, because many lines say for how many seconds they are in their state.

    def _tile(self, line: pages.LineView) -> Markup:
        view, text = self._tiles.get(line.asset.id, (None, Markup()))
        if view != line:
            text = Markup(self.part("_tile.html", line=line))
            self._tiles[line.asset.id] = (line, text)
        return text

    def _flow(self, line: pages.LineView) -> Markup:
        machines, text = self._flows.get(line.asset.id, (None, Markup()))
        if machines != line.machines:
            text = Markup(self.part("_flow.html", machines=line.machines))
            self._flows[line.asset.id] = (line.machines, text)
        return text

    def page(
        self,
        hub: Hub,
        template: str,
        request: Request,
        code: int = 200,
        shown: Shown | None = None,
        **content: Any,
    ) -> HTMLResponse:
        """A whole page. `shown`: what of the picture its script begins with; None: only which
        machines there are and when they were heard."""
        now = content.pop("now", None) or now_ms()
        plant = hub.plant
        status = read_status(self._settings.status_file)
        theme = request.query_params.get("theme")
        limits = {
            "live": plant.limits.live_ms,
            "late": plant.limits.late_ms,
            "offline": int(self._settings.offline_s * 1000),
        }
        text = self.part(
            template,
            now=now,
            theme=theme if theme in THEMES else None,
            health=pages.data_health(plant, now),
            status=status,
            problem=hub.problem,
            here=template.removesuffix(".html"),
            clock_zone=str(content.get("zone") or pages.plant_zone(plant)),
            code=code,
            boot=script_json({"limits": limits, **hub.snapshot(now, shown or Shown())}),
            **content,
        )
        return HTMLResponse(text, code, headers={"cache-control": "no-store"})


def entry_page(render: Renderer, reason: str) -> HTMLResponse:
    """The page that asks for a key."""
    text = render.part("enter.html", reason=reason)
    return HTMLResponse(text, 401, headers={"cache-control": "no-store"})


def build_hash() -> str:
    """Twelve hex digits that change with any page or script."""
    digest = hashlib.sha256()
    for path in sorted([*STATIC.rglob("*"), *TEMPLATES.rglob("*")]):
        if path.is_file():
            digest.update(path.name.encode() + path.read_bytes())
    return digest.hexdigest()[:12]


def script_json(body: Body) -> Markup:
    """JSON that may stand inside a script element: no text in it can end that."""
    text = json.dumps(body, separators=(",", ":"), allow_nan=False)
    for character, escape in _SCRIPT_ESCAPES:  # ten times as fast as str.translate
        text = text.replace(character, escape)
    return Markup(text)


def read_status(file: Path | None) -> dict[str, Any] | None:
    """The launcher's status of broker and services; None where there is none."""
    if file is None:
        return None
    try:
        found = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None
