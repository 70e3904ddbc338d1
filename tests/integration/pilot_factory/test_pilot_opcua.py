"""The pilot plant's OPC UA server as the gateway meets it: secured, with a user, with machines of
OPC 30050 (PackML); and as a stranger does."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import UTC, datetime
from pathlib import Path

import pytest
from asyncua import Client, ua

import pilot_factory
from aurelian.edge.applications import gateway_certificate, gateway_store, pilot_store
from aurelian.edge.certificates import read_certificates
from aurelian.local import pilot_trust
from aurelian.local.ports import any_free
from aurelian.model.plant import Plant
from aurelian.model.plant_file import load_plants
from aurelian.model.plant_parts import Role
from opcua_gateway.connection import opened
from opcua_gateway.session import SessionLost
from opcua_gateway.settings import OpcuaGatewaySettings
from opcua_gateway.source import OpcuaSource
from opcua_gateway.sources import make_sources
from pilot_factory.factory import Factory
from pilot_factory.faults import Fault, FaultKind
from pilot_factory.opcua_server import OpcuaServer
from pilot_factory.packml_machine import PACKML
from tests.integration.pilot_factory.test_pilot_factory import CNC_2, running
from tests.peers.certificates import make
from tests.source_alone import readings_of, taking
from tests.waiting import until

PLANT = Path(pilot_factory.__file__).parent / "plants" / "pilot-a.yaml"
BASE = "cnc-2.BaseStateMachine"
NOT_ACTIVE = 0x80BF0000


@pytest.fixture
def plant(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Plant:
    """The pilot plant with its OPC UA line alone, on a free port."""
    monkeypatch.setenv("AURELIAN_PILOT_OPCUA_URL", f"opc.tcp://127.0.0.1:{any_free()}")
    monkeypatch.setenv("AURELIAN_PILOT_PASSWORD_FILE", str(pilot_trust.password_file(tmp_path)))
    (tmp_path / "plant").mkdir()
    (tmp_path / "plant" / PLANT.name).write_text(PLANT.read_text())
    (loaded,) = load_plants(tmp_path / "plant")
    return loaded.model_copy(update={"areas": loaded.areas[:1]})


@asynccontextmanager
async def opcua_line(plant: Plant, home: Path) -> AsyncIterator[Factory]:
    url = plant.sources[0].url
    port = int(url.rpartition(":")[2])
    state = home / "state" / pilot_trust.PILOT
    async with running([plant], state, pilot_opcua_port=port) as factory:
        yield factory


def gateway_source(plant: Plant, home: Path) -> OpcuaSource:
    settings = OpcuaGatewaySettings(state=home / "state" / pilot_trust.GATEWAY)
    (source,) = make_sources(settings, [plant])
    return source


async def sign_in(source: OpcuaSource) -> str:
    """The policy and mode of a session that the source opens."""
    way = await source._dialler.endpoints(source._servers.all[0]).find_way(5.0)
    async with opened(
        source.model.url, way, timeout_s=5.0, session_timeout_s=30.0, name="t", secret=None
    ):
        assert way.endpoint is not None
        return f"{way.endpoint.SecurityPolicyUri.rpartition('#')[2]} {way.mode.name}"


async def test_a_stack_of_one_machine_has_both_sides_trust_each_other_and_nobody_else(
    plant: Plant, tmp_path: Path
) -> None:
    gateway, pilot = (
        gateway_store(tmp_path / "state" / pilot_trust.GATEWAY),
        pilot_store(tmp_path / "state" / pilot_trust.PILOT),
    )
    assert pilot_trust.introduce(tmp_path) == ""
    (of_gateway,) = pilot.listed("trusted")
    (of_pilot,) = gateway.listed("trusted")
    assert of_gateway.sha256 == gateway_certificate(gateway, pilot_trust.GATEWAY_NAME).sha256
    assert pilot_trust.password_file(tmp_path).stat().st_mode & 0o777 == 0o600

    async with opcua_line(plant, tmp_path):
        source = gateway_source(plant, tmp_path)
        assert await sign_in(source) == "Basic256Sha256 SignAndEncrypt"

        pilot.distrust(of_gateway)
        with pytest.raises(SessionLost, match="does it trust our certificate"):
            await sign_in(source)
        assert [each.sha256 for each in pilot.listed("rejected")] == [of_gateway.sha256]
        gateway.distrust(of_pilot)
        with pytest.raises(SessionLost, match=f"aurelian trust add {of_pilot.sha256[:16]}"):
            await sign_in(source)

        assert pilot_trust.introduce(tmp_path) == ""
        password = pilot_trust.password_file(tmp_path)
        right = password.read_text()
        assert await sign_in(source) == "Basic256Sha256 SignAndEncrypt"
        other = tmp_path / "other"
        other.write_text(right[:-1])
        wrong = source.model.model_copy(update={"password_file": str(other)})
        wrong_plant = plant.model_copy(update={"sources": [wrong]})
        with pytest.raises(SessionLost, match=rf"is the password right \(.* {other}\)"):
            await sign_in(gateway_source(wrong_plant, tmp_path))

        # Whoever names no certificate in CreateSession has shown one for the channel all the same.
        certificate, key = make().write(tmp_path / "stranger")
        stranger = Client(source.model.url, timeout=5)
        await stranger.set_security_string(f"Basic256Sha256,Sign,{certificate},{key}")
        stranger.set_user("gateway")
        stranger.set_password(right)
        with pytest.raises((ConnectionError, OSError, ua.UaError)):
            await stranger.connect()
        (shown,) = read_certificates(certificate)
        assert shown in [
            found for each in pilot.listed("rejected") for found in read_certificates(each.path)
        ]
        async with Client(source.model.url) as nobody:  # in the clear, as before
            assert PACKML in await nobody.get_namespace_array()


async def test_the_state_is_that_of_the_innermost_state_machine_that_is_active(
    plant: Plant, tmp_path: Path
) -> None:
    assert pilot_trust.introduce(tmp_path) == ""
    async with opcua_line(plant, tmp_path) as factory:
        async with taking(gateway_source(plant, tmp_path)) as taken:
            states = [
                signal.id
                for unit in plant.units()
                for signal, model in zip(unit.signals(), unit.model.signals, strict=True)
                if model.role is Role.STATE and unit.path == CNC_2
            ]

            def newest() -> object:
                found = [r for d in taken for r in readings_of(d) if r.signal.id in states]
                return found[-1].value if found else None

            await until(lambda: newest() == "Execute", "a machine at work")
            async with Client(plant.sources[0].url) as client:
                pilot = await client.get_namespace_index("urn:aurelian:pilot")
                packml = await client.get_namespace_index(PACKML)

                async def shown(machine: str) -> tuple[object, object, object]:
                    found = []
                    for name in ("", ".Id", ".Number"):
                        node = client.get_node(ua.NodeId(f"{machine}.CurrentState{name}", pilot))
                        value = await node.read_data_value(raise_on_bad_status=False)
                        status = value.StatusCode.value if value.StatusCode else 0
                        assert value.Value is not None
                        found.append(status or value.Value.Value)
                    text = found[0].Text if isinstance(found[0], ua.LocalizedText) else found[0]
                    return text, found[1], found[2]

                inner, innermost = f"{BASE}.MachineState", f"{BASE}.MachineState.ExecuteState"
                # Numbers and ids as the published NodeSet has them.
                assert await shown(BASE) == ("Cleared", ua.NodeId(71, packml), 19)
                assert await shown(inner) == ("Running", ua.NodeId(75, packml), 18)
                assert await shown(innermost) == ("Execute", ua.NodeId(36, packml), 6)

                _, unit, machine = factory.find(CNC_2) or pytest.fail("no such unit")
                factory.begin_fault(Fault(unit, FaultKind.STOP, 60, 1), machine)
                await until(lambda: newest() == "Stopped", "the stop")
                assert await shown(BASE) == ("Cleared", ua.NodeId(71, packml), 19)
                assert await shown(inner) == ("Stopped", ua.NodeId(53, packml), 2)
                assert await shown(innermost) == (NOT_ACTIVE, NOT_ACTIVE, NOT_ACTIVE)
                blocked = client.get_node(ua.NodeId("cnc-1.Status.EquipmentBlocked", pilot))

                async def is_blocked() -> bool:
                    return bool(await blocked.read_value())

                await until(is_blocked, "no room before the machine that stands", 40)


async def test_an_aborted_machine_has_no_active_state_machine_inside_the_outermost() -> None:
    server = OpcuaServer("127.0.0.1", 0, "urn:aurelian:pilot", [], ["m"])
    await server.build()
    now = ua.DataValue(SourceTimestamp=datetime.now(UTC))
    index = await server.server.get_namespace_index("urn:aurelian:pilot")

    async def states() -> list[object]:
        found: list[object] = []
        for name in ("", ".MachineState", ".MachineState.ExecuteState"):
            node = server.server.get_node(
                ua.NodeId(f"m.BaseStateMachine{name}.CurrentState.Number", index)
            )
            value = await node.read_data_value(raise_on_bad_status=False)
            assert value.StatusCode is not None and value.Value is not None
            found.append(value.StatusCode.value or value.Value.Value)
        return found

    for state, shown in (
        ("Execute", [19, 18, 6]),
        ("Aborted", [9, NOT_ACTIVE, NOT_ACTIVE]),
        ("Clearing", [19, 1, NOT_ACTIVE]),
        ("Held", [19, 18, 11]),
    ):
        await server.packml["m"].show(Role.STATE, state, now)
        assert await states() == shown, state
