"""The connection ladder, preview, dry run and proposals against a secured server of node-opcua and
one without security: each rung broken on purpose, and the sentence that is said."""

from __future__ import annotations

import asyncio
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
from asyncua import Client, ua

from aurelian.edge.certificates import read_certificates, sha256_of
from aurelian.edge.ladder import Rung, Step, Verdict, whole
from aurelian.edge.proposals.proposal import Proposal
from aurelian.edge.trust_store import TrustStore
from aurelian.model.plant_file import parse_plant
from aurelian.model.plant_parts import Role
from opcua_gateway.browse.discovery import Selection, discover
from opcua_gateway.browse.plant_snippet import write_plant
from opcua_gateway.browse.walk import Bounds as Reach
from opcua_gateway.connect.dry_run import DryRun, dry_run
from opcua_gateway.connect.ladder import Bounds, climb
from opcua_gateway.connect.preview import Previewed, Seen, choose, preview, previewed
from opcua_gateway.connect.proposals import propose_signals
from opcua_gateway.connect.watching import looked_into
from opcua_gateway.security.endpoints import Endpoints
from opcua_gateway.session import Session
from opcua_gateway.source import OpcuaSource
from tests.integration.opcua_gateway.test_node_opcua import make_source
from tests.peers.certificates import Made, make
from tests.peers.node_opcua_server import NodeOpcua, node_opcua
from tests.waiting import until

PASSWORD = "kühl & trocken"
NODES = 4
POLICIES = ("Basic256Sha256", "Aes256_Sha256_RsaPss")
OPERATOR = {"user": "operator", "password_env": "PEER_PASSWORD"}
BEST = {"security": {"policy": "best"}}
NORMAL = {rung: Verdict.PASSED for rung in Rung}
HOUR_MS = 3_600_000


@dataclass
class Servers:
    """Those of this module, with the loop that they run in, and certificates that `secured` and
    `store` trust each other by."""

    run: Callable[..., Any]
    folder: Path
    certificate: Made
    secured: NodeOpcua
    clear: NodeOpcua
    store: TrustStore


@pytest.fixture(scope="module")
def servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Servers]:
    """`secured`: trusts nobody, and nobody signs in unnamed. `clear`: nothing but None, its clock
    10 minutes ahead, under a name that nobody knows, with room for one subscription of 9 items."""
    folder = tmp_path_factory.mktemp("ladder")
    made = make()
    certificate, key = made.write(folder / "server")
    with asyncio.Runner() as runner:
        secured = node_opcua(
            folder,
            nodes=NODES,
            policies=POLICIES,
            modes=("SignAndEncrypt",),
            anonymous=False,
            password=PASSWORD,
            accepts_all=False,
            accepts_users=False,
            certificate=certificate,
            key=key,
        )
        (folder / "clear").mkdir()
        clear = node_opcua(
            folder / "clear",
            nodes=NODES,
            password=PASSWORD,
            clock_ahead_ms=600_000,
            host="plc-7.invalid",
            subscriptions=1,
            items_per_subscription=9,
        )

        async def begin() -> tuple[NodeOpcua, NodeOpcua]:
            return await asyncio.gather(secured.__aenter__(), clear.__aenter__())

        one, other = runner.run(begin())
        store = TrustStore(folder / "pki")
        store.trust(made.certificate)
        found = Servers(runner.run, folder, made, one, other, store)
        climbed(found, one.url, **BEST, **OPERATOR)
        trust_ours(found)
        yield found
        runner.run(secured.__aexit__(None, None, None))
        runner.run(clear.__aexit__(None, None, None))


@pytest.fixture(autouse=True, scope="module")
def _passwords() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PEER_PASSWORD", PASSWORD)
        patch.setenv("WRONG_PASSWORD", "1234")
        patch.delenv("NO_PASSWORD", raising=False)
        yield


def trust_ours(servers: Servers) -> None:
    """What somebody does at the server with the certificates that it refused."""
    theirs = servers.folder / "node-opcua-pki"

    async def came() -> None:
        await until(lambda: any((theirs / "rejected").iterdir()), "ours to be refused there")

    servers.run(came())
    for each in (theirs / "rejected").iterdir():
        shutil.move(each, theirs / "trusted" / "certs" / each.name)


async def steps_of(
    source: OpcuaSource,
    store: TrustStore,
    beside: Callable[[Step], Any] | None = None,
    **bounds: float,
) -> list[Step]:
    settings = source._settings.model_copy(update={"opcua_timeout_s": 3.0})
    limits = Bounds(**({"seconds": 20.0, "values_s": 0.4} | bounds))
    found = []
    async for step in whole(climb(source.model, settings, store, source._tags, limits)):
        found.append(step)
        if beside is not None:
            await beside(step)
    return found


def climbed(
    servers: Servers,
    url: str,
    *,
    store: TrustStore | None = None,
    nodes: int = NODES,
    signals: Any = None,
    beside: Callable[[Step], Any] | None = None,
    bounds: dict[str, float] | None = None,
    **source: Any,
) -> list[Step]:
    made = make_source(servers.folder / "ours", url, nodes, source=source, signals=signals)
    found: list[Step] = servers.run(
        steps_of(made, store or servers.store, beside, **(bounds or {}))
    )
    return found


def fault(steps: list[Step], code: str) -> Step:
    """The step with a code. What is below it went well, what is above it was tried only where it
    is a warning; no two say the same."""
    by_code = {each.code: each for each in steps if each.code}
    assert code in by_code, [(each.code, each.said) for each in steps]
    step = by_code[code]
    assert step.said and step.fix, step
    rungs = list(Rung)
    below = [each for each in steps if rungs.index(each.rung) < rungs.index(step.rung)]
    assert not [each for each in below if each.verdict is Verdict.FAILED]
    above = [each for each in steps if rungs.index(each.rung) > rungs.index(step.rung)]
    if step.ends:
        assert {each.verdict for each in above} <= {Verdict.NOT_REACHED}
        assert {each.rung for each in steps} == set(Rung)
    return step


def of_secured(servers: Servers, **more: Any) -> list[Step]:
    return climbed(servers, servers.secured.url, **(BEST | OPERATOR | more))


def test_a_server_where_all_is_right_passes_every_rung(servers: Servers) -> None:
    steps = of_secured(servers)
    assert {each.rung: each.verdict for each in steps} == NORMAL, steps
    assert [each.code for each in steps] == [""] * len(Rung)
    (certificate,) = [each for each in steps if each.rung is Rung.CERTIFICATE]
    assert certificate.facts["server_sha256"] == sha256_of(servers.certificate.certificate)
    assert len(certificate.facts["own_sha256"]) == 64
    (values,) = [each for each in steps if each.rung is Rung.VALUES]
    assert values.said == f"{NODES} values of {NODES} nodes came"


def test_without_nodes_it_still_looks_whether_a_subscription_is_given(servers: Servers) -> None:
    steps = of_secured(servers, nodes=0)
    assert {each.rung: each.verdict for each in steps} == NORMAL | {Rung.VALUES: Verdict.NOT_NEEDED}


def test_each_side_has_to_trust_the_other_and_is_named(servers: Servers, tmp_path: Path) -> None:
    store = TrustStore(tmp_path / "my pki")
    theirs = fault(of_secured(servers, store=store), "E1401")
    sha256 = sha256_of(servers.certificate.certificate)
    assert f"`aurelian trust add {sha256[:16]} --pki '{store.folder}'`" in theirs.fix
    assert theirs.facts["server_sha256"] == sha256
    assert theirs.facts["own_sha256"] != sha256
    (refused,) = store.listed("rejected")
    store.trust(read_certificates(refused.path)[0])
    ours = fault(of_secured(servers, store=store), "E1412")
    assert str(store.folder / "own" / "certificate.der") in ours.fix
    assert ours.facts["own_sha256"] == theirs.facts["own_sha256"]
    assert "Quarantined Certificates" in ours.fix
    trust_ours(servers)
    assert {each.rung: each.verdict for each in of_secured(servers, store=store)} == NORMAL


def test_another_certificate_than_before_is_told_from_a_first_one(
    servers: Servers, tmp_path: Path
) -> None:
    store, before = TrustStore(tmp_path / "pki"), make("older")
    store.trust(before.certificate)
    step = fault(of_secured(servers, store=store), "E1402")
    assert "aurelian trust remove " + sha256_of(before.certificate)[:16] in step.fix


CERTIFICATES = [
    ({"server_sha256": "AB" * 32}, "127.0.0.1", "E1410", "server_sha256"),
    ({"server_uri": "urn:other"}, "127.0.0.1", "E1405", "'urn:aurelian-test:node-opcua'"),
    ({}, "localhost", "E1404", "for plc.example or 127.0.0.1, and you connect to localhost"),
]


@pytest.mark.parametrize(("security", "host", "code", "said"), CERTIFICATES)
def test_a_certificate_that_does_not_fit_is_refused_and_says_why(
    servers: Servers, security: dict[str, str], host: str, code: str, said: str
) -> None:
    url = servers.secured.url.replace("127.0.0.1", host)
    step = fault(climbed(servers, url, security=security | {"policy": "best"}, **OPERATOR), code)
    assert said in step.said


SIGN_INS = [
    ({"user": "", "password_env": ""}, "E1502", "a user name or a user's certificate", "`user`"),
    ({"password_env": "WRONG_PASSWORD"}, "E1506", "user 'operator'", "WRONG_PASSWORD"),
    ({"user": "nobody-there"}, "E1506", "user 'nobody-there'", "PEER_PASSWORD"),
    ({"password_env": "NO_PASSWORD"}, "E1501", "NO_PASSWORD", "password_file"),
]


@pytest.mark.parametrize(("source", "code", "said", "fix"), SIGN_INS)
def test_whoever_may_not_sign_in_is_told_why(
    servers: Servers, source: dict[str, str], code: str, said: str, fix: str
) -> None:
    step = fault(of_secured(servers, **source), code)
    assert said in step.said
    assert fix in step.fix
    assert PASSWORD not in step.said + step.fix and "1234" not in step.said + step.fix


def test_a_users_certificate_that_the_server_does_not_know_is_refused(
    servers: Servers, tmp_path: Path
) -> None:
    certificate, key = make("user").write(tmp_path, "user")
    user = {"user_certificate": str(certificate), "user_key": str(key)}
    step = fault(climbed(servers, servers.secured.url, **BEST, **user), "E1507")
    assert "the user's certificate CN=user" in step.said


def test_a_password_is_not_sent_in_the_clear_and_no_user_goes_where_none_is_taken(
    servers: Servers,
) -> None:
    # This server takes nobody but the unnamed in the clear.
    step = fault(climbed(servers, servers.clear.url, **OPERATOR), "E1503")
    assert "user 'operator'" in step.said


ENDPOINTS = [
    ({"policy": "Basic256"}, "E1309", "does not offer Basic256 with SignAndEncrypt"),
    ({"policy": "best", "mode": "Sign"}, "E1309", "any security of today with Sign"),
    ({"policy": "None"}, "E1308", "Basic256Sha256 with SignAndEncrypt"),
]


@pytest.mark.parametrize(("security", "code", "said"), ENDPOINTS)
def test_security_that_the_server_does_not_offer_is_named_with_what_it_offers(
    servers: Servers, security: dict[str, str], code: str, said: str
) -> None:
    assert said in fault(of_secured(servers, security=security), code).said


def test_a_server_without_any_security_is_not_taken_for_one(servers: Servers) -> None:
    step = fault(climbed(servers, servers.clear.url, **BEST), "E1307")
    assert "only None (in the clear)" in step.said
    assert "security: {policy: None}" in step.fix
    beyond = servers.clear.url.replace("127.0.0.1", "0.0.0.0")
    step = fault(climbed(servers, beyond, security={"policy": "None"}), "E1310")
    assert "AURELIAN_OPCUA_INSECURE_HOSTS, say 0.0.0.0" in step.fix


def test_a_clock_that_is_off_and_a_name_that_nobody_knows_are_warned_of(servers: Servers) -> None:
    steps = climbed(servers, servers.clear.url)
    name = fault(steps, "E1306")
    assert "opc.tcp://plc-7.invalid" in name.said
    clock = fault(steps, "E1802")
    assert "10 min ahead of ours" in clock.said
    assert abs(float(clock.facts["ahead_s"]) - 600) < 5
    assert {each.verdict for each in steps} == {
        Verdict.PASSED,
        Verdict.WARNING,
        Verdict.NOT_NEEDED,
    }


def test_no_room_for_a_session_a_subscription_or_all_nodes_is_said(servers: Servers) -> None:
    server, run = servers.clear, servers.run
    run(server.allow_sessions(0))
    assert "takes no further one" in fault(climbed(servers, server.url), "E1509").said
    run(server.allow_sessions(400))
    run(server.allow_subscriptions(0))
    assert "no further subscription" in fault(climbed(servers, server.url), "E1601").said
    run(server.allow_subscriptions(1))
    many = {f"w{n}": {"address": f"nsu=urn:aurelian-test:node-opcua;s=v{n % 4}"} for n in range(8)}
    full = fault(climbed(servers, server.url, signals=many), "E1602")
    assert full.verdict is Verdict.WARNING
    assert "room for 9 of the 12 nodes" in full.said


def test_nodes_that_are_not_there_are_named_with_those_that_may_be_meant(
    servers: Servers,
) -> None:
    wrong = {"x": {"address": "nsu=urn:aurelian-test:node-opcua;s=V03"}}
    step = fault(of_secured(servers, nodes=1, signals=wrong), "E1603")
    assert step.verdict is Verdict.WARNING
    assert "does not have 1 of the 2 nodes: nsu=" in step.said
    assert "did you mean nsu=urn:aurelian-test:node-opcua;s=v" in step.fix
    alone = fault(of_secured(servers, nodes=0, signals=wrong), "E1603")
    assert alone.verdict is Verdict.FAILED


def test_nodes_that_nobody_may_read_and_nodes_that_are_no_variables_are_said(
    servers: Servers,
) -> None:
    """node-opcua watches what nobody may read, and gives its status as a value's; Milo refuses it
    at once (test_security_milo.py)."""
    secured, hidden = servers.secured, "ns=1;s=v2"
    servers.run(secured.let_read(hidden, may=False))
    try:
        closed = fault(of_secured(servers), "E1703")
    finally:
        servers.run(secured.let_read(hidden, may=True))
    assert "v2 (BadNotReadable)" in closed.said and "sign in as a user who may" in closed.fix
    folder = fault(of_secured(servers, nodes=1, signals={"x": {"address": "i=85"}}), "E1605")
    assert "refuses 1 of the 2 nodes: i=85" in folder.said
    assert "(BadAttributeIdInvalid)" in folder.said


def test_a_clock_that_is_seconds_off_is_a_warning(servers: Servers, tmp_path: Path) -> None:
    async def begun() -> list[Step]:
        async with node_opcua(tmp_path, nodes=1, clock_ahead_ms=20_000) as server:
            source = make_source(servers.folder / "ours", server.url, 1)
            return await steps_of(source, servers.store)

    step = fault(servers.run(begun()), "E1801")
    assert step.verdict is Verdict.WARNING and "20 s ahead of ours" in step.said


def test_a_server_that_does_not_say_its_time_is_told(servers: Servers) -> None:
    secured, time_node = servers.secured, "i=2258"
    servers.run(secured.let_read(time_node, may=False))
    try:
        step = fault(of_secured(servers), "E1807")
    finally:
        servers.run(secured.let_read(time_node, may=True))
    assert step.verdict is Verdict.WARNING
    assert "does not say what time it has" in step.said


def test_a_server_that_is_not_at_work_is_said(servers: Servers) -> None:
    servers.run(servers.secured.say_state(2))
    try:
        step = fault(of_secured(servers), "E1606")
    finally:
        servers.run(servers.secured.say_state(0))
    assert "NoConfiguration" in step.said


def test_values_of_bad_quality_are_counted_and_named(servers: Servers) -> None:
    servers.run(servers.secured.write(1, 5.0, status=0x80310000))
    try:
        step = fault(of_secured(servers), "E1703")
    finally:
        servers.run(servers.secured.write(1, 5.0))
    assert step.said.startswith("the server itself calls the values of 1 of the 4 nodes bad: ")
    assert "v1 (BadNoCommunication)" in step.said
    assert "does not reach the device" in step.fix


def test_no_value_within_the_time_is_said(servers: Servers) -> None:
    servers.run(servers.secured.add_mute())
    mute = {"mute": {}}
    step = fault(of_secured(servers, nodes=0, signals=mute, bounds={"values_s": 0.5}), "E1701")
    assert "no value of the node that was chosen came within 0.5 s" in step.said
    some = fault(of_secured(servers, signals=mute, bounds={"values_s": 0.5}), "E1702")
    assert some.said.startswith("1 of the 5 nodes gave no value within 0.5 s, first ")
    assert "press/mute" in some.said


def test_a_connection_that_breaks_while_values_come_is_said(servers: Servers) -> None:
    async def forget(step: Step) -> None:
        if step.rung is Rung.SUBSCRIBE:
            await servers.secured.forget()

    fault(of_secured(servers, publishing_interval_ms=20_000, beside=forget), "E1704")


def times(servers: Servers, code: str, values: list[tuple[float, float | None]]) -> Step:
    """Climb while these values of node 0 come, each with its time in milliseconds."""
    server = servers.secured

    async def write(step: Step) -> None:
        if step.rung is Rung.SUBSCRIBE:
            writing.append(asyncio.create_task(write_all()))

    async def write_all() -> None:
        for value, at in values:
            await server.write(0, value, source_ms=at)
            await asyncio.sleep(0.12)

    writing: list[asyncio.Task[None]] = []
    try:
        return fault(of_secured(servers, nodes=1, beside=write, bounds={"values_s": 0.9}), code)
    finally:
        servers.run(server.write(0, 0.0, source_ms=time.time() * 1000))


def test_times_that_cannot_be_are_told_from_local_time(servers: Servers) -> None:
    now = time.time() * 1000
    ahead = times(servers, "E1806", [(n, now + 2 * HOUR_MS) for n in range(4)])
    assert "2 h ahead now" in ahead.said
    assert "(UTC+2)" in ahead.facts["zone"]
    never = times(servers, "E1804", [(n, 86_400_000.0) for n in range(2)])
    assert "cannot be (1970-01-02 00:00:00 UTC)" in never.said
    stuck = times(servers, "E1805", [(n, now - 7000) for n in range(5)])
    assert "change, and their time does not" in stuck.said
    none = times(servers, "E1803", [(n, -11_644_473_600_000.0) for n in range(3)])
    assert "have no time" in none.said


def test_a_user_who_is_refused_leaves_no_session(servers: Servers) -> None:
    async def sessions() -> int:
        source = make_source(servers.folder / "ours", servers.secured.url, source=BEST | OPERATOR)
        async with session_of(source, servers.store) as session:
            node = ua.ReadValueId(NodeId=ua.NodeId(2277), AttributeId=ua.AttributeIds.Value)
            (answer,) = await session.services.read(ua.ReadParameters(NodesToRead=[node]))
            return int(answer.Value.Value)

    assert servers.run(sessions()) == 1
    fault(of_secured(servers, password_env="WRONG_PASSWORD"), "E1506")
    assert servers.run(sessions()) == 1


def test_nothing_is_left_at_the_server(servers: Servers) -> None:
    async def counts() -> tuple[int, int]:
        async with Client(servers.clear.url) as client:
            read = [client.get_node(f"i={n}").read_value() for n in (2277, 2285)]
            sessions, subscriptions = [await each for each in read]
            return sessions, subscriptions

    assert servers.run(counts()) == (1, 0)
    climbed(servers, servers.clear.url)
    climbed(servers, servers.clear.url, signals={"x": {"address": "i=999999"}})
    assert servers.run(counts()) == (1, 0)

    async def leave_early() -> None:
        source = make_source(servers.folder / "ours", servers.clear.url, NODES)
        steps = climb(source.model, source._settings, servers.store, source._tags)
        async for step in steps:
            if step.rung is Rung.SUBSCRIBE:
                break
        await steps.aclose()  # type: ignore[attr-defined]

    servers.run(leave_early())
    assert servers.run(counts()) == (1, 0)


@asynccontextmanager
async def session_of(source: OpcuaSource, store: TrustStore) -> AsyncIterator[Session]:
    settings, model = source._settings, source.model
    way = await Endpoints(model, (), store, settings.gateway).find_way(3.0)
    async with looked_into(model, way, settings) as session:
        yield session


def test_chosen_variables_are_previewed_with_quality_time_and_how_often_they_change(
    servers: Servers,
) -> None:
    source = make_source(servers.folder / "ours", servers.secured.url, source=BEST | OPERATOR)

    async def look() -> list[list[Seen]]:
        shown = []
        async with session_of(source, servers.store) as session:
            found = await discover(session, Selection(), Reach(nodes=1000, seconds=5))
            wanted = choose(found.variables, found.namespaces, ["**/V[x]", "**/v{0,1,2}"], ["v2"])
            nodes = previewed(wanted, found.namespaces)
            assert [each.path for each in nodes] == ["v0", "v1"]
            nodes.append(Previewed("gone", "nsu=urn:aurelian-test:node-opcua;s=gone"))
            await servers.secured.write(1, 7.0, status=0x80310000)
            counting = asyncio.create_task(servers.secured.count(1, 8, 100))
            async for rows in preview(session, source.model, nodes, source._settings, 1.5, 0.5):
                shown.append([replace(each) for each in rows])
            await counting
        return shown

    shown = servers.run(look())
    assert len(shown) >= 3
    first, second, gone = shown[-1]
    assert (first.value, first.quality, first.node.type_name) == (8.0, "good", "Double")
    assert 5 <= first.changes <= 8
    assert first.values == sorted(first.values)  # type: ignore[type-var]
    assert abs((first.source_time or 0) - time.time() * 1e6) < 30e6
    assert first.changes_a_minute(1.5) == 40 * first.changes
    assert gone.quality == "bad (BadNodeIdUnknown)"
    assert shown[0][1].quality == "bad (BadNoCommunication)" or second.changes > 0


def test_a_dry_run_says_what_would_be_stored_and_stores_nothing(servers: Servers) -> None:
    signals = {
        "v0": {"range": [0, 3]},
        "v1": {"type": "bool"},
        "v2": {"scale": 10.0},
        "gone": {"address": "nsu=urn:aurelian-test:node-opcua;s=gone"},
    }
    source = make_source(
        servers.folder / "ours", servers.secured.url, NODES, BEST | OPERATOR, signals=signals
    )
    told: list[int] = []

    async def run() -> DryRun:
        plant = source._tags[0].unit.line.plant
        async with session_of(source, servers.store) as session:
            counting = asyncio.create_task(servers.secured.count(2, 9, 100))
            found = await dry_run(
                session,
                plant,
                source.model,
                source._settings,
                1.5,
                lambda each: told.append(each.samples),
            )
            await counting
        return found

    before = sorted(servers.folder.joinpath("ours").rglob("*"))
    found: DryRun = servers.run(run())
    by_name = {path.rpartition("/")[2]: each for path, each in found.signals.items()}
    assert 6 <= by_name["v0"].samples <= 10
    assert by_name["v0"].flags["out_of_range"] >= 4
    assert by_name["v2"].value == 90.0
    assert by_name["v3"].value == 9.0
    assert list(by_name["v1"].rejects) == ["type"] and by_name["v1"].rejects["type"] >= 5
    assert by_name["v1"].reason == "9.0 came as DOUBLE, declared is BOOL"
    assert by_name["gone"].refused == "BadNodeIdUnknown"
    assert by_name["gone"].statuses == {"BadNodeIdUnknown": 1}
    assert found.events[0] == "born: connected"
    assert 4 < found.rate(by_name["v0"].path) < 8
    assert told == sorted(told) and told[-1] == found.samples
    assert sorted(servers.folder.joinpath("ours").rglob("*")) == before


def test_what_is_found_is_proposed_with_its_reason_and_written_into_a_plant_file(
    servers: Servers,
) -> None:
    source = make_source(servers.folder / "ours", servers.secured.url, source=BEST | OPERATOR)

    async def look() -> str:
        async with session_of(source, servers.store) as session:
            found = await discover(session, Selection(), Reach(nodes=1000, seconds=5))
        for each in found.variables:
            each.node.name = {"v0": "OilTemperature", "v1": "GoodCount"}.get(
                each.node.name, each.node.name
            )
        counted = Seen(Previewed("GoodCount", "s=v1"))
        counted.values, counted.times = [1.0, 2.0, 3.0, 5.0], [0.0, 3.0, 5.5, 9.0]
        return write_plant(found, source.model, propose_signals(found, {"GoodCount": counted}))

    text = servers.run(look())
    assert '"GoodCount"' in text and 'role: "good_count"' in text
    assert "GoodCount: good_count (likely): its name 'GoodCount' says 'good count'; it only" in text
    assert 'role: "temperature"' in text
    plant = parse_plant(Path("site.yaml"), text.encode())
    roles = {each.name: each.role for each in plant.areas[0].lines[0].units[0].signals}
    assert (roles["OilTemperature"], roles["GoodCount"]) == ("temperature", "good_count")
    assert roles["v3"] == "other"


def test_an_enumeration_says_what_its_numbers_are_called_and_asks_for_what_they_mean(
    servers: Servers,
) -> None:
    # The last test: this server's variables are those of another namespace from now on.
    source = make_source(servers.folder / "ours", servers.clear.url)

    async def look() -> tuple[Seen, Proposal]:
        await servers.clear.add_namespace("urn:later")
        async with session_of(source, servers.store) as session:
            found = await discover(session, Selection(), Reach(nodes=1000, seconds=5))
            found.variables = choose(found.variables, found.namespaces, ["mode"])
            nodes = previewed(found.variables, found.namespaces)
            async for rows in preview(session, source.model, nodes, source._settings, 0.5):
                (row,) = rows
        (variable,) = found.variables
        variable.node.name = "Status"
        return row, propose_signals(found, {"Status": row})[variable.node]

    row, proposal = servers.run(look())
    assert (row.value, row.names[4]) == (4, "Shutdown")
    assert proposal.role is Role.STATE
    assert proposal.question is not None
    assert proposal.question.text == "Status is 4 (Shutdown) now: what is the machine doing?"
    assert isinstance(proposal.states, dict) and proposal.states["0"] == "running"
