"""A machine as OPC 30050 (PackML) has it, below the types of the published NodeSet: its three state
machines, one inside the other, and its Status. Called by opcua_server.py.

`nodesets/Opc.Ua.PackML.NodeSet2.xml` is the OPC Foundation's, under its MIT licence, unchanged.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path

from asyncua import Server, ua

from aurelian.model.machine_states import MachineState, PackMl, read_state
from aurelian.model.plant_parts import Role
from pilot_factory.physics import Reason

PACKML = "http://opcfoundation.org/UA/PackML/"
EFFECTIVE_STATE = "BaseStateMachine.CurrentState.EffectiveDisplayName"
"""The one node that names the innermost state, whichever of the three machines it is of (part 5,
StateVariableType). Below a machine's node id, with a dot."""

_NODESET = Path(__file__).parent / "nodesets" / "Opc.Ua.PackML.NodeSet2.xml"
_MACHINES = {  # the state machine, its type's number, the state of it while an inner one is active
    "BaseStateMachine": (3, "Cleared"),
    "BaseStateMachine.MachineState": (2, "Running"),
    "BaseStateMachine.MachineState.ExecuteState": (1, ""),
}
_BASE_OBJECT, _OBJECTS_FOLDER = 6, 72
_PRODUCE = 1  # of ProductionMaintenanceModeEnum
_NAMES = {state: state.name.capitalize() for state in PackMl}


@dataclass(frozen=True, slots=True)
class TypeState:
    """A state of a state machine's type. `number`: its StateNumber, that of ISA-TR88.00.02."""

    id: ua.NodeId
    number: int


@dataclass(frozen=True, slots=True)
class PackMlTypes:
    """The types of the NodeSet in a server's numbering.

    Attributes:
        states: of each state machine, by name.
    """

    index: int
    states: dict[str, dict[str, TypeState]]


async def load_packml(server: Server) -> PackMlTypes:
    """Take the NodeSet into a server's address space."""
    await server.import_xml(str(_NODESET))
    index = await server.get_namespace_index(PACKML)
    states = {}
    for name, (type_number, _) in _MACHINES.items():
        found = {}
        for child in await server.get_node(ua.NodeId(type_number, index)).get_children():
            for number in await child.get_properties():
                if (await number.read_browse_name()).Name == "StateNumber":
                    found[(await child.read_browse_name()).Name or ""] = TypeState(
                        child.nodeid, int(await number.read_value())
                    )
        states[name] = found
    return PackMlTypes(index, states)


class PackMlMachine:
    """One machine: `create` makes its nodes, `show` keeps them up to date.

    Its node id is its name, those below are the names on the way there with dots between.
    """

    def __init__(self, server: Server, types: PackMlTypes, index: int, name: str) -> None:
        self._server, self._types = server, types
        self._index, self._name = index, name
        self._executing = False
        self._speed = 0.0

    async def create(self) -> ua.NodeId:
        """Instantiate PackMLBaseObjectType below Objects, and list the machine in PackMLObjects;
        return its node id."""
        server, types = self._server, self._types
        machine = await server.nodes.objects.add_object(
            ua.NodeId(self._name, self._index),
            ua.QualifiedName(self._name, self._index),
            objecttype=ua.NodeId(_BASE_OBJECT, types.index),
            instantiate_optional=False,
        )
        listed = server.get_node(ua.NodeId(_OBJECTS_FOLDER, types.index))
        await listed.add_reference(machine, ua.ObjectIds.Organizes)
        for name in _MACHINES:
            current = server.get_node(self._id(f"{name}.CurrentState"))
            await current.add_property(
                self._id(f"{name}.CurrentState.Number"),
                ua.QualifiedName("Number", 0),
                0,
                ua.VariantType.UInt32,
            )
            available = [each.id for each in types.states[name].values()]
            await self._set(f"{name}.AvailableStates", available, ua.VariantType.NodeId)
        base = server.get_node(self._id("BaseStateMachine.CurrentState"))
        await base.add_property(
            self._id(EFFECTIVE_STATE),
            ua.QualifiedName("EffectiveDisplayName", 0),
            ua.LocalizedText(""),
            ua.VariantType.LocalizedText,
        )
        await self._set("Status.UnitModeCurrent", _PRODUCE, ua.VariantType.Int32)
        for name in ("EquipmentBlocked", "EquipmentStarved"):
            await self._set(f"Status.{name}", False, ua.VariantType.Boolean)
        return machine.nodeid

    async def show(self, role: Role, value: object, like: ua.DataValue) -> None:
        """Show what a signal of the machine says, as far as PackML has a node for it.

        Args:
            value: a state by name or number, a stop reason, a cycle time in s.
            like: whose times and status the nodes get.
        """
        at = like.SourceTimestamp
        match role:
            case Role.STATE:
                known = read_state("packml", value)
                if isinstance(known, MachineState):
                    await self._show_state(PackMl[known.name.upper()], at)
            case Role.STOP_REASON:
                for name, reason in (("Blocked", Reason.BLOCKED), ("Starved", Reason.STARVED)):
                    is_so = value == int(reason)
                    await self._set(f"Status.Equipment{name}", is_so, ua.VariantType.Boolean, at)
            case Role.CYCLE_TIME if isinstance(value, int | float):
                self._speed = 60.0 / value if value > 0 else 0.0
                await self._set("Status.MachSpeed", self._speed, ua.VariantType.Float, at)
                await self._show_speed(at)
            case _:
                pass

    async def _show_state(self, state: PackMl, at: datetime | None) -> None:
        """The innermost machine that has the state is in it, those around it are in the state that
        contains it, and those inside it are not active."""
        self._executing = state is PackMl.EXECUTE
        name = _NAMES[state]
        active = True
        for machine, (_, outer) in _MACHINES.items():
            states = self._types.states[machine]
            here = name if name in states else outer
            await self._show_machine(machine, here if active else "", at)
            active = active and name not in states
        text = ua.LocalizedText(name, "en")
        await self._set(EFFECTIVE_STATE, text, ua.VariantType.LocalizedText, at)
        await self._show_speed(at)

    async def _show_machine(self, machine: str, state: str, at: datetime | None) -> None:
        """The CurrentState of one state machine; empty: it is not active (part 16, 4.4.18)."""
        current = f"{machine}.CurrentState"
        if not state:
            for name in ("", ".Id", ".Number"):
                await self._write(f"{current}{name}", _inactive(at))
            return
        known = self._types.states[machine][state]
        text = ua.LocalizedText(state, "en")
        await self._set(current, text, ua.VariantType.LocalizedText, at)
        await self._set(f"{current}.Id", known.id, ua.VariantType.NodeId, at)
        await self._set(f"{current}.Number", known.number, ua.VariantType.UInt32, at)

    async def _show_speed(self, at: datetime | None) -> None:
        speed = self._speed if self._executing else 0.0
        await self._set("Status.CurMachSpeed", speed, ua.VariantType.Float, at)

    async def _set(
        self, name: str, value: object, type: ua.VariantType, at: datetime | None = None
    ) -> None:
        now = datetime.now(at.tzinfo if at is not None else None)
        await self._write(
            name,
            ua.DataValue(
                Value=ua.Variant(value, type),
                StatusCode=ua.StatusCode(0),
                SourceTimestamp=at or now,
                ServerTimestamp=now,
            ),
        )

    async def _write(self, name: str, value: ua.DataValue) -> None:
        status = await self._server.iserver.aspace.write_attribute_value(
            self._id(name), ua.AttributeIds.Value, value
        )
        if not status.is_good():
            raise ValueError(f"node {self._id(name)} does not take {value}: {status}")

    def _id(self, name: str) -> ua.NodeId:
        return ua.NodeId(f"{self._name}.{name}", self._index)


def _inactive(at: datetime | None) -> ua.DataValue:
    return ua.DataValue(
        Value=ua.Variant(None, ua.VariantType.Null),
        StatusCode=ua.StatusCode(ua.StatusCodes.BadStateNotActive),
        SourceTimestamp=at,
        ServerTimestamp=datetime.now(at.tzinfo if at is not None else None),
    )
