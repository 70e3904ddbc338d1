"""Numbers that we took from the standard, as a foreign library has them from published files."""

from __future__ import annotations

from asyncua import ua

from aurelian.edge.contract import BAD_OUT_OF_RANGE
from aurelian.model import evidence
from aurelian.model.status_codes import STATUS_CODES
from opcua_gateway import deliveries, mapping, publishing

Code = ua.StatusCodes


def test_server_states_have_their_names_and_their_node() -> None:
    assert ua.NodeId.from_string(publishing.SERVER_STATE) == ua.NodeId(
        ua.ObjectIds.Server_ServerStatus_State
    )
    for number, name in deliveries._DOWN.items():
        assert ua.ServerState(number).name == name
    at_work = {ua.ServerState.Running, ua.ServerState.Test, ua.ServerState.Unknown}
    assert set(deliveries._DOWN) == {int(state) for state in ua.ServerState} - {
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
