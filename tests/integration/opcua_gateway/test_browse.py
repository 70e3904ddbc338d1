"""`aurelian browse` and what is behind it, against node-opcua and asyncua's server."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest
from asyncua import Server, ua
from asyncua.ua.ua_binary import nodeid_to_binary
from typer.testing import CliRunner, Result

from aurelian.cli import app
from aurelian.local import ports
from aurelian.model.plant_file import load_plants
from aurelian.model.plant_parts import Role
from opcua_gateway.browse.companions import DI, JOB_CONTROL, MACHINE_TOOL, MACHINERY, PACKML
from opcua_gateway.browse.discovery import Selection, discover
from opcua_gateway.browse.walk import (
    SERVER,
    Bounds,
    Node,
    Reach,
    Tree,
    browse_tree,
    find_reach,
    read_many,
)
from opcua_gateway.browse.wire import VARIABLE
from opcua_gateway.connection import opened
from opcua_gateway.security.endpoints import Way
from opcua_gateway.session import Session
from opcua_gateway.settings import OpcuaGatewaySettings
from opcua_gateway.sources import make_sources
from tests.integration.opcua_gateway.test_security import PASSWORD, secured
from tests.peers.node_opcua_browse import BrowseServer, browse_server
from tests.peers.node_opcua_server import NAMESPACE
from tests.peers.opcua_message_limit import message_limit
from tests.source_alone import readings_of, taking
from tests.waiting import until

WIDE = 3_000
UNBOUNDED = Bounds()
NODESETS = ("di", "ia", "machinery", "isa95JobControl", "machineryJobs", "machineTool", "packML")


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[BrowseServer]:
    """Odd names, loops, wide folders, companion specifications; 2 continuation points."""
    folder = tmp_path_factory.mktemp("node-opcua")
    with asyncio.Runner() as runner:
        context = browse_server(
            folder, press=True, wide=WIDE, nodesets=NODESETS, continuation_points=2
        )
        yield runner.run(context.__aenter__())
        runner.run(context.__aexit__(None, None, None))


@contextlib.asynccontextmanager
async def session_with(url: str) -> AsyncIterator[Session]:
    async with opened(
        url, Way(), timeout_s=20, session_timeout_s=30, name="browse", secret=None
    ) as session:
        try:
            yield session
        finally:
            await session.close()


async def browsed(url: str, bounds: Bounds = UNBOUNDED) -> Tree:
    async with session_with(url) as session:
        reach = await find_reach(session)
        return await browse_tree(session, reach, bounds, leave_out=lambda node: node.key == SERVER)


async def command(*words: str, home: Path) -> Result:
    """The command in a thread, as it has an event loop of its own."""
    arguments = ["browse", *words, "--home", str(home)]
    return await asyncio.to_thread(CliRunner().invoke, app, arguments)


def names(nodes: list[Node]) -> Counter[str]:
    return Counter(node.path for node in nodes)


async def test_each_node_is_found_once_in_a_graph_with_loops(server: BrowseServer) -> None:
    tree = await browsed(server.url)
    assert (tree.cut, tree.refused) == ("", [])
    assert len({node.key for node in tree.nodes}) == len(tree.nodes)
    found = names(tree.nodes)
    assert set(found.values()) == {1}
    assert {"Press/Inner/v", "Press/Temperature/EURange", "Press/Closed"} <= set(found)
    # What the user may not see is not there, and leads nowhere.
    assert "Press/Hidden" not in found
    assert [node.path for node in tree.further[_key("again")]] == ["Press"]
    # In the order for people nothing is missing, and a node stands before what is below it.
    ordered = list(tree.depth_first())
    assert set(ordered) == set(tree.nodes) and len(ordered) == len(tree.nodes)
    place = {node: n for n, node in enumerate(ordered)}
    press = [place[node] for node in ordered if node.path.startswith("Press")]
    assert press == list(range(press[0], press[0] + len(press)))


async def test_thousands_under_one_node_come_over_continuation_points(server: BrowseServer) -> None:
    tree = await browsed(server.url)
    for folder, letter in (("Wide", "w"), ("Other", "o")):
        wanted = {f"{folder}/{letter}{n}" for n in range(WIDE)}
        assert {node.path for node in tree.nodes if node.path.startswith(folder + "/")} == wanted


async def test_what_is_cut_says_where_and_frees_the_continuation_points(
    server: BrowseServer,
) -> None:
    async with session_with(server.url) as session:
        reach = await find_reach(session)
        for _ in range(4):  # more often than the server has continuation points
            tree = await browse_tree(session, reach, Bounds(nodes=500))
            assert tree.cut.startswith("more than 500 nodes")
            assert len(tree.nodes) == 500
        whole = await browse_tree(session, reach, Bounds())
        assert not whole.cut and not whole.refused
    tree = await browsed(server.url, Bounds(depth=2))
    assert max(node.depth for node in tree.nodes) == 2
    assert "deeper than 2 levels" in tree.cut and "the first is" in tree.cut
    tree = await browsed(server.url, Bounds(seconds=0.001))
    assert tree.cut.startswith("0.001 s are over")


async def test_a_server_that_falls_silent_ends_the_browse_in_its_time(server: BrowseServer) -> None:
    clock = asyncio.get_running_loop().time
    async with session_with(server.url) as session:
        reach = await find_reach(session)
        os.kill(server.pid, signal.SIGSTOP)
        try:
            began = clock()
            tree = await browse_tree(session, reach, Bounds(seconds=1))
            assert clock() - began < 6
        finally:
            os.kill(server.pid, signal.SIGCONT)
        assert tree.cut == "1 s are over: 1 requests were not answered"


async def test_a_server_that_takes_few_nodes_is_asked_for_few(tmp_path: Path) -> None:
    limits = {"per_browse": 7, "per_read": 5, "continuation_points": 1}
    async with browse_server(tmp_path, machines=60, variables=3, wide=1500, **limits) as small:
        async with session_with(small.url) as session:
            reach = await find_reach(session)
            assert (reach.per_browse, reach.per_read) == (7, 5)
            # One that names no limit, and has one.
            silent = Reach(reach.namespaces, 1000, 1000)
            tree = await browse_tree(session, silent, Bounds())
            assert 1 <= silent.per_browse <= 7
            assert not tree.cut and not tree.refused
            found = names(tree.nodes)
            assert sum(path.startswith("Line ") and path.count("/") == 2 for path in found) == 180
            assert sum(path.startswith(("Wide/", "Other/")) for path in found) == 3_000
            wanted = [(node.key, int(ua.AttributeIds.BrowseName)) for node in tree.nodes[:200]]
            read = await read_many(session, silent, wanted, 4)
            assert 1 <= silent.per_read <= 5
            assert [each.value.Name for each in read] == [node.name for node in tree.nodes[:200]]
            listing = await discover(session, Selection(include=("Line",)), Bounds())
            assert {each.type_name for each in listing.variables} == {"Double"}
            assert len(listing.variables) == 180


async def test_answers_that_are_too_large_are_asked_for_smaller(tmp_path: Path) -> None:
    # The server keeps a continuation point for each answer that the relay swallows.
    async with (
        browse_server(tmp_path, wide=1000, continuation_points=100) as whole,
        message_limit(whole.url, 3_500, says_so=True) as limited,
    ):
        tree = await browsed(limited.url)
        # Each refusal for a single node halves the children that are asked for, and 1,000, 500, 250
        # and 125 do not fit: four at the least. One more where the other wide node was asked for
        # 125 meanwhile; and of the 2,000 below them as many batches as there were large ones, which
        # is up to how many waited together when a request became free.
        assert limited.refused >= 4
        assert not tree.cut and not tree.refused
        assert names(tree.nodes) == names((await browsed(whole.url)).nodes)
        assert sum(node.path.startswith(("Wide/", "Other/")) for node in tree.nodes) == 2_000


async def test_variables_have_types_units_ranges_and_rights(server: BrowseServer) -> None:
    async with session_with(server.url) as session:
        found = await discover(session, Selection(include=("Press",)), Bounds(), values=True)
    by_name = {each.node.name: each for each in found.variables}
    temperature = by_name["Temperature"]
    assert (temperature.type_name, temperature.unit, temperature.unit_shown) == (
        "Double",
        "Cel",
        "°C",
    )
    assert (temperature.range, temperature.description) == ((0, 250), "of the tool")
    assert temperature.value is not None and temperature.value.value == 81.5
    assert by_name["Array"].type_name == "Float[]"
    assert by_name["Duration"].type_name == "Duration"
    kinds = {"Array": 7, "Duration": 1, "Big": 3, "Count": 2, "Text": 5}
    assert {name: int(by_name[name].value_type or 0) for name in kinds} == kinds
    assert [each.node.name for each in found.variables if not each.is_readable] == ["Closed"]
    assert not any(each.has_history for each in found.variables)


async def test_companion_specifications_are_known_by_type_definition(server: BrowseServer) -> None:
    async with session_with(server.url) as session:
        found = await discover(session, Selection(), Bounds())
    models = {node.path: model for node, model in found.recognised.models.items()}
    # Names say nothing: `Zustand` is of Machinery, `Gamma` of a maker's subtype of PackML's type.
    for path, uri, version in [
        ("Machines/Alpha/Blocks/Zustand", MACHINERY, "1.04.1"),
        ("Machines/Beta", MACHINE_TOOL, "1.02.0"),
        ("Gamma", PACKML, "1.01"),
        ("Delta", JOB_CONTROL, "2.0.0"),
    ]:
        assert (models[path].uri, models[path].version) == (uri, version)
    assert models["Gamma"].type_name == "MakersPackMl"
    assert found.versions[DI] == "1.05.0"
    machines = {node.path for node in found.recognised.machines}
    assert {"Machines/Alpha", "Machines/Beta", "Gamma"} <= machines
    states = {each.variable.path: each for each in found.recognised.states}
    state = "CurrentState"
    assert set(states) == {
        f"Machines/Alpha/Blocks/Zustand/{state}",
        f"Machines/Beta/Production/ActiveProgram/State/{state}/Number",
        f"Gamma/BaseStateMachine/MachineState/ExecuteState/{state}",
    }
    values = {each.node.path: each.value.value for each in found.states.values() if each.value}
    assert sorted(map(str, values.values())) == ["1", "Execute", "Executing"]


async def test_the_plant_file_loads_and_its_signals_deliver(
    server: BrowseServer, tmp_path: Path
) -> None:
    done = await command(
        server.url, "--plant", "--source", "peer", "--exclude", "Wide", "--exclude", "Other",
        home=tmp_path,
    )  # fmt: skip
    assert done.exit_code == 0, done.output
    (tmp_path / "plant").mkdir()
    (tmp_path / "plant" / "site.yaml").write_text(done.stdout)
    (plant,) = load_plants(tmp_path / "plant")
    checked = await asyncio.to_thread(CliRunner().invoke, app, ["check", str(tmp_path / "plant")])
    assert checked.exit_code == 0, checked.output
    signals = {
        s.path: m for u in plant.units() for s, m in zip(u.signals(), u.model.signals, strict=True)
    }
    assert "variables that we may not read: 1" in done.stdout
    assert "control characters: 1" in done.stdout
    assert not any("Closed" in path for path in signals)
    states = {m.address: (m.states, m.name) for m in signals.values() if m.role is Role.STATE}
    assert len(states) == 3
    assert {each if isinstance(each, str) else "own" for each, _ in states.values()} == {
        "machinery",
        "packml",
        "own",
    }
    temperature = signals["my-company/works/hall/line-1/Press/Temperature"]
    assert (temperature.unit, temperature.range) == ("Cel", (0, 250))
    (source,) = make_sources(OpcuaGatewaySettings(state=tmp_path), [plant])

    async with taking(source) as taken:

        def came() -> dict[str, object]:
            return {r.signal.path: r for d in taken for r in readings_of(d)}

        await until(lambda: len(came()) == len(signals), "a value of each signal", 30)
        bad = {r.signal.path: r.status for d in taken for r in readings_of(d) if r.status >> 31}
        assert not bad
        for delivery in taken:
            for reading in readings_of(delivery):
                if reading.value is not None:
                    assert reading.type is signals[reading.signal.path].type, reading.signal.path


async def test_the_listing_is_for_people_and_for_programs(
    server: BrowseServer, tmp_path: Path
) -> None:
    shown = await command(server.url, "--filter", "press", "--values", home=tmp_path)
    assert shown.exit_code == 0
    rows = {row[0]: row for row in (line.split("\t") for line in shown.stdout.splitlines())}
    assert rows["1:Press/1:Temperature"][1:] == [
        f"nsu={NAMESPACE};s=press.temperature", "Double", "Cel", "r", "81.5",
    ]  # fmt: skip
    assert "PackML (OPC 30050), version 1.01" in shown.stderr
    assert f"namespace 1: {NAMESPACE}" in shown.stderr
    as_json = await command(
        server.url, "--namespace", NAMESPACE, "--type", "UInt64", "--json", home=tmp_path
    )
    (line,) = as_json.stdout.splitlines()
    assert json.loads(line)["path"] == "1:Press/1:Big"
    nothing = await command(server.url, "--filter", "no such", home=tmp_path)
    assert nothing.exit_code == 1
    assert "variables is what the options ask for" in nothing.stderr
    bounded = await command(server.url, "--max", "2", home=tmp_path)
    assert bounded.exit_code == 1 and "more than 2 nodes" in bounded.stderr
    assert "a larger bound: --max" in bounded.stderr and "sign in" not in bounded.stderr
    assert "mkdir -p my-plant" in shown.stderr


async def test_an_endpoint_at_a_host_that_does_not_answer_is_shown_with_the_one_asked(
    tmp_path: Path,
) -> None:
    advertised = "opc.tcp://plc-7.invalid:4840/UA/Peer"
    async with browse_server(tmp_path, advertised=advertised) as peer:
        done = await command("--endpoints", peer.url, home=tmp_path)
        assert done.exit_code == 0, done.output
        urls = {line.split("\t")[0] for line in done.stdout.splitlines()}
        assert urls == {peer.url, "opc.tcp://127.0.0.1:4840/UA/Peer"}
        assert f"{advertised} does not answer from here" in " ".join(done.stderr.split())
        # A server with nothing of its own.
        empty = await command(peer.url, "--exclude", "Aliases", home=tmp_path)
        assert empty.exit_code == 1
        assert "the server shows no variable" in empty.stderr


async def test_what_is_in_the_way_is_said_with_the_next_step(tmp_path: Path) -> None:
    nobody = await command(f"opc.tcp://127.0.0.1:{ports.any_free()}", home=tmp_path)
    assert nobody.exit_code == 1 and "is the server on, and its port right?" in nobody.stderr
    away = await command("opc.tcp://192.0.2.1:4840", "--policy", "None", home=tmp_path)
    assert away.exit_code == 2 and "AURELIAN_OPCUA_INSECURE_HOSTS" in away.stderr
    (tmp_path / "password").write_text(PASSWORD)
    operator = ["--user", "operator", "--password-file", str(tmp_path / "password")]
    async with secured(tmp_path, anonymous=False, accepts_all=False) as peer:
        listed = await command("--endpoints", peer.url, home=tmp_path)
        assert "Basic256Sha256\tSignAndEncrypt\tUserName" in listed.stdout
        untrusted = await command(peer.url, "--policy", "best", *operator, home=tmp_path)
        assert untrusted.exit_code == 1 and "aurelian trust add" in untrusted.stderr
        best = [peer.url, "--policy", "best", "--trust-first-use"]
        ours = await command(*best, *operator, home=tmp_path)
        assert ours.exit_code == 1
        assert "does it trust our certificate" in " ".join(ours.stderr.split())
        own = tmp_path / "state" / "opcua_gateway" / "pki" / "own" / "certificate.der"
        (tmp_path / "node-opcua-pki" / "trusted" / "certs" / "ours.der").write_bytes(
            own.read_bytes()
        )
        anonymous = await command(*best, home=tmp_path)
        assert "does not take a session without a user" in " ".join(anonymous.stderr.split())
        assert "here: --user NAME --password-file FILE" in " ".join(anonymous.stderr.split())
        for name in (tmp_path / "node-opcua-pki" / "rejected").glob("*"):
            name.unlink()
        for _ in range(5):  # the server looks into its folders by and by
            inside = await command(*best, *operator, "--plant", home=tmp_path)
            if "does it trust our certificate" not in " ".join(inside.stderr.split()):
                break
            await asyncio.sleep(1)
        assert inside.exit_code == 0, inside.output
        assert 'user: "operator"' in inside.stdout and "first_use" in inside.stdout
        # And as a source of that file.
        (tmp_path / "site.yaml").write_text(inside.stdout)
        again = await command("--plant-file", str(tmp_path / "site.yaml"), home=tmp_path)
        assert again.exit_code == 0 and "1:v0" in again.stdout


async def test_a_secured_server_on_this_machine_names_the_option(tmp_path: Path) -> None:
    (tmp_path / "password").write_text(PASSWORD)
    operator = ["--user", "operator", "--password-file", str(tmp_path / "password")]
    async with secured(tmp_path, policies=("Basic256Sha256",), modes=("SignAndEncrypt",)) as peer:
        for who in ([], operator):  # in the clear, as nothing is said
            clear = " ".join((await command(peer.url, *who, home=tmp_path)).stderr.split())
            assert "the server does not speak in the clear" in clear
            assert "here: --policy best" in clear


async def test_a_server_without_limits_or_continuation_points_is_read_too(tmp_path: Path) -> None:
    port = ports.any_free()
    peer = Server()
    await peer.init()
    peer.set_endpoint(f"opc.tcp://127.0.0.1:{port}")
    peer.set_security_policy([ua.SecurityPolicyType.NoSecurity])
    index = await peer.register_namespace("urn:test:asyncua")
    folder = await peer.nodes.objects.add_folder(ua.NodeId("Hall", index), "Hall")
    wanted = {"Hall"}
    for machine in range(3):
        at = await folder.add_object(ua.NodeId(f"m{machine}", index), f"m{machine}")
        wanted.add(f"Hall/m{machine}")
        for number in range(50):
            await at.add_variable(ua.NodeId(f"m{machine}.{number}", index), f"v{number}", 1.5)
            wanted.add(f"Hall/m{machine}/v{number}")
    async with peer:
        tree = await browsed(f"opc.tcp://127.0.0.1:{port}")
        assert wanted <= set(names(tree.nodes))
        assert not tree.cut and not tree.refused
        done = await command(
            f"opc.tcp://127.0.0.1:{port}", "--filter", "Hall/m1/*", "--json", home=tmp_path
        )
        rows = [json.loads(line) for line in done.stdout.splitlines()]
        assert {row["node"] for row in rows} == {
            f"nsu=urn:test:asyncua;s=m1.{number}" for number in range(50)
        }
        assert {row["type"] for row in rows} == {"Double"}
        variables = {node.key for node in tree.nodes if node.node_class == VARIABLE}
        assert nodeid_to_binary(ua.NodeId("m2.49", index)) in variables


def _key(name: str) -> bytes:
    return nodeid_to_binary(ua.NodeId(name, 1))
