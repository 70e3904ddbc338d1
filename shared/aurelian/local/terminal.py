"""Words for people on standard error, and the end with a reason; called by `cli.py` and
`launcher.py`."""

import errno
import re
import shlex
import shutil
import sys
from pathlib import Path
from typing import Any, NoReturn

from rich.console import Console
from rich.markup import escape

_COMMAND = re.compile(
    r"(?<![\w/.\\-])aurelian (?=(?:browse|check|command|connect|db|doctor|down|import|keys|plant"
    r"|rejected|replay|reset|tail|topics|trust|up)\b)"
)


class Words(Console):
    """Prints commands of ours as they can be run from here."""

    def print(self, *objects: Any, **how: Any) -> None:
        """As `Console.print`."""
        super().print(*(runnable(e) if isinstance(e, str) else e for e in objects), **how)


def runnable(text: str) -> str:
    """A text whose commands `aurelian …` begin as this one was begun: `.venv/bin/aurelian` where
    `aurelian` alone is not found, or is another one."""
    return _COMMAND.sub(lambda _: f"{_program()} ", text)


def _program() -> str:
    begun = Path(sys.argv[0])
    if begun.name != "aurelian" or not begun.is_file():
        return "aurelian"  # as a module, or by a program
    found = shutil.which("aurelian")
    if found is not None and Path(found).samefile(begun):
        return "aurelian"
    begun = begun.absolute()
    here = Path.cwd()
    return shlex.quote(str(begun.relative_to(here) if begun.is_relative_to(here) else begun))


# Without emoji: of a fingerprint `:AB:` would be one.
terminal = Words(stderr=True, highlight=False, soft_wrap=True, emoji=False)
"""Standard error; without colour where it is no terminal, or NO_COLOR is set."""

answer = Words(highlight=False, soft_wrap=True, emoji=False)
"""Standard output: what a command was asked for."""


def give_up(reason: str, fix: str, code: int = 1) -> NoReturn:
    """Say what is in the way and what to do next; end with exit code `code`: 1, or 2 for wrong
    usage."""
    terminal.print(f"[red]✖[/] {escape(reason)}\n    next: {escape(fix)}")
    sys.exit(code)


def os_reason(error: OSError) -> str:
    """Return what an error of the operating system means, with the file."""
    where = f" ({error.filename})" if error.filename else ""
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return f"the disk is full{where}"
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return f"no permission to write{where}"
        case _:
            return f"{error.strerror or error}{where}"


def os_fix(error: OSError) -> str:
    """Return the next step after an error of the operating system."""
    match error.errno:
        case errno.ENOSPC | errno.EDQUOT:
            return "free some disk, or set AURELIAN_HOME to a folder on a larger one"
        case errno.EACCES | errno.EPERM | errno.EROFS:
            return "set AURELIAN_HOME to a folder of your own"
        case _:
            return "aurelian doctor"
