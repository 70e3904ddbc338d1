"""Errors of the HTTP APIs as RFC 9457 problem bodies (`application/problem+json`). Every `make_app`
calls `add_problem_handlers`."""

from __future__ import annotations

import importlib.util
import logging
from http import HTTPStatus

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException

log = logging.getLogger(__name__)

MEDIA_TYPE = "application/problem+json"


class Problem(Exception):
    """An answer that is no success. Raise it in a route or a dependency.

    Attributes:
        status: HTTP status.
        detail: a sentence for the caller: what is wrong and what to do.
        title: short and the same for every occurrence; the status' own phrase when empty.
        type: URI that names the kind of problem; `about:blank` means that the status says it all.
        headers: of the answer, say `WWW-Authenticate`.
        extra: further members of the body.
    """

    def __init__(
        self,
        status: int,
        detail: str,
        *,
        title: str = "",
        type: str = "about:blank",
        headers: dict[str, str] | None = None,
        **extra: object,
    ) -> None:
        super().__init__(detail)
        self.status, self.detail, self.type = status, detail, type
        self.title = title or HTTPStatus(status).phrase
        self.headers = headers
        self.extra = extra


def invalid(field: str, detail: str) -> Problem:
    """Make the 422 problem of one parameter that is well formed and yet unusable."""
    return Problem(
        422,
        f"{field}: {detail}",
        title="Invalid parameter",
        errors=[{"field": field, "detail": detail}],
    )


def add_problem_handlers(app: FastAPI) -> None:
    """Answer every error of `app` with a problem body, an absent database with 503 and
    Retry-After."""

    @app.exception_handler(Problem)
    async def of_problem(request: Request, problem: Problem) -> JSONResponse:
        return _respond(problem)

    @app.exception_handler(RequestValidationError)
    async def of_validation(request: Request, error: RequestValidationError) -> JSONResponse:
        errors = [
            {
                "field": ".".join(str(part) for part in each["loc"][1:]) or "body",
                "detail": each["msg"],
            }
            for each in error.errors()
        ]
        detail = "; ".join(f"{each['field']}: {each['detail']}" for each in errors)
        return _respond(Problem(422, detail, title="Invalid parameter", errors=errors))

    @app.exception_handler(HTTPException)
    async def of_http(request: Request, error: HTTPException) -> JSONResponse:
        headers = dict(error.headers) if error.headers else None
        return _respond(Problem(error.status_code, str(error.detail), headers=headers))

    @app.exception_handler(500)
    async def of_bug(request: Request, error: Exception) -> JSONResponse:
        # Starlette raises the error again after this answer, so that the server logs it.
        return _respond(Problem(500, "the server failed at this request; its log says why"))

    if importlib.util.find_spec("sqlalchemy") is not None:
        _add_database_handlers(app)


def _add_database_handlers(app: FastAPI) -> None:
    from sqlalchemy.exc import DataError, OperationalError
    from sqlalchemy.exc import TimeoutError as PoolTimeoutError

    async def of_database(request: Request, error: Exception) -> JSONResponse:
        log.warning("database did not answer", extra={"fields": {"path": request.url.path}})
        return _respond(
            Problem(
                503, "the database does not answer; try again later", headers={"Retry-After": "5"}
            )
        )

    async def of_data(request: Request, error: Exception) -> JSONResponse:
        # Say, a null character or a number beyond its column: what was sent, not our fault.
        return _respond(Problem(422, "a value of the request is none that the database can hold"))

    app.add_exception_handler(DataError, of_data)
    app.add_exception_handler(OperationalError, of_database)
    app.add_exception_handler(PoolTimeoutError, of_database)


def _respond(problem: Problem) -> JSONResponse:
    body = {
        "type": problem.type,
        "title": problem.title,
        "status": problem.status,
        "detail": problem.detail,
        **problem.extra,
    }
    return JSONResponse(body, problem.status, problem.headers, media_type=MEDIA_TYPE)
