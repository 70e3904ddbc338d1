"""Asks the control API of a gateway. For programs on its machine and for tests; needs httpx."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Mapping
from typing import Any, Self

import httpx

_BESIDE_S = 30.0
"""The longest between two lines of an answer: something always comes within a step's time-outs."""


class ControlError(Exception):
    """The API refuses, or cannot be asked.

    Attributes:
        status: of HTTP; 0: nobody answered.
        fix: what to do about it.
    """

    def __init__(self, status: int, detail: str, fix: str = "") -> None:
        super().__init__(detail)
        self.status, self.fix = status, fix


class ControlClient:
    """One gateway's control API.

    Args:
        url: of the gateway's API, say `http://127.0.0.1:8090`, with or without `/control/v1`.
        key: the content of the key file.
    """

    def __init__(self, url: str, key: str) -> None:
        base = url.rstrip("/").removesuffix("/control/v1")
        self._http = httpx.AsyncClient(
            base_url=f"{base}/control/v1",
            headers={"Authorization": f"Bearer {key}"},
            # A silent server is heard of when its time is over: 300 s at most, and what is beside.
            timeout=httpx.Timeout(_BESIDE_S, read=300 + _BESIDE_S, connect=5.0),
            trust_env=False,
        )

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Let connections go."""
        await self._http.aclose()

    async def ask(
        self, method: str, path: str, body: Mapping[str, object] | None = None
    ) -> dict[str, Any]:
        """One request with one answer.

        Raises:
            ControlError: it is a problem, or nobody answers.
        """
        try:
            answer = await self._http.request(method, path, json=body)
        except httpx.HTTPError as error:
            raise _nobody(error) from error
        if answer.status_code != httpx.codes.OK:
            raise _problem(answer)
        found = answer.json()
        return dict(found)

    async def lines(self, path: str, body: Mapping[str, object]) -> AsyncIterator[dict[str, Any]]:
        """One request whose answer comes in lines; what is left before its end ends the work.

        Raises:
            ControlError: it is a problem, one that comes as a line too, or nobody answers.
        """
        try:
            async with self._http.stream("POST", path, json=body) as answer:
                if answer.status_code != httpx.codes.OK:
                    await answer.aread()
                    raise _problem(answer)
                async for line in answer.aiter_lines():
                    row = dict(json.loads(line))
                    if "problem" in row:
                        wrong = row["problem"]
                        raise ControlError(200, str(wrong["detail"]), str(wrong["fix"]))
                    yield row
        except httpx.HTTPError as error:
            raise _nobody(error) from error


def _problem(answer: httpx.Response) -> ControlError:
    try:
        body = answer.json()
    except ValueError:
        body = {}
    detail = str(body.get("detail") or f"the gateway answered {answer.status_code}")
    return ControlError(answer.status_code, detail, str(body.get("fix", "")))


def _nobody(error: httpx.HTTPError) -> ControlError:
    said = f"the gateway's control API does not answer ({type(error).__name__})"
    return ControlError(0, said, "is the gateway running? aurelian doctor says")
