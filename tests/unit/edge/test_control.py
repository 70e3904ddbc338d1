"""The control API over a connector that does what a test says: bounds, what is kept and for how
long, files that change meanwhile, and that a gateway does without it."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import socket
import stat
from collections.abc import AsyncIterator, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from aurelian.edge.control import serve
from aurelian.edge.control.client import ControlClient, ControlError
from aurelian.edge.control.connector import (
    Choice,
    FoundSource,
    Look,
    NotPossible,
    Planned,
    Row,
)
from aurelian.edge.control.key import KeyFileError, read_or_make_key
from aurelian.edge.control.looks import KeptLook, Looks, Passwords
from aurelian.edge.gateway import GatewaySettings
from aurelian.edge.ladder import Rung, Step, Verdict
from aurelian.edge.trust_store import TrustStore
from aurelian.model.plant import Plant
from aurelian.model.plant_file import load_plants
from aurelian.model.source_model import SourceModel
from aurelian.runtime.health import Health
from tests.waiting import until

PLACE = {"company": "acme", "site": "works", "time_zone": "UTC"}
SIGNAL = {"name": "v", "address": "ns=1;s=v"}


class Scripted:
    """Climbs until it is let go; finds one source with one signal; breaks where `broken` says."""

    kinds = frozenset({"opcua"})

    def __init__(self) -> None:
        self.go, self.began, self.ended = asyncio.Event(), 0, 0
        self.broken = ""

    async def climb(self, model: SourceModel) -> AsyncIterator[Step]:
        self.began += 1
        try:
            yield Step(Rung.DNS, Verdict.PASSED, "known")
            if self.broken:
                raise RuntimeError(self.broken)
            await self.go.wait()
        finally:
            self.ended += 1

    async def look(
        self,
        model: SourceModel,
        known: Sequence[SourceModel],
        choose: Sequence[str],
        leave_out: Sequence[str],
        seconds: float,
    ) -> AsyncIterator[Look]:
        look = Look("looking")
        yield look
        fields = model.model_dump(mode="json", exclude_unset=True)
        odd = [float("nan"), b"\x00\xff", "\ud800", {1: float("inf")}]
        rows = [Row("1", "v", "u", "v", value=odd)]
        look.sources = [FoundSource(fields, "a server", rows)]
        yield look

    def plan(self, look: Look, choice: Choice) -> list[Planned]:
        fields = look.sources[0].fields
        unit = {"name": "u", "source": fields["id"], "signals": [SIGNAL]}
        return [Planned(fields, [(choice.area, choice.line, unit)])]

    async def dry_run(
        self, plant: Plant, model: SourceModel, seconds: float
    ) -> AsyncIterator[Mapping[str, object]]:
        yield {"seconds": seconds}

    def certificates(self) -> Sequence[Mapping[str, object]]:
        return []

    def trust(self, sha256: str) -> str:
        raise NotPossible("there is none", "climb the ladder")


def settings_in(folder: Path, **more: Any) -> GatewaySettings:
    return GatewaySettings(state=folder / "state", plant=folder / "plant", **more)


@contextlib.asynccontextmanager
async def serving(
    settings: GatewaySettings, connector: Scripted, health: Health
) -> AsyncIterator[asyncio.Task[None]]:
    """The API, tried at least."""

    def plants() -> Sequence[Plant]:
        return load_plants(settings.plant) if any(settings.plant.glob("*.yaml")) else []

    task = asyncio.create_task(serve.keep_serving(settings, health, connector, plants))
    try:
        await until(lambda: health.control is not None, "a word of the API", 20)
        yield task
    finally:
        task.cancel()
        await asyncio.wait({task})


@contextlib.asynccontextmanager
async def running(folder: Path, connector: Scripted, **more: Any) -> AsyncIterator[ControlClient]:
    (folder / "plant").mkdir(exist_ok=True)
    health = Health("gateway")
    health.sources = list
    async with serving(settings_in(folder, **more), connector, health):
        assert health.control and health.control["refused"] is None
        key = (folder / "state" / "control.key").read_text().strip()
        async with ControlClient(str(health.control["url"]), key) as client:
            yield client


def source(port: int = 1, **more: object) -> dict[str, object]:
    return {"id": "s", "kind": "opcua", "url": f"opc.tcp://127.0.0.1:{port}", **more}


async def refusal(asked: Any) -> ControlError:
    with pytest.raises(ControlError) as error:
        await asked
    assert str(error.value) and error.value.fix
    return error.value


async def all_of(lines: AsyncIterator[dict[str, Any]]) -> list[dict[str, Any]]:
    return [row async for row in lines]


async def test_one_at_a_time_for_an_address_and_four_in_all(tmp_path: Path) -> None:
    connector = Scripted()
    async with running(tmp_path, connector) as client:
        climbs = [client.lines("/ladder", {"source": source(n)}) for n in range(1, 5)]
        for each in climbs:
            assert "step" in await anext(each)
        same = await refusal(all_of(client.lines("/ladder", {"source": source(1)})))
        fifth = await refusal(all_of(client.lines("/looks", {"source": source(5)})))
        assert (same.status, fifth.status) == (429, 429)
        assert "127.0.0.1:1" in str(same) and "4" in str(fifth)

        # Who leaves makes room, and what he asked for ends.
        await climbs[0].aclose()  # type: ignore[attr-defined]
        await until(lambda: connector.ended == 1, "the end of what nobody waits for", 2)
        *_, found = await all_of(client.lines("/looks", {"source": source(5)}))
        assert found["look"]
        connector.go.set()
        for each in climbs[1:]:
            assert (await all_of(each))[-1] == {"end": "climbed"}
        await all_of(client.lines("/ladder", {"source": source(1)}))


async def test_bodies_are_bounded_and_problems_quote_nothing(tmp_path: Path) -> None:
    async with running(tmp_path, Scripted()) as client:
        large = await refusal(client.ask("POST", "/looks", {"source": {"id": "x" * 1_000_001}}))
        assert large.status == 413
        word = "sesame-4711"
        for path, body in (
            ("/looks", {"source": source(), "seconds": 301}),
            ("/looks", {"source": source(), "seconds": 0}),
            ("/looks", {"source": source(), "seconds": word}),
            ("/looks", {"source": source(kind="mqtt", password=word)}),
            ("/looks", {"source": source(password=[word])}),
            ("/looks", {"source": source(password=word)}),  # and no user
            ("/looks", {"source": source(user="u", password=word, passwort=word)}),
            ("/ladder", {"source": source(), "key": "a/b/c"}),
            ("/ladder", {}),
            ("/dry-run", {"key": "a/b/c", "seconds": 301}),
            ("/trust", {"sha256": "ab" * 31}),
            ("/trust", {"sha256": "ab" * 32 + "\n"}),
            ("/trust", {"sha256": "ab" * 32}),
        ):
            problem = await refusal(client.ask("POST", path, body))
            assert problem.status == 422, (path, body)
            assert word not in f"{problem} {problem.fix}", str(problem)
        for data in (b"", b"{", b"[" * 500_000, b"\xff", b"null"):
            answer = await client._http.post("/looks", content=data)
            assert answer.status_code == 422 and answer.json()["fix"]
        for path in ("/ladder", "/dry-run"):
            unknown = await refusal(client.ask("POST", path, {"key": "a/b/c"}))
            assert unknown.status == 404
        assert not list((tmp_path / "state" / "held").glob("*"))


async def test_a_look_is_kept_with_its_password_for_a_while(tmp_path: Path) -> None:
    held = Passwords(tmp_path / "held")
    looks = Looks(kept_s=0.2, most=2)
    kept = [KeptLook(Look(), held.hold(f"word {n}")) for n in range(3)]
    ids = [looks.add(each) for each in kept]
    assert looks.get(ids[0]) is None and looks.get(ids[2]) is kept[2]
    files = [each.password.file for each in kept if each.password is not None]
    assert [each.exists() for each in files] == [False, True, True]
    assert stat.S_IMODE(files[1].stat().st_mode) == 0o600
    await until(lambda: looks.get(ids[2]) is None, "its time", 2)
    assert not any(each.exists() for each in files)


async def test_the_newest_looks_are_kept(tmp_path: Path) -> None:
    async with running(tmp_path, Scripted()) as client:
        ids = []
        for _ in range(17):
            *_, row = await all_of(client.lines("/looks", {"source": source()}))
            ids.append(row["look"])
        assert (await refusal(client.ask("POST", f"/looks/{ids[0]}/plan", PLACE))).status == 404
        assert (await client.ask("POST", f"/looks/{ids[1]}/plan", PLACE))["keys"]
        named = {"kind": "opcua", "url": "127.0.0.1:1", "id": "", "user": ""}
        *_, other = await all_of(client.lines("/looks", {"source": named}))
        fields = other["sources"][0]["fields"]
        assert fields == {"id": "127.0.0.1", "kind": "opcua", "url": "opc.tcp://127.0.0.1:1"}
        (row,) = row["sources"][0]["rows"]
        assert row["value"] == ["nan", "00ff", "?", {"1": "inf"}]


async def test_a_file_that_changed_meanwhile_is_not_overwritten(tmp_path: Path) -> None:
    async with running(tmp_path, Scripted()) as client:
        file, secret = tmp_path / "plant" / "works.yaml", tmp_path / "state" / "secrets"
        body = {"source": source(user="u", password="sesame-4711")}
        *_, row = await all_of(client.lines("/looks", body))
        here = f"/looks/{row['look']}"
        plan = await client.ask("POST", f"{here}/plan", PLACE)
        assert plan["before"] == "" and not secret.exists()

        # Another one writes a file of that site, and then changes it.
        *_, other = await all_of(client.lines("/looks", {"source": {**source(2), "id": "t"}}))
        there = f"/looks/{other['look']}/write"
        assert (await client.ask("POST", there, {**PLACE, "before": ""}))["written"]
        conflict = await refusal(client.ask("POST", f"{here}/write", {**PLACE, "before": ""}))
        assert conflict.status == 409
        plan = await client.ask("POST", f"{here}/plan", PLACE)
        assert len(plan["before"]) == 64
        text = file.read_text() + "# by hand\n"
        file.write_text(text)
        late = {**PLACE, "before": plan["before"]}
        assert (await refusal(client.ask("POST", f"{here}/write", late))).status == 409
        assert file.read_text() == text and not secret.exists()

        plan = await client.ask("POST", f"{here}/plan", PLACE)
        done = await client.ask("POST", f"{here}/write", {**PLACE, "before": plan["before"]})
        assert done["written"] and "# by hand\n" in file.read_text()
        assert (secret / "acme~works~s").read_text() == "sesame-4711"
        # Both machines call themselves `u`.
        assert [each.model.name for each in load_plants(file.parent)[0].units()] == ["u", "u-2"]


async def test_what_the_gateway_could_not_use_is_not_written(tmp_path: Path) -> None:
    """Other folders count too; the last one is written to."""
    folders = [tmp_path / "pilot", tmp_path / "own"]
    for each in folders:
        each.mkdir()
    setting = Path(":".join(map(str, folders)))
    connector, health = Scripted(), Health("gateway")
    settings = GatewaySettings(state=tmp_path / "state", plant=setting)
    async with serving(settings, connector, health):
        assert health.control
        key = (tmp_path / "state" / "control.key").read_text().strip()
        async with ControlClient(str(health.control["url"]), key) as client:
            *_, row = await all_of(client.lines("/looks", {"source": source()}))
            here = f"/looks/{row['look']}"
            plan = await client.ask("POST", f"{here}/plan", PLACE)
            assert plan["file"] == str(folders[1] / "works.yaml")
            (folders[0] / "works.yaml").write_text(plan["after"])
            twice = await refusal(client.ask("POST", f"{here}/write", {**PLACE, "before": ""}))
            assert twice.status == 422 and "more than one place" in str(twice)
            for change in ({"site": None}, {"time_zone": "Mars"}, {"site": "../up"}):
                wrong = await refusal(client.ask("POST", f"{here}/plan", {**PLACE, **change}))
                assert wrong.status == 422
            assert not list(folders[1].iterdir()) and not (tmp_path / "up.yaml").exists()


async def test_a_plan_for_one_company_names_no_file_of_another(tmp_path: Path) -> None:
    async with running(tmp_path, Scripted()) as client:
        *_, row = await all_of(client.lines("/looks", {"source": source()}))
        here = f"/looks/{row['look']}"
        plan = await client.ask("POST", f"{here}/plan", PLACE)
        folder = Path(plan["file"]).parent
        folder.mkdir(exist_ok=True)
        bolt = folder / "bolt.yaml"
        bolt.write_text("sources: [")
        unusable = await refusal(client.ask("POST", f"{here}/plan", PLACE))
        assert "a plant file of this gateway cannot be used" in str(unusable)
        assert "bolt" not in str(unusable)
        assert "bolt.yaml:1" in str(await refusal(client.ask("POST", f"{here}/plan", {})))
        twice = plan["after"].replace("acme", "bolt").replace("works", "far")
        bolt.write_text(twice.replace("name: hall", "name: hall\n    id: same"))
        other = plan["after"].replace("id: s\n", "id: t\n").replace("source: s\n", "source: t\n")
        folder.joinpath("works.yaml").write_text(
            other.replace("name: hall", "name: hall\n    id: same")
        )
        shared = await refusal(client.ask("POST", f"{here}/plan", PLACE | {"line": "new"}))
        assert "an id of it stands in another plant file" in str(shared), str(shared)
        assert "bolt" not in str(shared)


async def test_a_certificate_that_was_compared_is_kept_for_a_plant_file(tmp_path: Path) -> None:
    store = TrustStore(tmp_path / "pki")
    own = store.own("urn:test", ["broker"], datetime.now(UTC))
    pem = x509.load_der_x509_certificate(own.der).public_bytes(Encoding.PEM).decode()
    kept = tmp_path / "state" / "secrets" / "certificates" / f"{own.sha256.lower()}.pem"
    async with running(tmp_path, Scripted()) as client:
        body = {"sha256": own.sha256, "pem": pem, "id": "broker"}
        answer = await client.ask("POST", "/trust", body)
        assert answer["file"] == str(kept) and "Aurelian" in answer["trusted"]
        assert kept.read_text() == pem
        for change in ({"sha256": "ab" * 32}, {"pem": pem[:-100]}, {"pem": own.key.decode()}):
            wrong = await refusal(client.ask("POST", "/trust", {**body, **change}))
            assert wrong.status == 422 and "PRIVATE" not in str(wrong)
        assert list(kept.parent.iterdir()) == [kept]


async def test_what_breaks_is_said_and_ends_nothing_else(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    connector = Scripted()
    async with running(tmp_path, connector) as client:
        connector.broken = "a fault of ours"
        broken = await refusal(all_of(client.lines("/ladder", {"source": source()})))
        assert broken.status == 200 and "a fault of ours" in caplog.text
        assert "a fault of ours" not in str(broken)
        assert await client.ask("GET", "/sources") == {"sources": [], "plant": {}}


async def test_its_end_ends_requests_and_leaves_no_password(tmp_path: Path) -> None:
    connector, loop = Scripted(), asyncio.get_running_loop()
    async with running(tmp_path, connector) as client:
        body = {"source": source(user="u", password="sesame-4711")}
        await all_of(client.lines("/looks", body))
        climbing = client.lines("/ladder", {"source": source(2, user="u", password="other")})
        await anext(climbing)
        assert len(list((tmp_path / "state" / "held").iterdir())) == 2
        began = loop.time()
    assert loop.time() - began < 3 and connector.ended == 1
    assert not (tmp_path / "state" / "held").exists()
    with contextlib.suppress(ControlError):
        await all_of(climbing)


async def test_a_gateway_does_without_where_it_cannot_be_served(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(serve, "AGAIN_S", 0.05)
    health = Health("gateway")
    with socket.create_server(("127.0.0.1", 0)) as holder:
        port = holder.getsockname()[1]
        async with serving(settings_in(tmp_path, api_port=port), Scripted(), health) as task:
            refused = str((health.control or {})["refused"])
            assert f"AURELIAN_API_PORT {port}" in refused and refused in caplog_fields(caplog)
            await asyncio.sleep(0.3)
            assert not task.done() and caplog_fields(caplog).count(refused) == 1
            holder.close()
            await until(lambda: bool((health.control or {})["url"]), "the port", 5)
    assert (health.control or {})["url"] is None

    remote = Health("gateway")
    async with serving(settings_in(tmp_path, api_host="0.0.0.0"), Scripted(), remote):
        assert "loopback only" in str((remote.control or {})["refused"])
    allowed = Health("gateway")
    settings = settings_in(tmp_path, api_host="0.0.0.0", control_allow_remote=True)
    async with serving(settings, Scripted(), allowed), httpx.AsyncClient() as stranger:
        url = str((allowed.control or {})["url"])
        assert (await stranger.get(f"{url}/sources")).status_code == 401


def caplog_fields(caplog: pytest.LogCaptureFixture) -> list[str]:
    fields: Iterable[Mapping[str, object]] = (
        getattr(each, "fields", {}) for each in caplog.records if each.levelno == logging.ERROR
    )
    return [str(each.get("reason")) for each in fields]


def test_the_key_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "keys" / "control.key"
    with ThreadPoolExecutor(8) as pool:
        keys = set(pool.map(read_or_make_key, [path] * 16))
    assert len(keys) == 1 and stat.S_IMODE(path.stat().st_mode) == 0o600
    assert [each.name for each in path.parent.iterdir()] == ["control.key"]
    path.chmod(0o644)
    assert read_or_make_key(path) in keys and stat.S_IMODE(path.stat().st_mode) == 0o600
    path.write_text("short-word")
    with pytest.raises(KeyFileError) as error:
        read_or_make_key(path)
    assert "delete it" in str(error.value) and "short-word" not in str(error.value)
    (tmp_path / "file").write_text("")
    with pytest.raises(KeyFileError, match="AURELIAN_CONTROL_KEY_FILE"):
        read_or_make_key(tmp_path / "file" / "control.key")


async def test_who_asks_for_a_company_hears_of_no_other(tmp_path: Path) -> None:
    heard: list[list[str]] = []

    class Listening(Scripted):
        async def look(
            self, model: SourceModel, known: Sequence[SourceModel], *rest: Any
        ) -> AsyncIterator[Look]:
            heard.append([each.key for each in known])
            async for each in super().look(model, known, *rest):
                yield each

    async with running(tmp_path, Listening()) as client:
        *_, row = await all_of(client.lines("/looks", {"source": source()}))
        places = [("rival", "secret"), ("acme", "north"), ("acme", "south")]
        for company, site in places:
            place = {"company": company, "site": site, "time_zone": "UTC", "before": ""}
            assert (await client.ask("POST", f"/looks/{row['look']}/write", place))["written"]
        body = {"source": {"kind": "opcua", "url": "s:1"}, "company": "other"}
        *_, theirs = await all_of(client.lines("/looks", body))
        # Not `s-2`: that another company has an `s` would show in it.
        assert theirs["sources"][0]["fields"]["id"] == "s"
        *_, ours = await all_of(client.lines("/looks", {**body, "company": "acme"}))
        assert ours["sources"][0]["fields"]["id"] == "s-2"
        assert heard[1:] == [[], ["acme/north/s", "acme/south/s"]]
        several = await refusal(
            client.ask("POST", f"/looks/{ours['look']}/plan", {"company": "acme"})
        )
        assert "acme/north, acme/south" in str(several) and "rival" not in str(several)
