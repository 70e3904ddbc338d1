"""Commands that should not be: of the far future, a memory that is damaged, a file that is none."""

from __future__ import annotations

import asyncio
import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from aurelian.backbone.topics import COMMANDS
from aurelian.edge.control.command_memory import MOST_IDS, CommandMemory
from aurelian.edge.control.command_work import CommandWork, Outcome
from aurelian.edge.control.commands import Commands
from aurelian.model.record import Record
from aurelian.model.time import SECOND_US
from aurelian.runtime.settings import KafkaSettings

NOW = 1_790_000_000_000_000


def command(id: str, at: int) -> Record:
    value = {"id": id, "command": "none", "arguments": {}, "at": at, "expires_at": at + 10**8}
    return Record(COMMANDS.name, 0, 0, 0, b"g", json.dumps(value).encode())


async def test_many_commands_of_the_future_do_not_keep_later_ones_from_being_done(
    tmp_path: Path,
) -> None:
    answers: list[Any] = []

    async def append(entries: list[Any]) -> None:
        answers.extend(entries)

    outbox: Any = SimpleNamespace(append=append, outbox=SimpleNamespace(boot=1))
    work = CommandWork(tmp_path, list, None)
    path = tmp_path / "commands.json"
    # The memory as it is after so many that its oldest has to go.
    ids = {f"old-{n}": 2**61 + n for n in range(MOST_IDS)}
    path.write_text(json.dumps({"ids": ids, "unanswered": {}, "forgotten_to": 2**61}))
    for _ in range(2):
        commands = Commands(KafkaSettings(), "g", outbox, work, path, clock=lambda: NOW)
        commands._memory.read(NOW, NOW + 300 * SECOND_US)
        for n in range(3):
            await commands._take(command(f"future-{len(answers)}-{n}", 2**61 + 10**6 * n))
        assert not commands._memory.knows("new", NOW + 301 * SECOND_US)
        assert json.loads(path.read_text())["forgotten_to"] <= NOW + 300 * SECOND_US
    assert len(answers) == 6


@pytest.mark.parametrize(
    "kept",
    [
        b"[" * 200_000, b"\xff", b"[]",
        b'{"ids": {"a": 1e999}, "unanswered": {}, "forgotten_to": 0}',
        b'{"ids": {}, "unanswered": {}, "forgotten_to": 1e999}',
    ],
)  # fmt: skip
def test_a_damaged_memory_counts_as_if_all_before_were_done(tmp_path: Path, kept: bytes) -> None:
    path = tmp_path / "commands.json"
    path.write_bytes(kept)
    memory = CommandMemory(path)
    memory.read(NOW, NOW + 300 * SECOND_US)
    assert memory.knows("x", NOW) and not memory.knows("x", NOW + 301 * SECOND_US)
    memory.begin("x", NOW + 1, "o", "s")
    assert memory.knows("x", NOW + 1)


async def test_a_pipe_in_place_of_a_plant_file_is_refused_and_not_waited_for(
    tmp_path: Path,
) -> None:
    os.mkfifo(tmp_path / "a.yaml")
    (tmp_path / "b.yaml").mkdir()
    work = CommandWork(tmp_path, list, None)
    for file in ("a.yaml", "b.yaml"):
        async with asyncio.timeout(5):
            answer = await work.execute("apply", {"file": file, "text": "x: 1", "before": ""})
        assert answer.outcome is Outcome.REFUSED and "is no file" in answer.said
