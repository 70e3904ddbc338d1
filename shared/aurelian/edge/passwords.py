"""The password that a plant file names for a source, from its file or environment variable. Used by
the gateways, anew at each connection: it may have been changed since."""

from __future__ import annotations

import os
from pathlib import Path

from aurelian.edge.names import readable
from aurelian.model.source_model import SourceModel


class PasswordError(Exception):
    """It cannot be had; the text says why and what to do.

    Attributes:
        step: what to do about it.
    """

    def __init__(self, text: str, step: str = "") -> None:
        super().__init__(text)
        self.step = step


def read_password(model: SourceModel) -> tuple[str, str]:
    """The password of a source and where it comes from, for people; both empty where it names none.

    Raises:
        PasswordError: the file or variable is not there, or is no text.
    """
    if model.password_file:
        file = Path(model.password_file)
        return _read(file), f"the file {readable(str(file.absolute()))}"
    if not model.password_env:
        return "", ""
    password = os.environ.get(model.password_env)
    if password is None:
        step = "set it where the gateway is started, and start the gateway anew"
        raise PasswordError(
            f"cannot sign in: the environment variable {model.password_env}, which the plant file "
            f"names for the password, is not set: {step}",
            step,
        )
    return password, f"the environment variable {model.password_env}"


def missing(file: str, field: str, error: OSError) -> PasswordError:
    """What to say of a file that a `field` of the plant file names and that cannot be read."""
    step = "put the file there and let the gateway's user read it; it is looked at again by itself"
    why = error.strerror or str(error)
    return PasswordError(
        f"cannot sign in: {readable(file)}: {why}; the plant file names it in `{field}`: {step}",
        step,
    )


def _read(file: Path) -> str:
    """The text of a password file without the end of its line; a byte order mark is no part of
    it."""
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except OSError as error:
        raise missing(str(file), "password_file", error) from error
    except UnicodeDecodeError as error:
        raise PasswordError(
            f"cannot sign in: {file}, the `password_file`, is not UTF-8: save it as UTF-8"
        ) from error
    return text.rstrip("\r\n")
