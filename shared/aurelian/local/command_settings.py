"""Settings that a command shares with a service. Called by commands that do a gateway's work."""

from __future__ import annotations

from typing import Any, TypeVar

from pydantic import ValidationError

from aurelian.local.terminal import give_up
from aurelian.runtime.settings import CommonSettings, problems_of

S = TypeVar("S", bound=CommonSettings)


def command_settings(of: type[S], **given: Any) -> S:
    """Settings of this environment, with what is `given` in place of its variables; where they
    cannot be used the command ends with a sentence and exit code 2."""
    try:
        return of(**given)
    except ValidationError as error:
        give_up("; ".join(problems_of(error)), "correct it in the environment", code=2)
