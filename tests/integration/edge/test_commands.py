"""Commands for a gateway through a real Kafka: executed once, answered through the outbox, and
nothing that is no command stops the next."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import sys
import time
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import pytest

from aurelian.backbone.client import Producer
from aurelian.backbone.topics import COMMANDS, create_topics
from aurelian.edge.control.command_memory import MOST_IDS, CommandMemory
from aurelian.edge.control.command_work import CommandWork
from aurelian.edge.control.connector import Connector, NotPossible
from aurelian.edge.drain import KAFKA_UP
from aurelian.edge.gateway import GatewaySettings, run_gateway
from aurelian.edge.ladder import Rung, Step, Verdict
from aurelian.model.plant_file import load_plant
from aurelian.model.source_model import SourceModel
from aurelian.model.time import SECOND_US, now_us
from aurelian.runtime.health import Health
from tests import servers
from tests.integration.edge.conftest import PLANT
from tests.integration.edge.test_gateway_forward import running, until
from tests.stand_in_historian import Historian

DONE, REFUSED, FAILED = 1, 2, 3
GOOD = "ab" * 32


@dataclass
class Connects:
    """A connector of which is known what it was asked; the press is away."""

    kinds = frozenset({"opcua"})
    trusted: list[str] = field(default_factory=list)
    climbed: list[str] = field(default_factory=list)

    def trust(self, sha256: str) -> str:
        if sha256 != GOOD:
            raise NotPossible("nobody showed that certificate", "connect first")
        self.trusted.append(sha256)
        return "CN=press"

    async def climb(self, model: SourceModel) -> AsyncIterator[Step]:
        self.climbed.append(model.key)
        yield Step(Rung.DNS, Verdict.PASSED, "127.0.0.1 is an address")
        yield Step(Rung.TCP, Verdict.FAILED, "nothing listens", "switch it on", "E1201")


def command(id: str, name: str, **arguments: object) -> dict[str, object]:
    now = now_us()
    return {
        "id": id,
        "command": name,
        "arguments": arguments,
        "by": "the test",
        "at": now,
        "expires_at": now + 60 * SECOND_US,
    }


@dataclass
class Site:
    """A running gateway's surroundings."""

    settings: GatewaySettings
    connects: Connects
    historian: Historian

    @contextlib.asynccontextmanager
    async def gateway(self) -> AsyncIterator[None]:
        connector: Connector = self.connects  # type: ignore[assignment]
        runs = run_gateway(
            self.settings, Health("opcua_gateway"), lambda *_: [], connector=connector
        )
        async with running(runs), running(self.historian.follow("log-1")):
            yield

    async def send(self, *values: object, key: str = "") -> None:
        async with Producer(self.settings, "test") as producer:
            for each in values:
                data = each if isinstance(each, bytes) else json.dumps(each).encode()
                await producer.send(COMMANDS, key or self.settings.gateway, data)

    def answers(self) -> dict[str, list[tuple[int, str]]]:
        found: dict[str, list[tuple[int, str]]] = {}
        for event in self.historian.events:
            if event.HasField("command_result") and event.gateway == self.settings.gateway:
                result = event.command_result
                assert event.owner == "pilot-x"
                found.setdefault(result.id, []).append((result.outcome, result.said))
        return found

    async def answered(self, *ids: str) -> dict[str, tuple[int, str]]:
        await until(lambda: set(ids) <= self.answers().keys())
        found = self.answers()
        assert all(len({repr(one) for one in each}) == 1 for each in found.values()), found
        return {id: each[0] for id, each in found.items()}


def site_at(bootstrap: str, folder: Path) -> Site:
    plants = folder / "plants"
    plants.mkdir()
    (plants / "north.yaml").write_text(PLANT)
    settings = GatewaySettings(
        gateway=f"commands-{time.time_ns()}",
        kafka_bootstrap=bootstrap,
        kafka_timeout_s=2,
        plant=plants,
        state=folder / "state",
        outbox_min_free=0.0,
    )
    return Site(settings, Connects(), Historian(settings))


@pytest.fixture(scope="module")
def server() -> Iterator[servers.KafkaServer]:
    """One for all tests; the last one kills it and starts it in a thread, with which it ends."""
    with servers.kafka_broker() as started:
        yield started


@pytest.fixture
async def site(server: servers.KafkaServer, tmp_path: Path) -> Site:
    await create_topics(server.bootstrap)
    return site_at(server.bootstrap, tmp_path)


async def test_each_command_is_executed_and_answered_and_what_is_none_stops_nothing(
    site: Site, caplog: pytest.LogCaptureFixture
) -> None:
    expired = command("expired", "trust", sha256=GOOD) | {"expires_at": now_us() - 1}
    old = command("old", "trust", sha256=GOOD) | {"at": now_us() - 601 * SECOND_US}
    early = command("early", "trust", sha256=GOOD) | {"at": now_us() + 601 * SECOND_US}
    poison: list[object] = [
        b"",
        b"not json",
        b"\xff\xfe",
        b"[" * 100_000,
        b"[]",
        b"null",
        command("a" * 101, "trust", sha256=GOOD),
        command("typed", "trust", sha256=GOOD) | {"at": "now"},
        command("typed", "trust", sha256=GOOD) | {"at": True},
        command("typed", "trust", sha256=GOOD) | {"arguments": []},
        json.dumps(command("huge", "trust", sha256=GOOD, more="x" * 1_000_001)).encode(),
    ]
    async with site.gateway():
        await site.send(command("other", "trust", sha256=GOOD), key="opcua-2")
        await site.send(*poison, expired, old, early)
        await site.send(
            command("t1", "trust", sha256=GOOD.upper()),
            command("t2", "trust", sha256="cd" * 32),
            command("t3", "trust", sha256="ab"),
            command("l1", "ladder", key="pilot-x/north/press-opcua"),
            command("l2", "ladder", key="pilot-x/\ud800"),
            command("u", "format-the-disk"),
            command("t1", "trust", sha256=GOOD),
        )
        await site.send(command("last", "trust", sha256=GOOD))
        found = await site.answered("last")
    assert found.keys() == {
        *("expired", "old", "early", "t1", "t2", "t3", "l1", "l2", "u", "last"),
    }
    assert {id for id, (outcome, _) in found.items() if outcome == DONE} == {"t1", "last"}
    assert {id for id, (outcome, _) in found.items() if outcome == FAILED} == {"l1"}
    assert site.connects.trusted == [GOOD, GOOD]
    assert site.connects.climbed == ["pilot-x/north/press-opcua"]
    assert found["t1"][1] == "trusted: CN=press"
    assert "connect first" in found["t2"][1] and "trust, ladder, apply" in found["u"][1]
    assert "nothing listens (E1201); switch it on" in found["l1"][1]
    skipped = [each for each in caplog.records if "no command for us" in each.message]
    assert len(skipped) == len(poison)


async def test_a_gateway_that_takes_no_commands_takes_none(site: Site) -> None:
    closed = Site(site.settings.model_copy(update={"commands": False}), Connects(), site.historian)
    async with closed.gateway():
        await closed.send(command("t1", "trust", sha256=GOOD))
        await until(lambda: KAFKA_UP._value.get() == 1)
        await asyncio.sleep(1.0)
    assert not closed.connects.trusted and not closed.answers()
    async with site.gateway():  # the same record is one for a gateway that does
        await site.answered("t1")


async def test_nothing_is_done_twice_by_a_restart_and_what_it_cut_off_is_said(site: Site) -> None:
    async with site.gateway():
        await site.send(command("t1", "trust", sha256=GOOD))
        await site.answered("t1")
    memory = CommandMemory(site.settings.state / "commands.json")
    memory.read(0)
    assert memory.knows("t1", now_us()) and not memory.unanswered
    memory.begin("cut", now_us(), "pilot-x", "pilot-x")  # as a power cut leaves it
    await site.send(command("t2", "trust", sha256=GOOD), command("cut", "trust", sha256=GOOD))
    async with site.gateway():
        found = await site.answered("t2", "cut")
    assert found["cut"] == (
        FAILED,
        "the gateway ended while it was at it; look whether it was done",
    )
    assert site.connects.trusted == [GOOD, GOOD]  # t1 and t2


async def test_the_command_line_says_what_became_of_a_command(site: Site, tmp_path: Path) -> None:
    changed = tmp_path / "north.yaml"
    changed.write_text(PLANT.replace("[0, 1000]", "[0, 500]"))
    now = site.settings.plant / "north.yaml"

    async def said(*arguments: str) -> tuple[int | None, dict[str, str]]:
        process = await asyncio.create_subprocess_exec(
            *(sys.executable, "-m", "aurelian.cli", "command", site.settings.gateway),
            *(*arguments, "--json", "--bootstrap", site.settings.kafka_bootstrap),
            stdout=asyncio.subprocess.PIPE,
        )
        out, _ = await process.communicate()
        return process.returncode, json.loads(out)

    async with site.gateway():
        code, answer = await said("trust", ":".join(GOOD[n : n + 2] for n in range(0, 64, 2)))
        assert (code, answer["outcome"], answer["said"]) == (0, "done", "trusted: CN=press")
        code, answer = await said("apply", str(changed), "--was", str(now))
        assert (code, answer["outcome"]) == (0, "done")
    assert now.read_text() == changed.read_text()


async def execute(
    folder: Path, text: str, before: str, file: str = "north.yaml"
) -> tuple[str, str]:
    work = CommandWork(folder, lambda: [load_plant(each) for each in folder.glob("*.yaml")], None)
    answer = await work.execute("apply", {"file": file, "text": text, "before": before})
    return answer.outcome.name, answer.said


async def test_a_plant_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    folder = tmp_path / "plant"
    changed = PLANT.replace("[0, 1000]", "[0, 500]")
    digest = hashlib.sha256(PLANT.encode()).hexdigest()
    assert (await execute(folder, PLANT, ""))[0] == "DONE"
    file = folder / "north.yaml"
    assert file.read_text() == PLANT

    refused: list[tuple[str, str, str]] = [
        (changed, "", "north.yaml"),
        (changed, "0" * 64, "north.yaml"),
        (changed, digest, "../north.yaml"),
        (changed, digest, ".north.yaml"),
        (changed, "", "other.yaml"),  # its site stands in north.yaml already
        ("company: [", digest, "north.yaml"),
        ("", digest, "north.yaml"),
        (
            PLANT.replace("kind: opcua,", "kind: opcua, user: x, password: abc,"),
            digest,
            "north.yaml",
        ),
        (
            PLANT.replace("kind: opcua,", "kind: mqtt,").replace(
                "opc.tcp://127.0.0.1:4840", "mqtt://x:abc@127.0.0.1"
            ),
            digest,
            "north.yaml",
        ),
    ]
    for text, before, name in refused:
        outcome, said = await execute(folder, text, before, name)
        assert outcome == "REFUSED" and said and "abc" not in said, (name, said)
        assert file.read_text() == PLANT and [*folder.iterdir()] == [file]

    outcome, said = await execute(folder, changed, digest)
    assert outcome == "DONE" and "north.yaml is written" in said and len(said.splitlines()) > 1
    assert file.read_text() == changed


def test_ids_that_are_forgotten_are_not_executed_either(tmp_path: Path) -> None:
    memory = CommandMemory(tmp_path / "commands.json")
    memory.read(0)
    for n in range(MOST_IDS + 5):
        memory._ids[str(n)] = n + 1
    memory.begin("new", MOST_IDS + 10, "acme", "acme")
    again = CommandMemory(tmp_path / "commands.json")
    again.read(0)
    assert len(again._ids) == MOST_IDS and "0" not in again._ids
    assert all(again.knows(str(n), n + 1) for n in range(MOST_IDS + 5))
    assert not again.knows("later", MOST_IDS + 11)
    assert again.unanswered == {"new": ("acme", "acme")}

    (tmp_path / "commands.json").write_text("{}")
    lost = CommandMemory(tmp_path / "commands.json")
    lost.read(100)
    assert lost.knows("any", 100) and not lost.knows("any", 101)
    lost.begin("next", 101, "", "")  # it is made anew


async def test_a_gateway_takes_commands_again_when_kafka_is_back(
    site: Site, server: servers.KafkaServer
) -> None:
    async with running(
        run_gateway(
            site.settings,
            Health("opcua_gateway"),
            lambda *_: [],
            connector=site.connects,  # type: ignore[arg-type]
        )
    ):
        await asyncio.sleep(0.5)
        await asyncio.to_thread(server.kill)
        await asyncio.to_thread(server.start)
        await create_topics(server.bootstrap)
        async with running(site.historian.follow("log-2")):
            await site.send(command("t1", "trust", sha256=GOOD))
            await site.answered("t1")
