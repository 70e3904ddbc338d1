"""What the control API answers where something is wrong: a problem (RFC 9457) with `fix`, what to
do. Used by all of this folder that answers."""

from __future__ import annotations

import logging
from collections.abc import Mapping

from fastapi import FastAPI, Request
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

from aurelian.runtime.problems import MEDIA_TYPE, Problem, add_problem_handlers

log = logging.getLogger(__name__)

FAILED = "the gateway failed at this request"
FAILED_FIX = "look into the gateway's log: it says why"
_FIXES = {
    404: "the requests are listed in shared/aurelian/edge/control/README.md",
    405: "the requests are listed in shared/aurelian/edge/control/README.md",
}


def wrong(status: int, detail: str, fix: str, **headers: str) -> Problem:
    """A problem to raise. `headers`: of the answer, `_` for `-`."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Problem(status, detail, headers=named or None, fix=fix)


def body_of(problem: Problem) -> dict[str, object]:
    """A problem's body."""
    return {
        "type": problem.type,
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        **problem.extra,
    }


def answer_of(problem: Problem) -> JSONResponse:
    """A problem's answer."""
    return JSONResponse(body_of(problem), problem.status, problem.headers, media_type=MEDIA_TYPE)


def in_lines(detail: str, fix: str) -> Mapping[str, object]:
    """A problem as one of several lines."""
    return {"problem": {"detail": detail, "fix": fix}}


def add_handlers(app: FastAPI) -> None:
    """Answer every error of the app with a problem that has a `fix`."""
    add_problem_handlers(app)

    @app.exception_handler(HTTPException)
    async def of_http(request: Request, error: HTTPException) -> JSONResponse:
        fix = _FIXES.get(error.status_code, "look at the request")
        problem = wrong(error.status_code, str(error.detail), fix)
        problem.headers = dict(error.headers) if error.headers else None
        return answer_of(problem)

    @app.exception_handler(500)
    async def of_bug(request: Request, error: Exception) -> JSONResponse:
        return answer_of(wrong(500, FAILED, FAILED_FIX))
