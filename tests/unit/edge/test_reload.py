"""A plant that changes while its gateway runs: what goes on, what begins anew, what is refused and
what is taken back."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
from collections.abc import AsyncIterator, Container, Sequence
from pathlib import Path
from typing import Any

import pytest
import yaml

from aurelian.edge.asset_records import PlantAssets
from aurelian.edge.forward import Source
from aurelian.edge.reload.reload import Reload
from aurelian.edge.reload.running_sources import RunningSources
from aurelian.edge.source_state import Condition, SourceState, SourceStates
from aurelian.model.plant import Plant
from aurelian.model.plant_file import PlantError
from aurelian.model.source_model import SourceModel
from tests.waiting import until


class Machine:
    """A source that is connected unless its address is one of `away`."""

    away: set[str]

    def __init__(self, log: list[str], model: SourceModel, owner: str, away: set[str]) -> None:
        self.model, self.owner, self._log, self.away = model, owner, log, away
        self.is_connected = False

    def condition(self) -> Condition:
        if self.is_connected:
            return Condition(SourceState.LIVE)
        state = SourceState.CONNECTING
        if self.model.url.endswith(":1"):
            state = SourceState.AUTH_FAILED
        return Condition(state, cause="nobody there")

    async def run(self) -> None:
        self._log.append(f"start {self.model.id} {self.model.url}")
        try:
            await asyncio.sleep(0)
            self.is_connected = self.model.url not in self.away
            await asyncio.Event().wait()
        finally:
            self._log.append(f"stop {self.model.id}")

    async def retire(self, *, is_replaced: bool) -> None:
        self._log.append(f"retire {self.model.id} {self.model.url} {is_replaced}")


class Gateway:
    """What `run_gateway` puts together, without outbox and Kafka."""

    def __init__(self, folder: Path, state: Path, trial_s: float = 0.5) -> None:
        self.log: list[str] = []
        self.away = {"opc.tcp://away:4840", "opc.tcp://refuses:1"}
        self.reload = Reload(folder, state / "plant.json", self._make, trial_s)

    def _make(self, plants: Sequence[Plant], wanted: Container[str]) -> list[Source]:
        made: list[Any] = []
        for plant in plants:
            for model in plant.sources:
                if model.kind == "opcua" and model.key in wanted:
                    if model.url.endswith("unmakable"):
                        raise PlantError(f"source {model.key!r}: cannot be made")
                    made.append(Machine(self.log, model, plant.owner, self.away))
        return made

    @contextlib.asynccontextmanager
    async def running(self) -> AsyncIterator[Gateway]:
        await self.reload.begin()
        async with asyncio.TaskGroup() as group:
            self.sources = RunningSources(group, lambda source: source.run())  # type: ignore[attr-defined]
            self.states = SourceStates(self.sources, self.reload.notice, self.reload.refusal)
            self.assets = PlantAssets(self.sources, self.reload.plants)
            self.reload.changed = self.assets.use
            self.reload.start(self.sources)
            list(self.assets)
            follow = group.create_task(self.reload.follow(self.sources))
            await until(lambda: self.connected or not self.urls, "sources")
            yield self
            follow.cancel()
            await self.sources.stop([each.model.key for each in self.sources])

    @property
    def connected(self) -> bool:
        return all(each.is_connected or each.model.url in self.away for each in self.sources)  # type: ignore[attr-defined]

    @property
    def urls(self) -> dict[str, str]:
        return {each.model.id: each.model.url for each in self.sources}

    def state_of(self, source: str) -> Condition:
        self.states.look()
        return self.states._known[f"acme/works/{source}"][0]


def plant(
    sources: dict[str, str], *, unit: str = "", kinds: dict[str, str] | None = None, **more: Any
) -> dict[str, Any]:
    """A plant with one unit for each source."""
    units = [
        {
            "name": f"m-{id}",
            "source": id,
            "signals": [{"name": "v", "address": "ns=1;i=1", "unit": unit}],
        }
        for id in sources
    ]
    return {
        "company": {"id": "acme", "name": "Acme"},
        "site": "works",
        "time_zone": "UTC",
        "sources": [
            {"id": id, "kind": (kinds or {}).get(id, "opcua"), "url": url}
            for id, url in sources.items()
        ],
        "areas": [
            {
                "name": "hall",
                "lines": [
                    {"name": "l", "products": [{"id": "p", "ideal_cycle_s": 1}], "units": units}
                ],
            }
        ],
        **more,
    }


def write(folder: Path, content: object, name: str = "site.yaml") -> None:
    folder.mkdir(exist_ok=True)
    new = folder / f"{name}.new"
    new.write_text(content if isinstance(content, str) else yaml.safe_dump(content))
    new.replace(folder / name)


A, B, C = "opc.tcp://a:4840", "opc.tcp://b:4840", "opc.tcp://c:4840"


async def test_a_change_touches_only_the_source_that_it_changes(tmp_path: Path) -> None:
    write(tmp_path / "p", plant({"a": A, "b": B, "c": C}))
    async with Gateway(tmp_path / "p", tmp_path).running() as gateway:
        gateway.log.clear()
        write(tmp_path / "p", plant({"a": A, "b": "opc.tcp://other:4840", "d": C}))
        await until(lambda: "d" in gateway.urls and gateway.connected, "the change")
        assert gateway.urls == {"a": A, "b": "opc.tcp://other:4840", "d": C}
        await until(
            lambda: {f"retire b {B} True", f"retire c {C} False"} <= set(gateway.log),
            "the farewells",
        )
        # a goes on; b has another address, and ends what it had at the one before.
        assert sorted(gateway.log) == [
            f"retire b {B} True", f"retire c {C} False", "start b opc.tcp://other:4840", "start d opc.tcp://c:4840",
            "stop b", "stop c",
        ]  # fmt: skip


async def test_titles_calendars_and_products_restart_nothing(tmp_path: Path) -> None:
    write(tmp_path / "p", plant({"a": A}))
    async with Gateway(tmp_path / "p", tmp_path).running() as gateway:
        gateway.log.clear()
        more: dict[str, Any] = {"title": "Our works", "calendar": {"shifts": [
            {"name": "day", "start": "06:00", "end": "14:00"}]}}  # fmt: skip
        write(tmp_path / "p", plant({"a": A}, **more))
        # Readers of the assets are told all the same.
        told: list[str] = []

        def is_told() -> bool:
            told.extend(each.level for each in gateway.assets.changed())
            return bool(told)

        await until(is_told, "the assets")
        assert sorted(told) == ["line", "site"]
        assert gateway.log == []


@pytest.mark.parametrize(
    ("content", "said"),
    [
        ("sources: [", "site.yaml:"),
        (plant({"a": A, "b": "http://b"}), "site.yaml:31: sources.1.url"),
        (plant({"a": "opc.tcp://x:1/unmakable"}), "cannot be made"),
        ("", "empty"),
    ],
)
async def test_what_cannot_be_used_is_refused_and_the_old_one_stays_also_over_a_restart(
    tmp_path: Path, content: object, said: str
) -> None:
    write(tmp_path / "p", plant({"a": A, "b": B}))
    async with Gateway(tmp_path / "p", tmp_path).running() as gateway:
        gateway.log.clear()
        write(tmp_path / "p", content)
        await until(lambda: gateway.reload.shown()["refused"] is not None, "the refusal")
        assert said in str(gateway.reload.shown()["refused"])
        assert gateway.log == [] and gateway.urls == {"a": A, "b": B}
    async with Gateway(tmp_path / "p", tmp_path).running() as gateway:
        assert gateway.urls == {"a": A, "b": B}
        assert said in str(gateway.reload.shown()["refused"])
        write(tmp_path / "p", plant({"a": A}))
        await until(lambda: gateway.urls == {"a": A}, "the corrected file")
        assert gateway.reload.shown()["refused"] is None


async def test_a_refusal_is_told_at_each_source_and_names_no_other_companys_file(
    tmp_path: Path,
) -> None:
    def told() -> dict[str, str]:
        gateway.states.look()
        events = gateway.states.take_events("g", 1, anew=True)
        return {each.source: each.connection.plant_refused for each in events}

    mine, theirs = plant({"a": A}), plant({"b": B}, site="s", company={"id": "bolt", "name": "B"})
    write(tmp_path / "p", mine, "mine.yaml")
    async with Gateway(tmp_path / "p", tmp_path).running() as gateway:
        assert told() == {"acme/works/a": ""}
        write(tmp_path / "p", "sources: [", "new.yaml")
        await until(lambda: gateway.reload.shown()["refused"] is not None, "the refusal")
        assert "new.yaml:1" in told()["acme/works/a"]
        write(tmp_path / "p", theirs, "new.yaml")
        await until(lambda: "b" in gateway.urls, "the other company")
        assert set(told().values()) == {""}
        write(tmp_path / "p", "sources: [", "mine.yaml")
        await until(lambda: gateway.reload.shown()["refused"] is not None, "the refusal")
        said = told()
        assert "mine.yaml:1" in said["acme/works/a"]
        assert said["bolt/s/b"].startswith("One that is not of your machines")
        (tmp_path / "p" / "mine.yaml").unlink()
        (tmp_path / "p" / "new.yaml").unlink()
        await until(lambda: "no plant-model" in str(gateway.reload.shown()["refused"]), "none")
        assert all(each.startswith("One that is not") for each in told().values())


async def test_all_files_gone_is_a_mistake_and_an_empty_folder_at_first_is_waited_for(
    tmp_path: Path,
) -> None:
    (tmp_path / "p").mkdir()
    async with Gateway(tmp_path / "p", tmp_path).running() as gateway:
        assert "no plant-model file" in str(gateway.reload.waits_for)
        write(tmp_path / "p", plant({"a": A}))
        await until(lambda: gateway.urls == {"a": A}, "the first file")
        assert gateway.reload.waits_for is None
        (tmp_path / "p" / "site.yaml").unlink()
        await until(lambda: gateway.reload.shown()["refused"] is not None, "the refusal")
        assert gateway.urls == {"a": A}
    with pytest.raises(PlantError):
        await Reload(tmp_path / "nowhere", tmp_path / "other.json", lambda p, w: [], 1).begin()


@pytest.mark.parametrize("bad", ["opc.tcp://away:4840", "opc.tcp://refuses:1"])
async def test_a_change_that_does_not_connect_is_taken_back_and_stays_so_until_it_is_another(
    tmp_path: Path, bad: str
) -> None:
    write(tmp_path / "p", plant({"a": A, "b": B}, unit="kN"))
    async with Gateway(tmp_path / "p", tmp_path).running() as gateway:
        write(tmp_path / "p", plant({"a": A, "b": bad}, unit="N"))
        await until(lambda: f"start b {bad}" in gateway.log, "the change")
        await until(lambda: gateway.urls["b"] == B and gateway.connected, "the way back")
        found = gateway.state_of("b")
        assert found.state is SourceState.DEGRADED
        assert "taken back" in found.cause and "nobody there" in found.cause
        assert gateway.state_of("a").state is SourceState.LIVE
        # What its values mean is said as it was before, of the other as it is now.
        units = {
            each.name: each.meaning["signals"][0]["unit"]
            for each in gateway.assets
            if each.level == "unit"
        }
        assert units == {"m-a": "N", "m-b": "kN"}
        # Another source's change does not try it again.
        gateway.log.clear()
        write(tmp_path / "p", plant({"a": A, "b": bad, "c": C}, unit="N"))
        await until(lambda: "c" in gateway.urls and gateway.connected, "another source")
        assert gateway.log == [f"start c {C}"]
    async with Gateway(tmp_path / "p", tmp_path).running() as gateway:
        assert gateway.urls == {"a": A, "b": B, "c": C}
        assert gateway.state_of("b").state is SourceState.DEGRADED
        write(tmp_path / "p", plant({"a": A, "b": "opc.tcp://good:4840", "c": C}, unit="N"))
        await until(lambda: gateway.urls["b"] == "opc.tcp://good:4840", "the correction")
        await until(lambda: gateway.state_of("b").state is SourceState.LIVE, "live")
        await until(lambda: gateway.reload.shown()["taken_back"] == {}, "forgotten")


async def test_an_address_that_is_corrected_keeps_what_is_left_there(tmp_path: Path) -> None:
    """Nor does one that is corrected to a third address leave anything at the first."""
    away = "opc.tcp://away:4840"
    write(tmp_path / "p", plant({"a": A, "b": B}))
    async with Gateway(tmp_path / "p", tmp_path, trial_s=30).running() as gateway:
        for id, good in (("a", A), ("b", C)):
            write(tmp_path / "p", plant({"a": A, "b": B} | {id: away}))
            await until(lambda id=id: gateway.urls[id] == away, "the mistake")  # type: ignore[misc]
            write(tmp_path / "p", plant({"a": A, "b": B} | {id: good}))
            await until(lambda id=id, good=good: gateway.urls[id] == good, "the correction")  # type: ignore[misc]
            await until(lambda: gateway.connected and not gateway.reload._trying, "the end of it")
        await until(lambda: f"retire b {B} True" in gateway.log, "what is left at the first")
        assert not any(each.startswith("retire a " + A) for each in gateway.log)


async def test_a_change_that_was_good_is_not_taken_back_by_a_restart_while_the_server_is_away(
    tmp_path: Path,
) -> None:
    write(tmp_path / "p", plant({"a": A}))
    async with Gateway(tmp_path / "p", tmp_path).running() as gateway:
        write(tmp_path / "p", plant({"a": B}))
        await until(lambda: gateway.urls["a"] == B and gateway.connected, "the change")
        await until(
            lambda: json.loads((tmp_path / "plant.json").read_text())["before"] == {}, "kept"
        )
    again = Gateway(tmp_path / "p", tmp_path, trial_s=0.1)
    again.away.add(B)
    async with again.running() as gateway:
        await asyncio.sleep(0.5)
        assert gateway.urls == {"a": B}


async def test_a_source_that_was_not_connected_is_changed_without_a_way_back(
    tmp_path: Path,
) -> None:
    write(tmp_path / "p", plant({"a": "opc.tcp://away:4840"}))
    async with Gateway(tmp_path / "p", tmp_path, trial_s=0.1).running() as gateway:
        gateway.away.add("opc.tcp://away:4841")
        write(tmp_path / "p", plant({"a": "opc.tcp://away:4841"}))
        await until(lambda: gateway.urls["a"] == "opc.tcp://away:4841", "the change")
        await asyncio.sleep(0.5)
        assert gateway.urls["a"] == "opc.tcp://away:4841"


async def test_a_source_that_becomes_another_gateways_leaves_this_one(tmp_path: Path) -> None:
    write(tmp_path / "p", plant({"a": A, "b": B}))
    async with Gateway(tmp_path / "p", tmp_path).running() as gateway:
        changed = plant({"a": A, "b": "mqtt://b"}, kinds={"b": "sparkplug"})
        write(tmp_path / "p", changed)
        await until(lambda: gateway.urls == {"a": A}, "the change")
        await until(lambda: f"retire b {B} False" in gateway.log, "its farewell")


async def test_assets_that_went_are_told_once_and_over_a_restart(tmp_path: Path) -> None:
    write(tmp_path / "p", plant({"a": A, "b": B}))
    async with Gateway(tmp_path / "p", tmp_path).running() as gateway:
        unit = {each.name: each.id for each in gateway.assets}["m-b"]
        write(tmp_path / "p", plant({"a": A}))
        await until(lambda: gateway.urls == {"a": A}, "the change")
        assert set(gateway.reload.gone_now()) == {unit}
    async with Gateway(tmp_path / "p", tmp_path).running() as gateway:
        assert set(gateway.reload.gone_now()) == {unit}
        gateway.reload.forget_gone([unit])
        await until(lambda: json.loads((tmp_path / "plant.json").read_text())["gone"] == [], "kept")
    # What changed while no gateway ran is told too.
    write(tmp_path / "p", plant({"b": B}))
    async with Gateway(tmp_path / "p", tmp_path).running() as gateway:
        gone = {each.id for each in gateway.reload.plants[0].assets()}
        assert unit in gone and len(set(gateway.reload.gone_now())) == 1


async def test_assets_that_went_beside_a_change_that_is_taken_back_are_told_too(
    tmp_path: Path,
) -> None:
    """Not those that the source has again, nor what they stand in; theirs when they go at last."""
    bad = "opc.tcp://away:4840"
    moved = json.loads(json.dumps(plant({"b": bad})).replace("m-b", "new").replace("hall", "yard"))
    write(tmp_path / "p", plant({"a": A, "b": B}))
    async with Gateway(tmp_path / "p", tmp_path).running() as gateway:
        ids = {each.name: each.id for each in gateway.assets}
        write(tmp_path / "p", plant({"a": A, "b": bad}))
        await until(lambda: gateway.urls["b"] == bad, "the change")
        write(tmp_path / "p", moved)
        await until(lambda: "a" not in gateway.urls, "another change in its trial")
        await until(lambda: gateway.urls == {"b": B} and gateway.connected, "the way back")
        assert set(gateway.reload.gone_now()) == {ids["m-a"]}
        gateway.reload.forget_gone(gateway.reload.gone_now())
    async with Gateway(tmp_path / "p", tmp_path).running() as gateway:
        assert gateway.urls == {"b": B}
        assert set(gateway.reload.gone_now()) <= {ids["m-a"]}
        gateway.reload.forget_gone(gateway.reload.gone_now())
        write(tmp_path / "p", json.loads(json.dumps(moved).replace(bad, C)))
        await until(lambda: gateway.urls == {"b": C} and gateway.connected, "the correction")
        assert set(gateway.reload.gone_now()) == {ids[each] for each in ("hall", "l", "m-b")}


async def test_a_removed_source_leaves_the_states_and_says_so_once_to_each_log(
    tmp_path: Path,
) -> None:
    write(tmp_path / "p", plant({"a": A, "b": B}))
    async with Gateway(tmp_path / "p", tmp_path).running() as gateway:
        gateway.states.look()
        write(tmp_path / "p", plant({"a": A}))
        await until(lambda: gateway.urls == {"a": A}, "the change")
        gateway.states.look()

        def removed(*, anew: bool) -> list[str]:
            events = gateway.states.take_events("g", 1, anew=anew)
            return [each.source for each in events if each.connection.state == 8]

        assert removed(anew=False) == ["acme/works/b"]
        assert removed(anew=False) == []
        assert removed(anew=True) == ["acme/works/b"]
        assert [each["source"] for each in gateway.states.shown()] == ["acme/works/a"]


async def test_the_kept_plant_has_no_secret_of_the_environment_and_is_ours_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PLC_HOST", "hidden-host")
    write(tmp_path / "p", plant({"a": "opc.tcp://${PLC_HOST}:4840"}))
    async with Gateway(tmp_path / "p", tmp_path).running() as gateway:
        assert gateway.urls == {"a": "opc.tcp://hidden-host:4840"}
    kept = tmp_path / "plant.json"
    assert "hidden-host" not in kept.read_text() and "${PLC_HOST}" in kept.read_text()
    assert kept.stat().st_mode & 0o077 == 0


@pytest.mark.parametrize("damage", ["", "{", '{"version": 1}', '{"version": 99}', "[1]"])
async def test_a_damaged_kept_plant_is_written_anew(tmp_path: Path, damage: str) -> None:
    write(tmp_path / "p", plant({"a": A}))
    (tmp_path / "plant.json").write_text(damage)
    async with Gateway(tmp_path / "p", tmp_path).running() as gateway:
        assert gateway.urls == {"a": A}
    assert json.loads((tmp_path / "plant.json").read_text())["version"] == 1


async def test_a_file_whose_name_is_not_utf_8_is_refused_by_its_name(tmp_path: Path) -> None:
    write(tmp_path / "p", plant({"a": A}))
    odd = tmp_path / "p" / "\udcff.yaml"
    async with Gateway(tmp_path / "p", tmp_path).running() as gateway:
        odd.write_text(yaml.safe_dump({**plant({"b": B}), "site": "two"}))
        await until(lambda: gateway.reload.shown()["refused"] is not None, "the refusal")
        assert "�.yaml: the name of this file is not UTF-8" in str(gateway.reload.shown())
        assert [str(path) for path in gateway.reload._files] == [str(tmp_path / "p" / "site.yaml")]
    async with Gateway(tmp_path / "p", tmp_path).running() as gateway:
        assert gateway.urls == {"a": A}
        odd.unlink()
        await until(lambda: gateway.reload.shown()["refused"] is None, "the file renamed")


async def test_a_change_that_keeps_time_and_size_of_the_file_is_seen(tmp_path: Path) -> None:
    write(tmp_path / "p", plant({"a": A, "b": B}))
    async with Gateway(tmp_path / "p", tmp_path).running() as gateway:
        file = tmp_path / "p" / "site.yaml"
        before = file.stat()
        text = file.read_text().replace(B, "opc.tcp://x:4840")
        with file.open("r+") as stream:
            stream.write(text)
        os.utime(file, ns=(before.st_atime_ns, before.st_mtime_ns))
        assert file.stat().st_ino == before.st_ino and file.stat().st_size == before.st_size
        await until(lambda: gateway.urls == {"a": A, "b": "opc.tcp://x:4840"}, "the change")


@pytest.mark.parametrize("kept", [b"[" * 200_000, b"\xff\x00", b"", b'{"version": 1}'])
async def test_a_kept_plant_that_cannot_be_read_does_not_keep_a_gateway_from_starting(
    tmp_path: Path, kept: bytes
) -> None:
    write(tmp_path / "p", plant({"a": A}))
    (tmp_path / "plant.json").write_bytes(kept)
    async with Gateway(tmp_path / "p", tmp_path).running() as gateway:
        assert gateway.urls == {"a": A}
