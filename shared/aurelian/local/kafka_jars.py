"""Apache Kafka's jars, and with artemis.py those of the MQTT broker: fetched once into a cache
folder, verified before each start; called by the stack, the tests and `deploy/make_jar_locks.py`.

`kafka-jars.sha256` names every jar of one Kafka release with its SHA-256, by Maven coordinates and
without any download host. The `jgo` wheel fetches; it only warns about a wrong checksum and skips a
missing one, so nothing that it brings is used before it matches our list, and a jar in the folder
that is not listed is refused.
"""

import hashlib
import importlib.resources
import logging
import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from jgo.maven import Artifact, MavenContext

_LOCK = "kafka-jars.sha256"
_FETCH_LIMIT_S = 3600.0
_AT_ONCE = 8
"""Downloads side by side: most jars are small, so the waiting is for answers and not for bytes."""
MIRROR_SETTING = "AURELIAN_MAVEN_URL"


class KafkaJarsError(Exception):
    """The jars cannot be had, or are not those that were locked; the message says what to do."""


@dataclass(frozen=True)
class Jar:
    """One line of the lock.

    Attributes:
        sha256: 64 hexadecimal digits.
        coordinates: `group:artifact:version` as Maven names it.
    """

    sha256: str
    coordinates: str

    @cached_property
    def file_name(self) -> str:
        """Name of the file, as Maven makes it."""
        _, artifact, version = self.coordinates.split(":")
        return f"{artifact}-{version}.jar"


def default_cache() -> Path:
    """Return AURELIAN_CACHE; else /var/cache/aurelian for root, $XDG_CACHE_HOME/aurelian or
    ~/.cache/aurelian for others. All stacks, checkouts and tests of a user share it."""
    named = os.environ.get("AURELIAN_CACHE")
    if named:
        return Path(named).expanduser().absolute()
    if os.geteuid() == 0:
        return Path("/var/cache/aurelian")
    cache = os.environ.get("XDG_CACHE_HOME")
    return (Path(cache) if cache else Path.home() / ".cache") / "aurelian"


def read_lock(name: str = _LOCK) -> tuple[Jar, ...]:
    """Return the jars of the release that this version runs, in the order of the class path."""
    text = (importlib.resources.files(__package__) / name).read_text(encoding="utf-8")
    lines = (line.split() for line in text.splitlines() if line and not line.startswith("#"))
    return tuple(Jar(sha256, coordinates) for sha256, coordinates in lines)


def lock_digest() -> str:
    """Return a short name of the set of jars: the first 12 hexadecimal digits of its SHA-256."""
    return hashlib.sha256(repr(read_lock()).encode()).hexdigest()[:12]


def ensure_jars(cache: Path, tell: Callable[[str], None] = lambda sentence: None) -> Path:
    """Return the folder with exactly the locked jars, fetching what is missing. Blocks; idempotent.

    Takes about 0.1 s where they are there (each is read and hashed), else seconds to minutes.
    Several processes may call it at once.

    Raises:
        KafkaJarsError: a jar differs from the lock, is not listed, or cannot be fetched.
        OSError: the cache folder cannot be written.
    """
    folder = jar_folder(cache)
    folder.mkdir(parents=True, exist_ok=True, mode=0o755)
    missing = missing_jars(cache)
    if missing:
        tell(f"fetching Apache Kafka, once: {len(missing)} files, about 45 MB in all")
        fetch(missing, folder)
    return folder


def jar_folder(cache: Path) -> Path:
    """Return the folder of the locked jars, each release in one of its own."""
    return cache / f"kafka-{lock_digest()}"


def missing_jars(cache: Path) -> list[Jar]:
    """Verify what is there and return what is not. Blocks (about 0.1 s); changes nothing.

    Raises:
        KafkaJarsError: a jar differs from the lock or is not listed.
    """
    folder, jars = jar_folder(cache), read_lock()
    refuse_unlisted(folder, jars)
    return [jar for jar in jars if not is_there(folder / jar.file_name, jar)]


def class_path(folder: Path) -> str:
    """Return Java's class path of the locked jars in `folder`: by name, never by wildcard."""
    return os.pathsep.join(str(folder / jar.file_name) for jar in read_lock())


def sha256_of(path: Path) -> str:
    """Return the SHA-256 of a file, in hexadecimal."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()


@contextmanager
def maven(folder: Path) -> Iterator["MavenContext"]:
    """Open Maven's repositories, with `folder` for what is downloaded: the mirror that
    AURELIAN_MAVEN_URL names, else jgo's own choice; the user's own Maven folder is only read.

    Raises:
        KafkaJarsError: jgo is not installed.
    """
    try:
        from jgo.maven import MavenContext, PythonResolver
    except ImportError:
        raise KafkaJarsError(
            "the package 'jgo' (it fetches Apache Kafka) is not installed: run 'make run', or "
            "pip install '.[local]'"
        ) from None
    mirror = os.environ.get(MIRROR_SETTING)
    logger = logging.getLogger("jgo")
    level = logger.level
    logger.setLevel(logging.CRITICAL)  # our own list decides, and our own sentence is said
    try:
        yield MavenContext(
            resolver=PythonResolver(),
            repo_cache=folder,
            local_repos=[Path.home() / ".m2" / "repository"],
            remote_repos={"mirror": mirror} if mirror else None,
            timeout=60,
        )
    finally:
        logger.setLevel(level)


def refuse_unlisted(folder: Path, jars: Iterable[Jar]) -> None:
    """Refuse a folder with jars that nobody listed.

    Raises:
        KafkaJarsError: there is one.
    """
    listed = {jar.file_name for jar in jars}
    unlisted = sorted(p.name for p in folder.glob("*.jar") if p.name not in listed)
    if unlisted:
        raise KafkaJarsError(
            f"{', '.join(unlisted)} in {folder} is not in the list of its files: "
            "remove it, it is not part of this version"
        )


def is_there(path: Path, jar: Jar) -> bool:
    """Tell whether a jar is there; one with another content is refused, never replaced in silence:
    either the disk is failing or somebody put it there."""
    if not path.exists():
        return False
    if not path.is_file():
        raise KafkaJarsError(f"{path} is not a file: remove it, it is fetched again")
    found = sha256_of(path)
    if found != jar.sha256:
        raise KafkaJarsError(
            f"{path} is not the file that was locked (SHA-256 {found[:12]}…, expected "
            f"{jar.sha256[:12]}…): delete it if you know why, it is fetched again"
        )
    return True


def fetch(missing: list[Jar], folder: Path) -> None:
    """Bring jars into a folder, each verified.

    Raises:
        KafkaJarsError: one differs from the lock, or cannot be had.
    """
    _remove_unfinished(folder)
    unfinished = Path(tempfile.mkdtemp(prefix=".fetching-", dir=folder))
    try:
        with maven(unfinished) as context, ThreadPoolExecutor(_AT_ONCE) as pool:
            fetched = list(pool.map(lambda jar: _fetch_one(context, jar), missing))
        for jar, path in zip(missing, fetched, strict=True):
            if (found := sha256_of(path)) != jar.sha256:
                raise KafkaJarsError(
                    f"the {jar.file_name} that was fetched is not the one that was locked (SHA-256 "
                    f"{found[:12]}…, expected {jar.sha256[:12]}…); it was not installed"
                )
            copied = unfinished / jar.file_name
            shutil.copyfile(path, copied)
            copied.chmod(0o644)
            copied.replace(folder / jar.file_name)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _remove_unfinished(folder: Path) -> None:
    """Remove what downloads that were killed have left; one that runs is never an hour old."""
    for old in folder.glob(".fetching-*"):
        with suppress(OSError):  # another process removes it too
            if time.time() - old.stat().st_mtime > _FETCH_LIMIT_S:
                shutil.rmtree(old, ignore_errors=True)


def _fetch_one(context: "MavenContext", jar: Jar) -> Path:
    import requests

    group, name, version = jar.coordinates.split(":")
    artifact: Artifact = context.project(group, name).at_version(version).artifact()
    local = context.local_repos[0] / artifact.component.path_prefix / artifact.filename
    if local.exists() and sha256_of(local) == jar.sha256:
        return Path(local)
    try:
        found: Path | None = context.resolver.download(artifact)
    except (requests.RequestException, RuntimeError, OSError) as error:
        raise KafkaJarsError(
            f"{jar.file_name} is not in the cache and cannot be fetched "
            f"({type(error).__name__}): connect to the network once, or set {MIRROR_SETTING} to a "
            "Maven mirror, or copy the cache folder of a machine that has it (AURELIAN_CACHE)"
        ) from error
    if found is None:
        raise KafkaJarsError(f"{jar.file_name} is in no Maven repository")
    return found
