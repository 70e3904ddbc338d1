"""A broker, a historian and a database for the imports of one file of tests."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from aurelian.backbone.topics import create_topics
from aurelian.db.logs import declare_log
from tests import servers
from tests.integration.historian.historian_process import HistorianProcess, running_historian


@dataclass(frozen=True)
class ImportStack:
    """What imports go to."""

    bootstrap: str
    database_url: str
    historian: HistorianProcess

    def start(
        self, folder: Path, file: Path, unit: str, *options: str, **settings: object
    ) -> subprocess.Popen[bytes]:
        """Start an import with the state folder `folder`/state and the plant `folder`/plant."""
        env = {
            **os.environ,
            "AURELIAN_OUTBOX_MIN_FREE": "0",
            "AURELIAN_STATE": str(folder / "state"),
            **{f"AURELIAN_{key.upper()}": str(value) for key, value in settings.items()},
        }
        given = ["--plant", str(folder / "plant"), "--url", self.database_url, "--as", unit]
        given += ["--json", *([] if "--bootstrap" in options else ["--bootstrap", self.bootstrap])]
        given += options
        return subprocess.Popen(
            [sys.executable, "-m", "importer", str(file), *given],
            env=env,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )

    def run(
        self, folder: Path, file: Path, unit: str, *options: str, **settings: object
    ) -> tuple[int, list[dict[str, Any]], str]:
        """Import a file; return the exit code, the objects of standard output, and the words."""
        process = self.start(folder, file, unit, *options, **settings)
        out, err = process.communicate(timeout=120)
        said = [json.loads(line) for line in out.decode().splitlines()]
        return process.returncode, said, err.decode()


@pytest.fixture(scope="module")
def stack(
    next_database: Callable[[], str], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ImportStack]:
    """One for the module; tests take units of their own."""
    url = next_database()
    declare_log(url, "log-1")
    folder = tmp_path_factory.mktemp("historian")
    with servers.kafka_broker() as broker:
        asyncio.run(create_topics(broker.bootstrap))
        with running_historian(broker.bootstrap, url, folder) as historian:
            yield ImportStack(broker.bootstrap, url, historian)
