"""Numbers that we took from the standard, as a foreign library has them from published files."""

from __future__ import annotations

from asyncua import Server, ua

from aurelian.edge.contract import BAD_OUT_OF_RANGE
from aurelian.model import evidence
from aurelian.model.status_codes import STATUS_CODES
from opcua_gateway import mapping, server_status, units_heard
from opcua_gateway.alarms import fields

Code = ua.StatusCodes


def test_server_states_have_their_names_and_their_nodes() -> None:
    numbers = ua.ObjectIds
    assert [ua.NodeId.from_string(each) for each in server_status.WATCHED] == [
        ua.NodeId(number)
        for number in (
            numbers.Server_ServerStatus_State,
            numbers.Server_ServiceLevel,
            numbers.Server_ServerStatus_SecondsTillShutdown,
            numbers.Server_ServerStatus_ShutdownReason,
            numbers.Server_EstimatedReturnTime,
        )
    ]
    for number, name in server_status._DOWN.items():
        assert ua.ServerState(number).name == name
    at_work = {ua.ServerState.Running, ua.ServerState.Test, ua.ServerState.Unknown}
    assert set(server_status._DOWN) == {int(state) for state in ua.ServerState} - {
        int(state) for state in at_work
    }


def test_status_codes_are_what_their_names_say() -> None:
    assert set(mapping.NO_COMMUNICATION) == {
        Code.BadCommunicationError,
        Code.BadNoCommunication,
        Code.BadNotConnected,
        Code.BadDeviceFailure,
        Code.BadSensorFailure,
        Code.BadOutOfService,
        Code.UncertainNoCommunicationLastUsableValue,
    }
    assert Code.BadNodeIdUnknown == mapping.BAD_NODE_ID_UNKNOWN
    assert Code.BadOutOfRange == BAD_OUT_OF_RANGE
    for name, code in STATUS_CODES.items():
        assert getattr(Code, name) == code, name
    assert set(evidence._NOT_READ_NOW) == {
        Code.UncertainNoCommunicationLastUsableValue,
        Code.UncertainLastUsableValue,
        Code.UncertainSubstituteValue,
        Code.UncertainInitialValue,
    }
    assert set(units_heard._NOBODY_READS_IT) == {
        *mapping.NO_COMMUNICATION,
        Code.BadNodeIdInvalid,
        Code.BadNodeIdUnknown,
        Code.UncertainLastUsableValue,
        Code.UncertainInitialValue,
        Code.BadTimeout,
        Code.BadServerNotConnected,
        Code.BadWaitingForInitialData,
        Code.BadDisconnect,
        Code.BadConnectionClosed,
    }


async def test_event_types_that_are_asked_for_have_those_of_a_refresh_below_them() -> None:
    """As the published NodeSet has it, which asyncua is made of."""
    numbers = ua.ObjectIds
    assert (
        numbers.ConditionType,
        numbers.SystemEventType,
        numbers.EventQueueOverflowEventType,
    ) == fields.TYPES_WANTED
    server = Server()
    await server.init()
    for number in (
        numbers.RefreshStartEventType,
        numbers.RefreshEndEventType,
        numbers.RefreshRequiredEventType,
    ):
        above = await server.get_node(ua.NodeId(number)).get_parent()
        assert above is not None and above.nodeid == ua.NodeId(numbers.SystemEventType)
    await server.iserver.stop()
