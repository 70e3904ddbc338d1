"""Values as a person would write them on one line of a plant file; called by `yaml_edit.py` and
`plant_edit.py`. Pure."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from aurelian.model.yaml_text import means_text

_PLAIN = re.compile(r"[A-Za-z_/][\w./+-]*(?: [\w./+-]+)*", re.ASCII)
_VARIABLE_NAME = re.compile(r"\w+", re.ASCII)


@dataclass(frozen=True, slots=True)
class Variable:
    """`${name:-default}`, to be filled from the environment each time that the file is read."""

    name: str
    default: str | None = None

    def __post_init__(self) -> None:
        if not _VARIABLE_NAME.fullmatch(self.name):
            raise ValueError(f"{self.name!r} is no name of an environment variable")
        if self.default is not None and re.search(r'[}"\\\n\r$]', self.default):
            raise ValueError(f'{self.default!r} cannot be a default: it has one of }} " \\ $')

    def __str__(self) -> str:
        return f"${{{self.name}}}" if self.default is None else f"${{{self.name}:-{self.default}}}"


def flow_text(value: object) -> str:
    """A value on one line: `{name: force, range: [0, 100]}`."""
    match value:
        case Mapping():
            items = (f"{key_text(key)}: {flow_text(each)}" for key, each in value.items())
            return "{" + ", ".join(items) + "}"
        case list() | tuple():
            return "[" + ", ".join(map(flow_text, value)) + "]"
        case bool():
            return "true" if value else "false"
        case int():
            return str(int(value))
        case float():
            return str(int(value)) if value.is_integer() and abs(value) < 1e15 else repr(value)
        case None:
            return "null"
        case Variable():
            return f'"{value}"'
        case _:
            return text_scalar(str(value))


def key_text(key: object) -> str:
    """A name in a mapping; a machine's own value may be one."""
    if isinstance(key, int) and not isinstance(key, bool):
        return str(key)
    return text_scalar(str(key))


def text_scalar(text: str) -> str:
    """A text without quotes where nobody can take it for anything else."""
    plain = _PLAIN.fullmatch(text) and means_text(text)
    return text if plain else quoted_text(text)


def quoted_text(text: str) -> str:
    """A text in double quotes. `${` would be filled from the environment."""
    return '"' + "".join(map(_escaped, text)).replace("${", "\\x24{") + '"'


def _escaped(char: str) -> str:
    if char in '"\\':
        return "\\" + char
    if char.isprintable():
        return char
    number = ord(char)
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
