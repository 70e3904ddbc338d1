"""Bodies of the control API's requests, read with their bounds. Used by `app.py`."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from typing import Annotated, TypeVar
from urllib.parse import urlsplit

from fastapi import Request
from pydantic import BaseModel, ConfigDict, Field, ValidationError, model_validator

from aurelian.edge.control.connector import Choice
from aurelian.edge.control.planning import Place
from aurelian.edge.control.problems import wrong
from aurelian.model.source_model import SourceModel

MOST_BYTES = 1_000_000
MOST_SECONDS = 300.0
_PLACE = ("company", "site", "time_zone", "area", "line")
_MOST_PATTERNS, _MOST_ROWS = 200, 20_000

Text = Annotated[str, Field(max_length=2000)]
Patterns = Annotated[list[Text], Field(max_length=_MOST_PATTERNS)]
Name = Annotated[str, Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]{0,63}$")]

_B = TypeVar("_B", bound=BaseModel)


class _Body(BaseModel):
    model_config = ConfigDict(extra="forbid", hide_input_in_errors=True)


class LadderBody(_Body):
    """Of `POST /ladder`: a source's fields, or the key of one of the plant files."""

    source: dict[str, object] | None = None
    key: Text = ""

    @model_validator(mode="after")
    def _is_one(self) -> LadderBody:
        if (self.source is None) == (not self.key):
            raise ValueError("say `source` or `key`")
        return self


class LookBody(_Body):
    """Of `POST /looks`. `company`: who asks may hear of its sources alone; None: of all."""

    source: dict[str, object]
    company: Name | None = None
    choose: Patterns = []
    leave_out: Patterns = []
    seconds: float = Field(6.0, gt=0, le=MOST_SECONDS)


class PlanBody(_Body):
    """Of `POST /looks/ID/plan`: what is wanted of a look, and where it goes."""

    rows: list[Text] = Field([], max_length=_MOST_ROWS)
    states: dict[Text, dict[Text, Text] | Text] = Field({}, max_length=_MOST_ROWS)
    company: Name | None = None
    site: Name | None = None
    time_zone: Text | None = None
    area: Name = "hall"
    line: Name = "line-1"

    @model_validator(mode="before")
    @classmethod
    def _without_empty(cls, given: object) -> object:
        """What a form leaves empty is not said."""
        if not isinstance(given, dict):
            return given
        return {name: each for name, each in given.items() if each != "" or name not in _PLACE}

    @property
    def choice(self) -> Choice:
        """What is wanted."""
        return Choice(frozenset(self.rows), self.states, self.area, self.line)

    @property
    def place(self) -> Place:
        """Where it goes."""
        return Place(self.company, self.site, self.time_zone, self.area, self.line)


class WriteBody(PlanBody):
    """Of `POST /looks/ID/write`. `before`: as the plan answered it."""

    before: Text


class DryRunBody(PlanBody):
    """Of `POST /dry-run`: a look with a plan of it, or the key of a source of the plant files."""

    look: Text = ""
    key: Text = ""
    seconds: float = Field(60.0, gt=0, le=MOST_SECONDS)

    @model_validator(mode="after")
    def _is_one(self) -> DryRunBody:
        if (not self.look) == (not self.key):
            raise ValueError("say `look` or `key`")
        return self


class TrustBody(_Body):
    """Of `POST /trust`: the whole fingerprint. `pem`: the certificate, where a plant file names its
    file; `id`: of the source that it is for."""

    pem: str = Field("", max_length=65_536)
    id: Text = ""
    sha256: str = Field(pattern=r"^[0-9A-Fa-f]{64}$")


async def read_body(request: Request, kind: type[_B]) -> _B:
    """The body of a request.

    Raises:
        Problem: it is too large, or not such a body; says nothing of what was sent.
    """
    data = bytearray()
    async for chunk in request.stream():
        data += chunk
        if len(data) > MOST_BYTES:
            raise wrong(
                413, f"the body is larger than {MOST_BYTES} bytes", "ask for less at one time"
            )
    try:
        return kind.model_validate_json(bytes(data))
    except ValidationError as error:
        raise wrong(422, _said(error), "correct the request's body") from None


def model_of(fields: Mapping[str, object], password_file: str | None) -> SourceModel:
    """A source of its fields; `password_file`: of the password that came with them.

    Raises:
        Problem: it cannot be one; says nothing of the password.
    """
    given = {name: value for name, value in fields.items() if name != "password"}
    if password_file is not None:
        given.pop("password_env", None)
        given["password_file"] = password_file
    try:
        return SourceModel.model_validate(given)
    except ValidationError as error:
        raise wrong(422, _said(error, "source"), "correct the fields of the source") from None


def completed(fields: Mapping[str, object], taken: Iterable[str]) -> dict[str, object]:
    """A source's fields with what people leave out: the scheme of its address, and its id, which is
    the host's name then, as nobody of `taken` has it."""
    made = {name: each for name, each in fields.items() if each is not None and each != ""}
    url = made.get("url")
    if not isinstance(url, str):
        return made
    if "://" not in url:
        url = made["url"] = f"{'opc.tcp' if made.get('kind') == 'opcua' else 'mqtt'}://{url}"
    if "id" not in made:
        try:
            host = urlsplit(url).hostname or ""
        except ValueError:  # half an IPv6 address; the model says so
            host = ""
        name = free = re.sub(r"[^A-Za-z0-9_.-]", "-", host).strip("-_.")[:60] or "source"
        known, number = set(taken), 1
        while free in known:
            number += 1
            free = f"{name[:59]}-{number}"
        made["id"] = free
    return made


def password_in(fields: Mapping[str, object]) -> str | None:
    """The password that came with a source's fields; None: none did.

    Raises:
        Problem: it is no text.
    """
    password = fields.get("password")
    if password is None or (password == "" and not fields.get("user")):
        return None
    if isinstance(password, str):
        return password
    raise wrong(422, "source.password: a text is wanted here", "send the password as a text")


def _said(error: ValidationError, of: str = "") -> str:
    said = []
    for each in error.errors(include_input=False, include_url=False):
        place = ".".join(filter(None, (of, *map(str, each["loc"])))) or "body"
        said.append(f"{place}: {each['msg'].removeprefix('Value error, ')}")
    return "; ".join(said[:10])
