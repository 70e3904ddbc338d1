"""Make `.venv` with everything pinned; run by the Makefile with whatever python3 is there, before
anything is installed.

Usage: python3 deploy/setup.py [--dev]

Plain standard library and syntax that old Pythons can read, so that they can say what is wrong.
Idempotent: a stamp in `.venv` holds the hash of what it was made from; when that is the same,
nothing is done.
"""

import hashlib
import os
import re
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
OLDEST_PYTHON = (3, 11)
VERSION = f"{sys.version_info[0]}.{sys.version_info[1]}"
NEEDED_MB = 1050
RUNTIME_LOCK = ROOT / "requirements.lock"
DEV_LOCK = ROOT / "requirements-dev.lock"


class SetupError(Exception):
    """Setting up is not possible; the text says what is missing and how to get it."""


def main() -> int:
    """Set up; return the exit code."""
    dev = sys.argv[1:] == ["--dev"]
    if sys.argv[1:] and not dev:
        print(__doc__, file=sys.stderr)
        return 2
    if sys.version_info < OLDEST_PYTHON:
        return run_with_newer_python()
    try:
        set_up(dev)
    except SetupError as error:
        print(f"cannot set up: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; run it again to go on", file=sys.stderr)
        return 130
    return 0


def set_up(dev: bool) -> None:
    """Bring `.venv` to what the lock says, and the package itself into it."""
    lock = DEV_LOCK if dev else RUNTIME_LOCK
    wanted = fingerprint(lock)
    if read_stamp(lock) == wanted and python_works():
        return
    began = time.monotonic()
    check_machine()
    if not python_works():
        say(f"making the virtual environment .venv with Python {VERSION}")
        make_environment()
    install(lock)
    run_pip(["install", "--no-build-isolation", "--no-deps", "--quiet", "--editable", str(ROOT)])
    stamp(lock).write_text(wanted)
    if dev:  # holds all that the running system needs, too
        stamp(RUNTIME_LOCK).write_text(fingerprint(RUNTIME_LOCK))
    say(f"set up in {time.monotonic() - began:.0f} s")


def run_with_newer_python() -> int:
    """Go on with a newer Python from the search path, or say that there is none."""
    for minor in range(20, OLDEST_PYTHON[1] - 1, -1):
        newer = shutil.which(f"python3.{minor}")
        if newer and subprocess.call([newer, "-c", ""], stderr=subprocess.DEVNULL) == 0:
            os.execv(newer, [newer, *sys.argv])
    print(
        f"cannot set up: Python 3.11 or newer is needed and this is {VERSION}: install one (on "
        "Debian and Ubuntu: "
        "apt-get install python3.11 python3.11-venv), or name it: make PYTHON=/path/to/python3.11 "
        "run",
        file=sys.stderr,
    )
    return 1


def fingerprint(lock: Path) -> str:
    """Hash of all that decides what is in `.venv`: the lock, the project file, the packages of the
    tree, Python."""
    if not lock.exists():
        raise SetupError(f"{lock} is missing from the checkout: git checkout -- {lock.name}")
    digest = hashlib.sha256()
    for part in (lock.read_bytes(), (ROOT / "pyproject.toml").read_bytes()):
        digest.update(part)
    packages = sorted(
        p.parent.name
        for folder in ("shared", "services")
        for p in (ROOT / folder).glob("*/__init__.py")
    )
    digest.update(repr((packages, str(ROOT), sys.version_info[:2])).encode())
    return digest.hexdigest()


def stamp(lock: Path) -> Path:
    """Return the file that says what `.venv` was made from."""
    return VENV / f".made-from-{lock.name}"


def read_stamp(lock: Path) -> str:
    """Return what `.venv` was made from; empty where it was not made to its end."""
    return stamp(lock).read_text() if stamp(lock).exists() else ""


def python_works() -> bool:
    """Tell whether `.venv` has a Python of this version that starts, with pip."""
    python = VENV / "bin" / "python"
    if not python.exists():
        return False
    test = f"import sys, pip; sys.exit(sys.version_info[:2] != {tuple(sys.version_info[:2])!r})"
    return subprocess.call([str(python), "-c", test], stderr=subprocess.DEVNULL) == 0


def check_machine() -> None:
    """Check what can be checked before anything is downloaded."""
    try:
        import ensurepip  # noqa: F401
        import venv  # noqa: F401
    except ImportError:
        raise SetupError(
            f"this Python has no venv module ({sys.executable}): apt-get install "
            f"python{VERSION}-venv, "
            "or use another Python: make PYTHON=/path/to/python3 run"
        ) from None
    free_mb = shutil.disk_usage(str(ROOT)).free // 1_000_000
    if free_mb < NEEDED_MB and not VENV.exists():
        raise SetupError(
            f"{free_mb} MB are free on the disk of {ROOT}, {NEEDED_MB} MB are needed: free some"
        )
    if not os.access(str(ROOT), os.W_OK):
        raise SetupError(f"no permission to write in {ROOT}: clone it to a folder of your own")


def make_environment() -> None:
    """Make an empty virtual environment, in place of a broken one."""
    made = subprocess.run(
        [sys.executable, "-m", "venv", "--clear", str(VENV)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    if made.returncode != 0:
        raise SetupError(
            f"python -m venv failed: {made.stdout.decode('utf-8', 'replace').strip()[-400:]}"
        )


def install(lock: Path) -> None:
    """Install what the lock says, each package with its hash, with a progress display."""
    total = len(re.findall(r"^[A-Za-z0-9]", lock.read_text(), re.MULTILINE))
    say(f"installing up to {total} packages from {lock.name}")
    command = [
        "install",
        "--require-hashes",
        "--no-deps",
        "--progress-bar",
        "off",
        "--retries",
        "2",
    ]
    run_pip([*command, "--requirement", str(lock)], total)


def run_pip(arguments: "list[str]", total: int = 0) -> None:
    """Run pip in `.venv`; explain its failure in one sentence."""
    command = [str(VENV / "bin" / "python"), "-m", "pip", "--disable-pip-version-check", *arguments]
    pip = subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
    )
    assert pip.stdout is not None
    output, seen = [], 0
    for line in pip.stdout:
        output.append(line)
        found = re.match(r"(?:Collecting|Requirement already satisfied:) ([A-Za-z0-9._-]+)", line)
        if found:
            seen += 1
            show_progress(seen, total, found.group(1))
        elif line.startswith("Installing collected"):
            show_progress(seen, total, "unpacking all")
    pip.stdout.close()
    code = pip.wait()
    show_progress(0, 0, "")
    if code != 0:
        raise SetupError(explain("".join(output)))


def explain(output: str) -> str:
    """Turn pip's output into one sentence with the fix."""
    if "No space left on device" in output or "Disk quota exceeded" in output:
        return f"the disk of {ROOT} is full: free about {NEEDED_MB} MB and run it again"
    if "DO NOT MATCH THE HASHES" in output:
        return (
            "a package is not the one that was locked (its hash differs); it was not "
            f"installed:\n{output[output.index('ERROR: THESE') :][:1500]}"
        )
    network = (
        "NewConnectionError",
        "Temporary failure in name resolution",
        "Network is unreachable",
        "ConnectTimeout",
    )
    if any(sign in output for sign in (*network, "ProxyError", "SSLError", "ReadTimeoutError")):
        return (
            "the package index does not answer: check the network (and the settings "
            "PIP_INDEX_URL, HTTPS_PROXY), "
            "then run it again; what was loaded is kept"
        )
    if "No matching distribution" in output:
        missing = re.findall(r"No matching distribution found for (\S+)", output)
        return (
            f"the package index has no {', '.join(missing)} for Python {VERSION} on this kind of "
            "machine; "
            "use another Python (make PYTHON=/path/to/python3.12 run)"
        )
    return f"pip failed:\n{output[-2000:]}"


def show_progress(seen: int, total: int, name: str) -> None:
    """Draw a bar on a terminal; elsewhere say nothing."""
    if not sys.stderr.isatty() or (not total and name):
        return
    if not name:
        sys.stderr.write("\r\033[K")
    else:
        done = min(30, 30 * seen // total)
        sys.stderr.write(f"\r\033[K  [{'#' * done}{'.' * (30 - done)}] {seen}/{total} {name[:30]}")
    sys.stderr.flush()


def say(sentence: str) -> None:
    """Tell people what goes on."""
    print(sentence, file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
