"""Words for people on standard error, and the end with a reason; called by `cli.py` and
`launcher.py`."""

import errno
import sys
from typing import NoReturn

from rich.console import Console
from rich.markup import escape

terminal = Console(stderr=True, highlight=False, soft_wrap=True)
"""Standard error; without colour where it is no terminal, or NO_COLOR is set."""

answer = Console(highlight=False, soft_wrap=True)
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
